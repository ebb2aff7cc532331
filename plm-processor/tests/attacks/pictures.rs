mod reference;

use std::io::Cursor;
use std::time::{Duration, Instant};

use image::{DynamicImage, ImageFormat, RgbImage};
use plm_processor::{DecodeLimits, Error, Grid, Image, Tiles};
use proptest::prelude::*;

use crate::jpeg::{self, Kind};

const FORMATS: [ImageFormat; 6] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::WebP,
    ImageFormat::Bmp,
    ImageFormat::Gif,
    ImageFormat::Tiff,
];

/// A picture with enough detail that no format can store it in a few bytes.
fn encoded(format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_fn(64, 48, |x, y| {
        let noise = (x * 7919 + y * 104_729).wrapping_mul(2_654_435_761);
        image::Rgb([(noise >> 8) as u8, (noise >> 16) as u8, (noise >> 24) as u8])
    });
    if format == ImageFormat::Jpeg {
        return jpeg::encoded(Kind::Baseline, picture.dimensions(), picture.as_raw());
    }
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(picture)
        .write_to(&mut bytes, format)
        .expect("encodes");
    bytes.into_inner()
}

#[test]
fn whole_pictures_of_every_format_decode() {
    for format in FORMATS {
        assert_eq!(
            Image::from_bytes(&encoded(format))
                .expect("decodes")
                .size_wh(),
            (64, 48)
        );
    }
}

#[test]
fn truncated_pictures_of_every_format_are_refused() {
    for format in FORMATS {
        let bytes = encoded(format);
        for share in [3, 10, 25, 50, 75, 90] {
            let end = bytes.len() * share / 100;
            let error = Image::from_bytes(&bytes[..end]).expect_err("a part is no picture");
            assert!(
                matches!(
                    error,
                    Error::DecodeImage { .. } | Error::UnknownImageFormat { .. }
                ),
                "{format:?} {share} %: {error}"
            );
        }
    }
}

#[test]
fn a_truncated_file_is_named_with_its_cause() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("cut.jpg");
    let bytes = encoded(ImageFormat::Jpeg);
    std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("writes");
    let message = Image::open(&path).unwrap_err().to_string();
    assert_eq!(
        message,
        format!(
            "cannot decode {} as JPEG: the file is cut short",
            path.display()
        )
    );
    let message = Image::open(dir.path().join("no.png"))
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("cannot read ") && message.contains("no.png: "),
        "{message}"
    );
    assert!(Image::open(dir.path()).is_err());
}

/// A PNG whose header announces a size and whose data are nothing.
fn announcing_png(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for chunk in [header, b"IDAT".to_vec(), b"IEND".to_vec()] {
        png.extend((chunk.len() as u32 - 4).to_be_bytes());
        png.extend(&chunk);
        png.extend(crc32(&chunk).to_be_bytes());
    }
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| {
        if crc & 1 == 1 {
            crc >> 1 ^ 0xEDB8_8320
        } else {
            crc >> 1
        }
    };
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn a_bomb_is_refused_before_anything_is_allocated() {
    let start = Instant::now();
    for (width, height) in [
        (30_000, 30_000),
        (2_000_000_000, 2_000_000_000),
        (i32::MAX as u32, i32::MAX as u32),
        (100_000, 1),
    ] {
        let message = Image::from_bytes(&announcing_png(width, height))
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with(&format!(
                "the picture in memory is {width}x{height} pixels, more"
            )),
            "{message}"
        );
    }
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn announced_sizes_of_other_formats_are_checked_too() {
    // Width and height of a bitmap stand at bytes 18 and 22, those of a GIF at 6 and 8.
    let mut bitmap = encoded(ImageFormat::Bmp);
    bitmap[18..22].copy_from_slice(&60_000i32.to_le_bytes());
    bitmap[22..26].copy_from_slice(&60_000i32.to_le_bytes());
    let mut gif = encoded(ImageFormat::Gif);
    gif[6..10].copy_from_slice(&[0xFF; 4]);
    for (bytes, size) in [(bitmap, "60000x60000"), (gif, "65535x65535")] {
        let error = Image::from_bytes(&bytes).unwrap_err();
        assert!(matches!(error, Error::ImageTooLarge { .. }), "{error}");
        assert!(error.to_string().contains(size), "{error}");
    }
}

#[test]
fn a_size_that_lies_about_its_data_is_refused() {
    let message = Image::from_bytes(&announcing_png(300, 200))
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("cannot decode the picture in memory as PNG: "),
        "{message}"
    );
    let message = Image::from_bytes(&announcing_png(0, 200))
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("cannot decode the picture in memory as PNG: "),
        "{message}"
    );
}

