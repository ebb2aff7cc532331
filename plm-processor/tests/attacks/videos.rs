use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use plm_processor::{DecodeLimits, Error, Video};

mod muxer;
mod runner;

use runner::{path, run_mp4};

fn clip(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/videos");
    fs::read(path.join(name)).expect("a fixture")
}

/// The message, which must name the file.
fn message(bytes: &[u8]) -> String {
    let message = run_mp4(bytes).expect_err("is refused").to_string();
    let name = path().display().to_string();
    assert!(message.contains(&name), "{message}");
    message.replace(&name, "FILE")
}

#[test]
fn every_truncation_is_an_error_or_harmless() {
    for name in ["clip.mp4", "fragments.mp4"] {
        let whole = clip(name);
        for end in (0..whole.len()).step_by(7) {
            if let Err(error) = run_mp4(&whole[..end]) {
                assert!(matches!(error, Error::Video { .. }), "{error}");
            }
        }
    }
}

#[test]
fn a_file_without_its_index_or_its_frames_says_so() {
    let whole = clip("clip.mp4");
    assert_eq!(
        message(&whole[..200]),
        "FILE: it has no box `moov`; it is truncated or damaged"
    );
    assert_eq!(
        message(b""),
        "FILE: it is in no known video format; decoded are H.264 in MP4 or QuickTime, animated \
         GIF, and folders of pictures"
    );
    let start = whole
        .windows(4)
        .position(|w| w == b"mdat")
        .expect("media data")
        - 4;
    let moov = whole
        .windows(4)
        .position(|w| w == b"moov")
        .expect("an index")
        - 4;
    // The index stands behind the media data; with the data gone, samples lie beyond the end.
    let cut = [&whole[..start], &whole[moov..]].concat();
    let message = message(&cut);
    assert!(
        message.contains("lies beyond the end of the file")
            || message.contains("cannot be decoded"),
        "{message}"
    );
}

#[test]
fn changed_bytes_never_panic() {
    for name in ["clip.mp4", "fragments.mp4", "ten_bit.mp4", "turned.mov"] {
        let whole = clip(name);
        // A fixed sequence of places and values, spread over index and media data.
        let mut state = 1u64;
        for _ in 0..400 {
            let mut bytes = whole.clone();
            for _ in 0..3 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let place = (state >> 33) as usize % bytes.len();
                bytes[place] = (state >> 24) as u8;
            }
            if let Err(error) = run_mp4(&bytes) {
                assert!(
                    matches!(error, Error::Video { .. } | Error::ImageTooLarge { .. }),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn counts_that_lie_take_no_memory() {
    let whole = clip("clip.mp4");
    for kind in [
        b"stsz", b"stts", b"stsc", b"stco", b"ctts", b"stss", b"elst",
    ] {
        let place = whole.windows(4).position(|w| w == kind).expect("a table") + 4;
        for offset in [4, 8] {
            let mut bytes = whole.clone();
            bytes[place + offset..place + offset + 4].fill(0xFF);
            if let Err(error) = run_mp4(&bytes) {
                assert!(matches!(error, Error::Video { .. }), "{error}");
            }
        }
    }
}

#[test]
fn pictures_beyond_the_limits_are_refused_before_they_are_decoded() {
    fs::write(path(), clip("clip.mp4")).expect("written");
    let limits = DecodeLimits {
        max_pixels: 1000,
        ..DecodeLimits::default()
    };
    let error = Video::open_with(path(), &limits).unwrap_err();
    assert!(
        matches!(error, Error::ImageTooLarge { width: 96, .. }),
        "{error}"
    );
}

#[test]
fn folders_without_pictures_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let message = Video::open(dir.path()).unwrap_err().to_string();
    assert!(
        message.ends_with("the folder holds no picture"),
        "{message}"
    );
    fs::write(dir.path().join("a.txt"), "text").expect("written");
    let message = Video::open(dir.path()).unwrap_err().to_string();
    assert!(
        message.contains("a.txt is in no known picture format"),
        "{message}"
    );
}

/// Most time for one input of the corpus; a debug build on a busy machine takes seconds.
const MAX_SECONDS: u64 = 60;

#[test]
fn what_the_fuzzer_found_is_an_error_or_harmless() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks/corpus");
    let mut count = 0;
    for target in ["mp4", "h264"] {
        for entry in fs::read_dir(corpus.join(target)).expect("a corpus") {
            let input = entry.expect("a file").path();
            let bytes = fs::read(&input).expect("a file");
            let start = Instant::now();
            let result = match target {
                "mp4" => run_mp4(&bytes),
                _ => run_mp4(&muxer::mp4(&bytes)),
            };
            let name = input.display();
            assert!(start.elapsed() < Duration::from_secs(MAX_SECONDS), "{name}");
            if let Err(error) = result {
                assert!(
                    matches!(error, Error::Video { .. } | Error::ImageTooLarge { .. }),
                    "{name}: {error}"
                );
            }
            count += 1;
        }
    }
    assert!(count > 40, "{count} inputs");
}

/// The decoder panics on this stream; the panic is printed by the test's hook, and contained.
#[test]
fn a_decoder_that_gives_up_is_an_error() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks/corpus/h264");
    let stream = fs::read(corpus.join("gives_up.h264")).expect("a stream");
    let message = message(&muxer::mp4(&stream));
    assert!(message.contains("the decoder cannot go on"), "{message}");
}

#[test]
fn streams_in_the_smallest_file_are_decoded() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks/corpus/h264");
    for name in ["bframes", "cabac", "cavlc", "interlaced", "slices", "ten"] {
        let stream = fs::read(corpus.join(format!("{name}.h264"))).expect("a stream");
        if let Err(error) = run_mp4(&muxer::mp4(&stream)) {
            panic!("{name}: {error}");
        }
    }
}
