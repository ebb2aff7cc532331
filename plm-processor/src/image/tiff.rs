//! TIFF files.

use std::borrow::Cow;
use std::io::Cursor;

use image::metadata::Orientation;
use tiff::ColorType;
use tiff::decoder::{BufferLayoutPreference, Decoder, DecodingResult, Limits};
use tiff::tags::{ExtraSamples, SampleFormat, Tag};

use super::samples::{cmyk_to_rgb, high_bytes, to_rgb8};
use super::{Image, Source};
use crate::error::Result;
use crate::orientation::orientation;

const XMP: Tag = Tag::Unknown(700);

type File<'a> = Decoder<Cursor<&'a [u8]>>;

/// Decodes the first picture of the file.
pub(super) fn decode(source: &Source<'_>) -> Result<Image> {
    let failed = |error: tiff::TiffError| source.failed(error);
    let (bytes, has_palette) = match with_indices_as_grey(source.bytes) {
        Some(bytes) => (Cow::Owned(bytes), true),
        None => (Cow::Borrowed(source.bytes), false),
    };
    let mut file = Decoder::new(Cursor::new(&bytes[..])).map_err(failed)?;
    let (width, height) = file.dimensions().map_err(failed)?;
    source.check_size(width, height)?;
    let max_alloc = usize::try_from(source.max_alloc(width, height)).unwrap_or(usize::MAX);
    let mut limits = Limits::default();
    limits.decoding_buffer_size = max_alloc;
    limits.intermediate_buffer_size = max_alloc;
    limits.ifd_value_size = max_alloc;
    file = file.with_limits(limits);

    let color = file.colortype().map_err(failed)?;
    check_format(&mut file, source)?;
    let channels = channels(color)
        .ok_or_else(|| source.failed(format!("samples of type {color:?} are not supported")))?;
    let mut buffer = DecodingResult::U8(Vec::new());
    let layout = file.read_image_to_buffer(&mut buffer).map_err(failed)?;
    let (samples, sample_bytes) = match buffer {
        DecodingResult::U8(samples) => (samples, 1),
        DecodingResult::U16(samples) => (high_bytes(&samples), 2),
        _ => return Err(source.failed("samples of more than 16 bits are not supported")),
    };
    let pixels = width as usize * height as usize;
    let samples = interleaved(samples, &layout, sample_bytes, pixels, channels)
        .ok_or_else(|| source.failed("the planes of the file are incomplete"))?;
    let rgb = match color {
        ColorType::Gray(bits) if has_palette => {
            let map = file.get_tag_u16_vec(Tag::ColorMap).map_err(failed)?;
            let palette = palette(&map, bits)
                .ok_or_else(|| source.failed("the colour map has the wrong length"))?;
            unpacked(&samples, width as usize, bits)
                .iter()
                .flat_map(|&index| palette[usize::from(index)])
                .collect()
        }
        _ if has_palette => return Err(source.failed("a palette with alpha is not supported")),
        ColorType::Gray(bits @ (1 | 2 | 4)) => {
            let scale = u8::MAX / ((1 << bits) - 1);
            let grey = unpacked(&samples, width as usize, bits);
            to_rgb8(grey.iter().map(|grey| grey * scale).collect(), 1)
        }
        ColorType::CMYK(_) => samples
            .chunks_exact(4)
            .flat_map(|cmyk| cmyk_to_rgb([cmyk[0], cmyk[1], cmyk[2], cmyk[3]]))
            .collect(),
        ColorType::RGBA(_) if is_associated(&mut file) => samples
            .chunks_exact(4)
            .flat_map(|rgba| [rgba[0], rgba[1], rgba[2]].map(|light| divided(light, rgba[3])))
            .collect(),
        _ => to_rgb8(samples, channels),
    };
    Image::upright(width, height, rgb, orientation_of(&mut file))
}