#[test]
fn a_picture_without_pixels_is_refused_by_name() {
    let mut gif = encoded(ImageFormat::Gif);
    gif[6..10].copy_from_slice(&[0; 4]);
    // Behind the screen and its palette stands the frame, which has a size of its own.
    let frame = gif.iter().position(|byte| *byte == b',').expect("a frame");
    assert_eq!(
        Image::from_bytes(&gif).expect("the frame counts").size_wh(),
        (64, 48)
    );
    gif[frame + 5..frame + 9].copy_from_slice(&[0; 4]);
    let message = Image::from_bytes(&gif).unwrap_err().to_string();
    assert_eq!(
        message,
        "cannot decode the picture in memory as GIF: it is 0x0 pixels"
    );
}

#[test]
fn limits_are_the_callers_to_set() {
    let bytes = encoded(ImageFormat::Png);
    let small = DecodeLimits {
        max_side: 63,
        ..DecodeLimits::default()
    };
    let message = Image::from_bytes_with(&bytes, &small)
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "the picture in memory is 64x48 pixels, more than the limits allow (63 a side, 128000000 \
         in all); scale it down, or raise `DecodeLimits`"
    );
    let short = DecodeLimits {
        max_bytes: 10,
        ..DecodeLimits::default()
    };
    let message = Image::from_bytes_with(&bytes, &short)
        .unwrap_err()
        .to_string();
    assert!(message.contains("is longer than 10 bytes"), "{message}");
}

#[test]
fn thin_and_huge_pictures_are_tiled() {
    for (width, height) in [(1, 1), (1, 30_000), (30_000, 1), (30_000, 30), (2, 29_999)] {
        let picture =
            Image::from_rgb8(width, height, vec![7; (width * height * 3) as usize]).unwrap();
        let tiles = Tiles::thumb_tile(&picture, 56, 36).expect("tiles");
        let grid = Grid::choose(width, height, 56, 36);
        assert_eq!(tiles.len(), grid.len() + 1);
        assert!(
            tiles.as_u8().iter().all(|sample| *sample == 7),
            "{width}x{height}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_pictures_do_not_panic(
        format in prop::sample::select(FORMATS.to_vec()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut bytes = encoded(format);
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let _ = Image::from_bytes_with(&bytes, &DecodeLimits { max_pixels: 1 << 20, ..Default::default() });
    }

    #[test]
    fn noise_behind_a_signature_does_not_panic(
        format in prop::sample::select(FORMATS.to_vec()),
        noise in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = encoded(format);
        bytes.truncate(16);
        bytes.extend(noise);
        let _ = Image::from_bytes_with(&bytes, &DecodeLimits { max_pixels: 1 << 20, ..Default::default() });
    }
}

#[test]
fn a_tiff_file_is_turned_by_its_own_tag() {
    // One directory: 2x1 grey pixels, one strip, to be turned by a quarter.
    let entries: [(u16, u16, u32); 9] = [
        (0x0100, 3, 2),
        (0x0101, 3, 1),
        (0x0102, 3, 8),
        (0x0103, 3, 1),
        (0x0106, 3, 1),
        (0x0111, 4, 8),
        (0x0112, 3, 6),
        (0x0116, 3, 1),
        (0x0117, 4, 2),
    ];
    let mut file = b"II\x2A\0\x0A\0\0\0".to_vec();
    file.extend([10, 200]);
    file.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, value) in entries {
        file.extend(tag.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend(1u32.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    file.extend([0; 4]);
    let image = Image::from_bytes(&file).expect("decodes");
    assert_eq!(image.size_wh(), (1, 2));
    assert_eq!(image.rgb(), [10, 10, 10, 200, 200, 200]);
}
