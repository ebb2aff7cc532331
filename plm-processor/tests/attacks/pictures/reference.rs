//! What the reference makes of files that decoders read in different ways.

use std::borrow::Cow;

use image::ImageFormat;
use plm_processor::{Error, Image};

use super::{crc32, encoded};

const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const BLUE: [u8; 3] = [0, 0, 255];

/// A screen of 3x2 pixels with a frame of 2x1 pixels of green. Index 0 is red, 2 blue.
fn gif(left: u16, top: u16, transparent: Option<u8>) -> Vec<u8> {
    let palette = [RED, GREEN, BLUE].concat();
    let mut bytes = Vec::new();
    let mut encoder = gif::Encoder::new(&mut bytes, 3, 2, &palette).expect("starts");
    let frame = gif::Frame {
        left,
        top,
        width: 2,
        height: 1,
        transparent,
        buffer: Cow::Borrowed(&[1, 1]),
        ..gif::Frame::default()
    };
    encoder.write_frame(&frame).expect("encodes");
    drop(encoder);
    bytes
}

#[test]
fn around_a_small_gif_frame_is_the_transparent_colour_or_the_first() {
    for (transparent, around) in [(None, RED), (Some(2), BLUE)] {
        let image = Image::from_bytes(&gif(1, 1, transparent)).expect("decodes");
        assert_eq!(image.size_wh(), (3, 2));
        let rows = [[around; 3], [around, GREEN, GREEN]];
        assert_eq!(image.rgb(), rows.concat().concat());
    }
}

#[test]
fn a_gif_frame_beyond_the_screen_makes_the_picture_grow() {
    let image = Image::from_bytes(&gif(2, 2, None)).expect("decodes");
    assert_eq!(image.size_wh(), (4, 3));
    let rows = [[RED; 4], [RED; 4], [RED, RED, GREEN, GREEN]];
    assert_eq!(image.rgb(), rows.concat().concat());
    let error = Image::from_bytes(&gif(65_534, 65_534, None)).expect_err("too large");
    assert!(matches!(error, Error::ImageTooLarge { .. }), "{error}");
}

/// A bitmap of one row of two pixels of 16 bits.
fn bitmap(masks: Option<[u32; 3]>, pixels: [u16; 2]) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    let start = if masks.is_some() { 66 } else { 54 };
    for field in [start + 4, 0, start, 40, 2, 1] {
        bytes.extend(u32::to_le_bytes(field));
    }
    bytes.extend([1, 0, 16, 0]);
    bytes.extend(if masks.is_some() { 3u32 } else { 0 }.to_le_bytes());
    bytes.extend([0; 20]);
    bytes.extend(masks.iter().flatten().flat_map(|mask| mask.to_le_bytes()));
    bytes.extend(pixels.iter().flat_map(|pixel| pixel.to_le_bytes()));
    bytes
}

#[test]
fn samples_of_five_and_six_bits_are_rounded_down() {
    let pixels = [3 << 10 | 16 << 5 | 30, 0x7FFF];
    for masks in [None, Some([0x7C00, 0x3E0, 0x1F])] {
        let image = Image::from_bytes(&bitmap(masks, pixels)).expect("decodes");
        assert_eq!(image.rgb(), [24, 131, 246, 255, 255, 255], "{masks:?}");
    }
    let masks = Some([0xF800, 0x7E0, 0x1F]);
    let pixels = [3 << 11 | 32 << 5 | 30, 0xFFFF];
    let image = Image::from_bytes(&bitmap(masks, pixels)).expect("decodes");
    assert_eq!(image.rgb(), [24, 129, 246, 255, 255, 255]);
}

const BITS: u16 = 258;
const PHOTOMETRIC: u16 = 262;
const SAMPLES: u16 = 277;
const PLANAR: u16 = 284;
const COLOR_MAP: u16 = 320;
const EXTRA: u16 = 338;

