//! PNG files.

use std::borrow::Cow;
use std::io::Cursor;

use image::metadata::Orientation;
use png::{BitDepth, Info, Limits, Transformations};

use super::samples::to_rgb8;
use super::{Image, Source};
use crate::error::Result;
use crate::orientation::orientation;

const SIGNATURE_BYTES: usize = 8;
const END: &[u8] = b"\0\0\0\0IEND\xAE\x42\x60\x82";

/// The longest text that is unpacked, as in the reference.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// Decodes the still picture; the frames of an animation are left aside.
pub(super) fn decode(source: &Source<'_>) -> Result<Image> {
    let bytes = with_end(source.bytes);
    let failed = |error: png::DecodingError| source.failed(error);
    let mut decoder = png::Decoder::new(Cursor::new(&bytes[..]));
    // A profile is not used, and unpacked it could be far longer than the file.
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND);
    let header = decoder.read_header_info().map_err(failed)?;
    let (width, height) = header.size();
    source.check_size(width, height)?;
    decoder.set_limits(Limits {
        bytes: usize::try_from(source.max_alloc(width, height)).unwrap_or(usize::MAX),
    });

    let mut reader = decoder.read_info().map_err(failed)?;
    let length = reader
        .output_buffer_size()
        .ok_or_else(|| source.failed("the picture does not fit into memory"))?;
    let mut samples = vec![0; length];
    reader.next_frame(&mut samples).map_err(failed)?;
    let (color, depth) = reader.output_color_type();
    if depth == BitDepth::Sixteen {
        // The high byte comes first.
        samples = samples.into_iter().step_by(2).collect();
    }
    // What is broken behind the pixels is no reason to refuse them.
    let _ = reader.finish();
    let rgb = to_rgb8(samples, color.samples());
    Image::upright(width, height, rgb, orientation_of(reader.info()))
}

/// The file, with an end chunk behind it if it has none: the reference does without.
fn with_end(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut offset = SIGNATURE_BYTES;
    while let Some(&[a, b, c, d, ref kind @ ..]) = bytes.get(offset..offset.saturating_add(8)) {
        if kind == b"IEND" {
            return Cow::Borrowed(bytes);
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        offset = offset.saturating_add(length).saturating_add(12);
    }
    let complete = &bytes[..offset.min(bytes.len())];
    Cow::Owned([complete, END].concat())
}

/// Chunks count wherever they stand; older writers put EXIF data into a text.
fn orientation_of(info: &Info<'_>) -> Orientation {
    let exif = info.exif_metadata.as_deref().map(<[u8]>::to_vec);
    let exif = exif.or_else(|| from_profile(&text(info, "Raw profile type exif")?));
    let xmp = text(info, "XML:com.adobe.xmp");
    orientation(exif.as_deref(), xmp.as_deref().map(str::as_bytes))
}

/// The last text with this keyword, if it can be read.
fn text(info: &Info<'_>, keyword: &str) -> Option<String> {
    let international = info.utf8_text.iter().rfind(|text| text.keyword == keyword);
    if let Some(text) = international {
        let mut text = text.clone();
        text.decompress_text_with_limit(MAX_TEXT_BYTES).ok()?;
        return text.get_text().ok();
    }
    let packed = info.compressed_latin1_text.iter();
    if let Some(text) = packed.rev().find(|text| text.keyword == keyword) {
        let mut text = text.clone();
        text.decompress_text_with_limit(MAX_TEXT_BYTES).ok()?;
        return text.get_text().ok();
    }
    let plain = info.uncompressed_latin1_text.iter();
    let text = plain.rev().find(|text| text.keyword == keyword)?;
    Some(text.text.clone())
}

/// The bytes of a raw profile: an empty line, its name, its length, then lines of hexadecimals.
fn from_profile(profile: &str) -> Option<Vec<u8>> {
    let lines = profile.split('\n').skip(3);
    let digits: Option<Vec<u8>> = lines
        .flat_map(str::chars)
        .filter(|char| !char.is_ascii_whitespace())
        .map(|char| char.to_digit(16).map(|digit| digit as u8))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks_exact(2)
            .map(|two| two[0] << 4 | two[1])
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_written_in_hexadecimals() {
        assert_eq!(
            from_profile("\nexif\n       3\n0aFF\n10\n"),
            Some(vec![10, 255, 16])
        );
        for broken in ["\nexif\n3\n0aF", "\nexif\n3\n0x", "\nexif\n3\n\u{e9}0"] {
            assert_eq!(from_profile(broken), None);
        }
        assert_eq!(from_profile("0aff"), Some(vec![]));
    }

    #[test]
    fn an_end_is_added_to_a_file_without_one() {
        let chunk = b"12345678\0\0\0\x02tEXt..crc.";
        let without = with_end(chunk);
        assert!(without.ends_with(END));
        assert_eq!(with_end(&without).len(), without.len());
        assert!(with_end(&chunk[..chunk.len() - 1]).ends_with(END));
        assert_eq!(with_end(&without[..chunk.len() + 5]), without);
        assert_eq!(with_end(b"").len(), END.len());
    }
}
