use std::process::Command;
use std::time::{Duration, Instant};

use mozjpeg::{ColorSpace, Compress};
use plm_processor::{DecodeLimits, Error, Image};
use proptest::prelude::*;

/// How a test file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Baseline,
    Progressive,
    Grey,
    Cmyk,
}

const KINDS: [Kind; 4] = [Kind::Baseline, Kind::Progressive, Kind::Grey, Kind::Cmyk];

/// A file of the given samples: four a pixel for CMYK, one for grey, else three.
pub(crate) fn encoded(kind: Kind, (width, height): (u32, u32), samples: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(match kind {
        Kind::Baseline | Kind::Progressive => ColorSpace::JCS_RGB,
        Kind::Grey => ColorSpace::JCS_GRAYSCALE,
        Kind::Cmyk => ColorSpace::JCS_CMYK,
    });
    compress.set_fastest_defaults();
    if kind == Kind::Progressive {
        compress.set_progressive_mode();
    }
    compress.set_size(width as usize, height as usize);
    let mut started = compress.start_compress(Vec::new()).expect("starts");
    started.write_scanlines(samples).expect("encodes");
    started.finish().expect("ends")
}

/// 24x17 pixels of noise.
fn noise(kind: Kind) -> Vec<u8> {
    let channels = match kind {
        Kind::Grey => 1,
        Kind::Cmyk => 4,
        Kind::Baseline | Kind::Progressive => 3,
    };
    let samples: Vec<u8> = (0..24 * 17 * channels as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    encoded(kind, (24, 17), &samples)
}

/// Where the code of the first marker for which `is_wanted` stands.
fn marker(bytes: &[u8], is_wanted: impl Fn(u8) -> bool) -> usize {
    1 + bytes
        .windows(2)
        .position(|pair| pair[0] == 0xFF && is_wanted(pair[1]))
        .expect("the marker is there")
}

fn frame(bytes: &[u8]) -> usize {
    marker(bytes, |code| matches!(code, 0xC0..=0xC2))
}

/// A baseline file with a byte changed, counted from the code of its frame marker.
///
/// Behind the code stand the length (two bytes), precision, height and width (two each), the
/// number of components, and for each its id, sampling factors and table.
fn with_frame_byte(at: usize, value: u8) -> Vec<u8> {
    let mut bytes = noise(Kind::Baseline);
    let frame = frame(&bytes);
    bytes[frame + at] = value;
    bytes
}

fn refusal(bytes: &[u8]) -> String {
    let error = Image::from_bytes(bytes).expect_err("the file is refused");
    assert!(
        matches!(error, Error::DecodeImage { format: "JPEG", .. }),
        "{error}"
    );
    let message = error.to_string();
    let start = "cannot decode the picture in memory as JPEG: ";
    assert!(message.starts_with(start), "{message}");
    message[start.len()..].to_owned()
}

#[test]
fn whole_files_of_every_kind_decode() {
    for kind in KINDS {
        let image = Image::from_bytes(&noise(kind)).expect("decodes");
        assert_eq!(image.size_wh(), (24, 17), "{kind:?}");
    }
}

#[test]
fn a_file_cut_at_any_length_is_refused() {
    for kind in KINDS {
        let bytes = noise(kind);
        for end in 0..bytes.len() {
            match Image::from_bytes(&bytes[..end]).expect_err("a part is no picture") {
                Error::UnknownImageFormat { .. } => assert!(end < 3, "{kind:?} {end}"),
                error => assert!(
                    error.to_string().ends_with("the file is cut short"),
                    "{kind:?} {end}: {error}"
                ),
            }
        }
    }
}

/// The end marker makes the walk over the segments content, so that libjpeg gets to see the cut.
#[test]
fn a_cut_file_with_an_end_marker_does_not_panic() {
    for kind in KINDS {
        let bytes = noise(kind);
        let frame = frame(&bytes);
        for end in 3..bytes.len() {
            let cut = [&bytes[..end], &[0xFF, 0xD9]].concat();
            let result = Image::from_bytes(&cut);
            assert!(result.is_err() || end > frame, "{kind:?} {end}");
        }
    }
}

#[test]
fn garbage_behind_the_first_bytes_is_refused() {
    assert_eq!(refusal(b"\xFF\xD8\xFFgarbage"), "the file is cut short");
    assert_eq!(
        refusal(&[0xFF, 0xD8, 0xFF, 0xE0, 0, 2, 7]),
        "the file is cut short"
    );
    assert_eq!(
        refusal(&[0xFF, 0xD8, 0xFF, 0xD9]),
        "libjpeg says: no image in the JPEG file"
    );
}

#[test]
fn a_size_beyond_the_limits_is_refused_before_anything_is_allocated() {
    let start = Instant::now();
    for kind in KINDS {
        let mut bytes = noise(kind);
        let size = frame(&bytes) + 4;
        bytes[size..size + 4].copy_from_slice(&[0xFF, 0xDC, 0xFF, 0xDC]);
        let error = Image::from_bytes(&bytes).expect_err("too large");
        assert!(matches!(error, Error::ImageTooLarge { .. }), "{error}");
        bytes[size..size + 4].copy_from_slice(&[0xFF; 4]);
        assert_eq!(
            refusal(&bytes),
            "libjpeg says: Maximum supported image dimension is 65500 pixels"
        );
    }
    // Each of them would take seconds to fill with grey.
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn headers_that_make_no_sense_are_refused() {
    for (at, value, message) in [
        (5, 0, "Empty JPEG image (DNL not supported)"),
        (8, 2, "Bogus marker length"),
        (8, 5, "Bogus marker length"),
        (10, 0, "Bogus sampling factors"),
        (10, 0x55, "Bogus sampling factors"),
        (11, 3, "Quantization table 0x03 was not defined"),
        (11, 0x55, "Quantization table 0x55 was not defined"),
    ] {
        assert_eq!(
            refusal(&with_frame_byte(at, value)),
            format!("libjpeg says: {message}"),
            "{at}"
        );
    }
}

#[test]
fn two_components_are_no_colour() {
    let mut bytes = noise(Kind::Baseline);
    let (frame, scan) = (frame(&bytes), marker(&bytes, |code| code == 0xDA));
    // From back to front: the third component is cut out of the scan's header and the frame's.
    bytes.drain(scan + 8..scan + 10);
    bytes[scan + 2] -= 2;
    bytes[scan + 3] = 2;
    bytes.drain(frame + 15..frame + 18);
    bytes[frame + 2] -= 3;
    bytes[frame + 8] = 2;
    assert_eq!(
        refusal(&bytes),
        "2 components are neither grey, RGB nor CMYK; convert the file to one of these"
    );
}

#[test]
fn parts_of_the_format_that_are_not_read_are_named() {
    for (at, value, message) in [
        (3, 12, "libjpeg says: Unsupported JPEG data precision 12"),
        (
            0,
            0xC3,
            "libjpeg says: Unsupported JPEG process: SOF type 0xc3",
        ),
        (
            0,
            0xC9,
            "libjpeg says: Sorry, arithmetic coding is not implemented",
        ),
        (
            0,
            0xCA,
            "libjpeg says: Sorry, arithmetic coding is not implemented",
        ),
    ] {
        assert_eq!(refusal(&with_frame_byte(at, value)), message);
    }
}

#[test]
fn broken_huffman_tables_are_refused() {
    let whole = noise(Kind::Baseline);
    let table = marker(&whole, |code| code == 0xC4);
    // Behind the code: length (two bytes), class and number, then how many codes each length has.
    for (at, value) in [(3, 0x0F), (4, 0xFF), (4, 3), (2, 5)] {
        let mut bytes = whole.clone();
        bytes[table + at] = value;
        let message = refusal(&bytes);
        assert!(
            message.starts_with("libjpeg says: ") || message == "the file is cut short",
            "{at} {value}: {message}"
        );
    }
}

#[test]
fn a_missing_huffman_table_is_the_standard_one() {
    let whole = noise(Kind::Baseline);
    let table = marker(&whole, |code| code == 0xC4);
    let length = usize::from(whole[table + 1]) << 8 | usize::from(whole[table + 2]);
    let mut bytes = whole.clone();
    bytes.drain(table - 1..table + 1 + length);
    assert_eq!(
        Image::from_bytes(&bytes).expect("decodes"),
        Image::from_bytes(&whole).expect("decodes")
    );
}

/// Large, empty and with a hundred thousand scans of eleven bytes each.
#[test]
fn a_file_with_very_many_scans_is_refused_at_once() {
    let mut bytes = noise(Kind::Progressive);
    let (frame, scan) = (frame(&bytes), marker(&bytes, |code| code == 0xDA));
    bytes[frame + 4..frame + 8].copy_from_slice(&[0x27, 0x10, 0x27, 0x10]);
    bytes.truncate(scan - 1);
    bytes.extend([0xFF, 0xDA, 0, 8, 1, 1, 0, 1, 5, 0, 0].repeat(100_000));
    bytes.extend([0xFF, 0xD9]);
    let start = Instant::now();
    assert_eq!(
        refusal(&bytes),
        "the file has more than 100 scans; save it again with fewer"
    );
    assert!(start.elapsed() < Duration::from_secs(2));
}

/// 10 000 x 10 000 pixels in 51 scans: seconds for the decoder, a kilobyte for the sender.
#[test]
fn a_large_file_with_many_scans_is_refused_at_once() {
    let mut bytes = noise(Kind::Progressive);
    let (frame, scan) = (frame(&bytes), marker(&bytes, |code| code == 0xDA));
    bytes[frame + 4..frame + 8].copy_from_slice(&[0x27, 0x10, 0x27, 0x10]);
    bytes.truncate(scan - 1);
    bytes.extend([0xFF, 0xDA, 0, 8, 1, 1, 0, 1, 5, 0, 0].repeat(51));
    bytes.extend([0xFF, 0xD9]);
    let start = Instant::now();
    assert_eq!(
        refusal(&bytes),
        "51 scans of 10000x10000 pixels are too much work; save the file again with fewer scans, \
         or as baseline"
    );
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn bytes_between_segments_are_stepped_over() {
    for kind in KINDS {
        let bytes = noise(kind);
        let frame = frame(&bytes);
        let stray = [&bytes[..frame - 1], b"stray", &bytes[frame - 1..]].concat();
        assert_eq!(
            Image::from_bytes(&stray).expect("decodes"),
            Image::from_bytes(&bytes).expect("decodes"),
            "{kind:?}"
        );
    }
}

#[test]
fn what_follows_the_end_marker_is_ignored() {
    let bytes = noise(Kind::Baseline);
    let longer = [&bytes[..], &[0xFF, 0xDA, 0xFF, 0xD8, 0xFF], &bytes].concat();
    assert_eq!(
        Image::from_bytes(&longer).expect("decodes"),
        Image::from_bytes(&bytes).expect("decodes")
    );
}

/// Another process, since what a C library prints does not pass through the test harness.
#[test]
fn refusals_print_nothing() {
    let this_program = std::env::current_exe().expect("the test program");
    let output = Command::new(this_program)
        .args(["jpeg::", "--nocapture", "--skip", "refusals_print_nothing"])
        .output()
        .expect("runs");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn damaged_files_do_not_panic(
        kind in prop::sample::select(KINDS.to_vec()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut bytes = noise(kind);
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let _ = Image::from_bytes_with(&bytes, &DecodeLimits { max_pixels: 1 << 20, ..Default::default() });
    }

    #[test]
    fn damaged_headers_do_not_panic(
        kind in prop::sample::select(KINDS.to_vec()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = noise(kind);
        let (frame, scan) = (frame(&bytes), marker(&bytes, |code| code == 0xDA));
        for (place, value) in damage {
            bytes[frame + place.index(scan + 14 - frame)] = value;
        }
        let _ = Image::from_bytes_with(&bytes, &DecodeLimits { max_pixels: 1 << 20, ..Default::default() });
    }

    #[test]
    fn noise_as_a_scan_does_not_panic(
        kind in prop::sample::select(KINDS.to_vec()),
        scan_data in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = noise(kind);
        let scan = marker(&bytes, |code| code == 0xDA);
        bytes.truncate(scan + 1 + usize::from(bytes[scan + 2]));
        // Every other 255 would end the scan.
        bytes.extend(scan_data.iter().flat_map(|&byte| {
            std::iter::once(byte).chain((byte == 0xFF).then_some(0))
        }));
        bytes.extend([0xFF, 0xD9]);
        Image::from_bytes(&bytes).expect("wrong samples are still samples");
    }
}