/// One strip of one row. Without a line in `tags` it holds samples of 8 bits, one a pixel.
fn tiff(width: u16, tags: &[(u16, &[u16])], data: &[u8], is_big_endian: bool) -> Vec<u8> {
    let short = |value: u16| {
        if is_big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    };
    let long = |value: u32| {
        if is_big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    };
    let planes = match tags.iter().any(|(tag, _)| *tag == PLANAR) {
        true => data.len() / usize::from(width),
        false => 1,
    };
    let length = (data.len() / planes) as u16;
    let offsets: Vec<u16> = (0..planes as u16).map(|plane| 8 + plane * length).collect();
    let lengths = vec![length; planes];
    let mut all: Vec<(u16, &[u16])> = vec![
        (256, std::slice::from_ref(&width)),
        (257, &[1]),
        (259, &[1]),
        (273, &offsets),
        (278, &[1]),
        (279, &lengths),
    ];
    if tags.iter().all(|(tag, _)| *tag != BITS) {
        all.push((BITS, &[8]));
    }
    all.extend(tags);
    all.sort();

    // The data, then the values that do not fit into their entry, then the entries.
    let mut file = if is_big_endian { b"MM" } else { b"II" }.to_vec();
    file.extend(short(42));
    file.extend([0; 4]);
    file.extend(data);
    let mut entries = Vec::new();
    for (tag, values) in &all {
        entries.extend(short(*tag));
        entries.extend(short(3));
        entries.extend(long(values.len() as u32));
        let value: Vec<u8> = values.iter().flat_map(|value| short(*value)).collect();
        if value.len() <= 4 {
            entries.extend(&value);
            entries.resize(entries.len().next_multiple_of(12), 0);
        } else {
            entries.extend(long(file.len() as u32));
            file.extend(value);
        }
    }
    let directory = long(file.len() as u32);
    file[4..8].copy_from_slice(&directory);
    file.extend(short(all.len() as u16));
    file.extend(entries);
    file.extend([0; 4]);
    file
}

#[track_caller]
fn assert_tiff(width: u16, tags: &[(u16, &[u16])], data: &[u8], rgb: &[[u8; 3]]) {
    for is_big_endian in [false, true] {
        let file = tiff(width, tags, data, is_big_endian);
        let image = Image::from_bytes(&file).expect("decodes");
        assert_eq!(image.rgb(), rgb.concat(), "{is_big_endian}");
    }
}

#[test]
fn palettes_in_tiff_files_are_looked_up() {
    let mut map = vec![0; 3 * 256];
    (map[7], map[256 + 7], map[512 + 7]) = (0x01FF, 0x0200, 0x03AB);
    let tags: &[(u16, &[u16])] = &[(PHOTOMETRIC, &[3]), (COLOR_MAP, &map)];
    assert_tiff(2, tags, &[7, 8], &[[1, 2, 3], [0; 3]]);

    let map = [0, 0xFF00, 0x0100, 0, 0, 0, 0x0200, 0, 0, 0, 0x0300, 0xFF00];
    let tags: &[(u16, &[u16])] = &[(BITS, &[2]), (PHOTOMETRIC, &[3]), (COLOR_MAP, &map)];
    assert_tiff(3, tags, &[0b0110_1100], &[RED, [1, 2, 3], BLUE]);

    let tags: &[(u16, &[u16])] = &[(PHOTOMETRIC, &[3]), (COLOR_MAP, &map)];
    let error = Image::from_bytes(&tiff(1, tags, &[9], false)).expect_err("a short map");
    assert!(error.to_string().ends_with("wrong length"), "{error}");
}

#[test]
fn grey_of_few_bits_in_tiff_files_is_stretched() {
    let black_is_zero: &[(u16, &[u16])] = &[(BITS, &[4]), (PHOTOMETRIC, &[1])];
    assert_tiff(2, black_is_zero, &[0x1F], &[[17; 3], [255; 3]]);
    let white_is_zero: &[(u16, &[u16])] = &[(BITS, &[1]), (PHOTOMETRIC, &[0])];
    assert_tiff(2, white_is_zero, &[0b0100_0000], &[[255; 3], [0; 3]]);
}