/// The file with its indices declared to be grey, if it has a palette: the decoder reads none.
fn with_indices_as_grey(file: &[u8]) -> Option<Vec<u8>> {
    const PHOTOMETRIC_INTERPRETATION: u16 = 262;
    const SHORT: u16 = 3;
    const PALETTE: u16 = 3;
    const GREY: u16 = 1;
    let is_big_endian = match file.first_chunk()? {
        b"MM\0*" => true,
        b"II*\0" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = *file.get(at..)?.first_chunk()?;
        Some(if is_big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    };
    let offset = *file.get(4..)?.first_chunk()?;
    let directory = if is_big_endian {
        u32::from_be_bytes(offset)
    } else {
        u32::from_le_bytes(offset)
    } as usize;
    let count = usize::from(u16_at(directory)?);
    let mut entries = (0..count).map(|index| directory + 2 + 12 * index);
    let entry = entries.find(|&entry| u16_at(entry) == Some(PHOTOMETRIC_INTERPRETATION))?;
    if (u16_at(entry + 2), u16_at(entry + 8)) != (Some(SHORT), Some(PALETTE)) {
        return None;
    }
    let grey = if is_big_endian {
        GREY.to_be_bytes()
    } else {
        GREY.to_le_bytes()
    };
    let mut file = file.to_vec();
    file[entry + 8..entry + 10].copy_from_slice(&grey);
    Some(file)
}

/// Samples for each pixel as they are handed out; `None` for what is not read.
fn channels(color: ColorType) -> Option<usize> {
    match color {
        ColorType::Gray(1 | 2 | 4 | 8 | 16) => Some(1),
        ColorType::Multiband {
            bit_depth: 8,
            num_samples: 2,
        } => Some(2),
        ColorType::RGB(8 | 16) => Some(3),
        ColorType::RGBA(8 | 16) | ColorType::CMYK(8 | 16) => Some(4),
        _ => None,
    }
}

/// Only samples without a sign are read, and grey with alpha only where alpha is kept apart.
fn check_format(file: &mut File<'_>, source: &Source<'_>) -> Result<()> {
    let formats: Option<Vec<u16>> = file
        .find_tag_unsigned_vec(Tag::SampleFormat)
        .map_err(|error| source.failed(error))?;
    let other = formats
        .unwrap_or_default()
        .into_iter()
        .find(|format| *format != SampleFormat::Uint.to_u16());
    if let Some(format) = other {
        return Err(source.failed(format!("samples of format {format} are not supported")));
    }
    let is_grey_and_alpha = matches!(file.colortype(), Ok(ColorType::Multiband { .. }));
    if is_grey_and_alpha && is_associated(file) {
        return Err(source.failed("grey multiplied with alpha is not supported"));
    }
    Ok(())
}

/// Whether the colours have been multiplied with alpha.
fn is_associated(file: &mut File<'_>) -> bool {
    let extra = file.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples);
    matches!(extra, Ok(Some(kinds)) if kinds.first() == Some(&ExtraSamples::AssociatedAlpha.to_u16()))
}

/// Takes the multiplication with alpha back, rounding down as the reference does.
fn divided(light: u8, alpha: u8) -> u8 {
    match u16::from(alpha) {
        0 => 0,
        alpha => (u16::from(light) * 255 / alpha).min(255) as u8,
    }
}

/// Pixel after pixel, where the file may hold plane after plane.
fn interleaved(
    samples: Vec<u8>,
    layout: &BufferLayoutPreference,
    sample_bytes: usize,
    pixels: usize,
    channels: usize,
) -> Option<Vec<u8>> {
    if layout.planes <= 1 {
        return Some(samples);
    }
    let stride = layout.plane_stride?.get() / sample_bytes;
    let planes: Vec<&[u8]> = (0..channels)
        .map(|plane| samples.get(plane * stride..)?.get(..pixels))
        .collect::<Option<_>>()?;
    Some(
        (0..pixels)
            .flat_map(|pixel| planes.iter().map(move |plane| plane[pixel]))
            .collect(),
    )
}

/// One sample a byte, from rows that start at whole bytes.
fn unpacked(rows: &[u8], width: usize, bits: u8) -> Vec<u8> {
    let bits = usize::from(bits);
    let mask = ((1u16 << bits) - 1) as u8;
    rows.chunks_exact((width * bits).div_ceil(8))
        .flat_map(|row| {
            (0..width).map(move |x| row[x * bits / 8] >> (8 - bits - x * bits % 8) & mask)
        })
        .collect()
}

/// All reds, then all greens, then all blues, of 16 bits each.
fn palette(map: &[u16], bits: u8) -> Option<Vec<[u8; 3]>> {
    let colors = 1 << bits;
    if bits > 8 || map.len() != 3 * colors {
        return None;
    }
    let map = high_bytes(map);
    let color = |at: usize| [map[at], map[colors + at], map[2 * colors + at]];
    Some((0..colors).map(color).collect())
}

fn orientation_of(file: &mut File<'_>) -> Orientation {
    let tag = file.find_tag(Tag::Orientation).ok().flatten();
    if let Some(value) = tag {
        let value = value
            .into_u16()
            .ok()
            .and_then(|value| value.try_into().ok());
        return value
            .and_then(Orientation::from_exif)
            .unwrap_or(Orientation::NoTransforms);
    }
    let xmp = file.get_tag(XMP).and_then(|xmp| xmp.into_u8_vec()).ok();
    orientation(None, xmp.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_samples_start_a_row_at_a_whole_byte() {
        assert_eq!(
            unpacked(&[0b0110_0011, 0b1100_0000], 3, 2),
            [1, 2, 0, 3, 0, 0]
        );
        assert_eq!(unpacked(&[0xAB, 0xC0], 3, 4), [0xA, 0xB, 0xC]);
        assert_eq!(unpacked(&[7, 255], 1, 8), [7, 255]);
    }

    #[test]
    fn division_by_alpha_rounds_down_and_stops_at_white() {
        assert_eq!(divided(10, 0), 0);
        assert_eq!(divided(10, 255), 10);
        assert_eq!(divided(10, 128), 19);
        assert_eq!(divided(200, 100), 255);
    }

    #[test]
    fn a_colour_map_holds_three_colours_for_each_index() {
        assert_eq!(
            palette(&[0x0100, 0x02FF, 0x0300, 0x0400, 0x0500, 0x0600], 1),
            Some(vec![[1, 3, 5], [2, 4, 6]])
        );
        assert_eq!(palette(&[0; 5], 1), None);
    }
}
