use std::fs;
use std::path::{Path, PathBuf};

use plm_processor::{DecodeLimits, Error, FrameSampling, Result, Video};

fn clip(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/videos");
    fs::read(path.join(name)).expect("a fixture")
}

struct Attack {
    dir: tempfile::TempDir,
}

impl Attack {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a folder"),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("attack.mp4")
    }

    /// Opens a file of these bytes and decodes some of its frames.
    fn run(&self, bytes: &[u8]) -> Result<()> {
        fs::write(self.path(), bytes).expect("written");
        let limits = DecodeLimits {
            max_pixels: 1 << 20,
            ..DecodeLimits::default()
        };
        let video = Video::open_with(self.path(), &limits)?;
        let sampling = FrameSampling {
            allow_fewer: true,
            ..FrameSampling::num_frames(3)
        };
        let positions = video.positions(&sampling)?;
        let indices: Vec<usize> = positions.iter().map(|position| position.index).collect();
        video.frames(&indices).map(drop)
    }

    /// The message, which must name the file.
    fn message(&self, bytes: &[u8]) -> String {
        let message = self.run(bytes).expect_err("is refused").to_string();
        let name = self.path().display().to_string();
        assert!(message.contains(&name), "{message}");
        message.replace(&name, "FILE")
    }
}

#[test]
fn every_truncation_is_an_error_or_harmless() {
    let attack = Attack::new();
    for name in ["clip.mp4", "fragments.mp4"] {
        let whole = clip(name);
        for end in (0..whole.len()).step_by(7) {
            if let Err(error) = attack.run(&whole[..end]) {
                assert!(matches!(error, Error::Video { .. }), "{error}");
            }
        }
    }
}

#[test]
fn a_file_without_its_index_or_its_frames_says_so() {
    let attack = Attack::new();
    let whole = clip("clip.mp4");
    assert_eq!(
        attack.message(&whole[..200]),
        "FILE: it has no box `moov`; it is truncated or damaged"
    );
    assert_eq!(
        attack.message(b""),
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
    let message = attack.message(&cut);
    assert!(
        message.contains("lies beyond the end of the file")
            || message.contains("cannot be decoded"),
        "{message}"
    );
}

#[test]
fn changed_bytes_never_panic() {
    let attack = Attack::new();
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
            if let Err(error) = attack.run(&bytes) {
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
    let attack = Attack::new();
    let whole = clip("clip.mp4");
    for kind in [
        b"stsz", b"stts", b"stsc", b"stco", b"ctts", b"stss", b"elst",
    ] {
        let place = whole.windows(4).position(|w| w == kind).expect("a table") + 4;
        for offset in [4, 8] {
            let mut bytes = whole.clone();
            bytes[place + offset..place + offset + 4].fill(0xFF);
            if let Err(error) = attack.run(&bytes) {
                assert!(matches!(error, Error::Video { .. }), "{error}");
            }
        }
    }
}

#[test]
fn pictures_beyond_the_limits_are_refused_before_they_are_decoded() {
    let attack = Attack::new();
    fs::write(attack.path(), clip("clip.mp4")).expect("written");
    let limits = DecodeLimits {
        max_pixels: 1000,
        ..DecodeLimits::default()
    };
    let error = Video::open_with(attack.path(), &limits).unwrap_err();
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