#[test]
fn alpha_in_tiff_files_is_dropped_and_taken_out_of_the_colours() {
    let grey: &[(u16, &[u16])] = &[
        (BITS, &[8, 8]),
        (PHOTOMETRIC, &[1]),
        (SAMPLES, &[2]),
        (EXTRA, &[2]),
    ];
    assert_tiff(2, grey, &[5, 0, 9, 255], &[[5; 3], [9; 3]]);
    let rgba = |extra| -> [(u16, &'static [u16]); 4] {
        [
            (BITS, &[8, 8, 8, 8]),
            (PHOTOMETRIC, &[2]),
            (SAMPLES, &[4]),
            (EXTRA, extra),
        ]
    };
    let data = [10, 20, 30, 100, 10, 20, 30, 0];
    assert_tiff(2, &rgba(&[2]), &data, &[[10, 20, 30]; 2]);
    assert_tiff(2, &rgba(&[0]), &data, &[[10, 20, 30]; 2]);
    assert_tiff(2, &rgba(&[1]), &data, &[[25, 51, 76], [0; 3]]);
}

#[test]
fn ink_in_tiff_files_is_not_inverted() {
    let tags: &[(u16, &[u16])] = &[(BITS, &[8, 8, 8, 8]), (PHOTOMETRIC, &[5]), (SAMPLES, &[4])];
    let data = [255, 0, 127, 0, 100, 150, 200, 50];
    assert_tiff(2, tags, &data, &[[0, 255, 128], [125, 84, 44]]);
}

#[test]
fn planes_in_tiff_files_are_put_together() {
    let tags: &[(u16, &[u16])] = &[
        (BITS, &[8, 8, 8]),
        (PHOTOMETRIC, &[2]),
        (SAMPLES, &[3]),
        (PLANAR, &[2]),
    ];
    assert_tiff(2, tags, &[1, 2, 3, 4, 5, 6], &[[1, 3, 5], [2, 4, 6]]);
}

#[test]
fn tiff_files_with_long_offsets_are_known() {
    let mut file = std::io::Cursor::new(Vec::new());
    tiff::encoder::TiffEncoder::new_big(&mut file)
        .expect("starts")
        .write_image::<tiff::encoder::colortype::RGB8>(2, 1, &[1, 2, 3, 4, 5, 6])
        .expect("encodes");
    let image = Image::from_bytes(&file.into_inner()).expect("decodes");
    assert_eq!(image.rgb(), [1, 2, 3, 4, 5, 6]);
}

/// An orientation tag that asks for a quarter turn.
const TURNED: &[u8] = b"MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";

/// A PNG of 64x48 pixels with one more chunk, before or behind the pixels.
fn png_with(kind: &[u8; 4], data: &[u8], is_behind: bool) -> Vec<u8> {
    let png = encoded(ImageFormat::Png);
    let body = [kind, data].concat();
    let length = (data.len() as u32).to_be_bytes();
    let chunk = [&length[..], &body, &crc32(&body).to_be_bytes()].concat();
    // Signature and header take 33 bytes, the end takes 12.
    let at = if is_behind { png.len() - 12 } else { 33 };
    [&png[..at], &chunk, &png[at..]].concat()
}

#[test]
fn png_files_are_turned_by_chunks_wherever_they_stand() {
    let prefixed = [b"Exif\0\0", TURNED].concat();
    let digits: String = TURNED.iter().map(|byte| format!("{byte:02x}")).collect();
    let profile = format!("\nexif\n{:8}\n{digits}\n", TURNED.len());
    let plain = [b"Raw profile type exif\0", profile.as_bytes()].concat();
    // One block of deflate that packs nothing, and its checksum.
    let size = profile.len() as u16;
    let mut packed = b"Raw profile type exif\0\0\x78\x01\x01".to_vec();
    packed.extend(size.to_le_bytes());
    packed.extend((!size).to_le_bytes());
    packed.extend(profile.as_bytes());
    let (low, high) = profile.bytes().fold((1, 0), |(low, high), byte| {
        let low = (low + u32::from(byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    packed.extend((high << 16 | low).to_be_bytes());
    let xmp = b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation=\"6\"/>".to_vec();
    for (kind, data) in [
        (b"eXIf", TURNED.to_vec()),
        (b"eXIf", prefixed),
        (b"tEXt", plain),
        (b"zTXt", packed),
        (b"iTXt", xmp),
    ] {
        for is_behind in [false, true] {
            let image = Image::from_bytes(&png_with(kind, &data, is_behind)).expect("decodes");
            assert_eq!(image.size_wh(), (48, 64), "{kind:?} {is_behind}");
        }
    }
}

#[test]
fn webp_files_are_turned_by_xmp_data() {
    let still = encoded(ImageFormat::WebP);
    let xmp = b"<x tiff:Orientation=\"6\" />";
    // The extended header: XMP data are there, then the size less one.
    let mut file = b"RIFF....WEBPVP8X\x0A\0\0\0\x04\0\0\0\x3F\0\0\x2F\0\0".to_vec();
    file.extend(&still[12..]);
    file.extend(b"XMP ");
    file.extend((xmp.len() as u32).to_le_bytes());
    file.extend(xmp);
    let size = (file.len() as u32 - 8).to_le_bytes();
    file[4..8].copy_from_slice(&size);
    assert_eq!(
        Image::from_bytes(&file).expect("decodes").size_wh(),
        (48, 64)
    );
}

#[test]
fn a_png_file_does_without_its_end() {
    let png = encoded(ImageFormat::Png);
    let whole = Image::from_bytes(&png).expect("decodes");
    for cut in [12, 7] {
        let image = Image::from_bytes(&png[..png.len() - cut]).expect("decodes");
        assert_eq!(image, whole, "{cut}");
    }
    assert!(Image::from_bytes(&png[..png.len() - 17]).is_err());
}

#[test]
fn a_colour_profile_is_not_unpacked() {
    let broken = png_with(b"iCCP", b"x\0\0\x78\x01\xFF\xFF", false);
    let whole = Image::from_bytes(&encoded(ImageFormat::Png)).expect("decodes");
    assert_eq!(Image::from_bytes(&broken).expect("decodes"), whole);
}
