//! Videos that are read through FFmpeg. Without one, every test says so and passes.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use plm_processor::{DecodeLimits, Error, FrameSampling, Video};

const VP9: &str = "vp9_odd.webm";

fn clip(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/videos")
        .join(name)
}

#[allow(clippy::print_stderr)]
fn has_ffmpeg() -> bool {
    let program = std::env::var_os("PLM_FFMPEG").unwrap_or_else(|| "ffmpeg".into());
    let answer = Command::new(&program).arg("-version").output();
    let has = answer.is_ok_and(|answer| answer.status.success());
    if !has {
        let program = program.display();
        eprintln!("SKIPPED: no FFmpeg at `{program}`; install it, or set PLM_FFMPEG");
    }
    has
}

/// Opens a file of these bytes and decodes some of its frames.
fn run(name: &str, bytes: &[u8], limits: &DecodeLimits) -> Result<Video, Error> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join(name);
    fs::write(&path, bytes).expect("written");
    let video = Video::open_with(&path, limits)?;
    let sampling = FrameSampling {
        allow_fewer: true,
        ..FrameSampling::num_frames(4)
    };
    let positions = video.positions(&sampling)?;
    let indices: Vec<usize> = positions.iter().map(|position| position.index).collect();
    assert_eq!(video.frames(&indices)?.len(), indices.len());
    Ok(video)
}

#[test]
fn odd_names_are_names() {
    if !has_ffmpeg() {
        return;
    }
    let bytes = fs::read(clip(VP9)).expect("a clip");
    for name in [
        "-y.webm",
        "frame%03d.webm",
        "two\nlines.webm",
        "concat:a|b.webm",
        "http:x.webm",
        "it's \"quoted\"; $(echo).webm",
    ] {
        let video = run(name, &bytes, &DecodeLimits::default());
        assert_eq!(video.expect(name).num_frames(), 20);
    }
}

#[test]
fn large_frames_are_refused_before_they_are_decoded() {
    if !has_ffmpeg() {
        return;
    }
    let limits = DecodeLimits {
        max_pixels: 1000,
        ..DecodeLimits::default()
    };
    let bytes = fs::read(clip(VP9)).expect("a clip");
    let error = run("clip.webm", &bytes, &limits).unwrap_err();
    assert!(
        matches!(
            error,
            Error::ImageTooLarge { width: 65, .. } | Error::Video { .. }
        ),
        "{error}"
    );
}

#[test]
fn damaged_files_are_errors_or_shorter() {
    if !has_ffmpeg() {
        return;
    }
    for name in [VP9, "hevc.mkv", "mpeg4.avi"] {
        let whole = fs::read(clip(name)).expect("a clip");
        for end in [64, 300, whole.len() / 2, whole.len() - 20] {
            if let Err(error) = run(name, &whole[..end], &DecodeLimits::default()) {
                assert!(matches!(error, Error::Video { .. }), "{error}");
            }
        }
        let mut changed = whole.clone();
        let middle = whole.len() / 2;
        changed[middle..middle + 100].fill(0x55);
        if let Err(error) = run(name, &changed, &DecodeLimits::default()) {
            assert!(matches!(error, Error::Video { .. }), "{error}");
        }
    }
    let head = &fs::read(clip(VP9)).expect("a clip")[..64];
    let message = run("head.webm", head, &DecodeLimits::default())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("head.webm: `") && message.contains("cannot read it"),
        "{message}"
    );
    assert!(message.len() < 3000);
}

#[test]
fn playlists_are_not_followed() {
    if !has_ffmpeg() {
        return;
    }
    let playlist = format!("#EXTM3U\n#EXTINF:1,\n{}\n", clip("mpeg2.ts").display());
    let concat = format!("ffconcat version 1.0\nfile '{}'\n", clip(VP9).display());
    for (name, text) in [("a.m3u8", playlist), ("a.ffconcat", concat)] {
        let error = run(name, text.as_bytes(), &DecodeLimits::default()).unwrap_err();
        assert!(
            error.to_string().contains("no known video format"),
            "{error}"
        );
        // With the head of another container, so that it reaches FFmpeg.
        let mut bytes = b"\x1A\x45\xDF\xA3\n".to_vec();
        bytes.write_all(text.as_bytes()).expect("written");
        let error = run(name, &bytes, &DecodeLimits::default()).unwrap_err();
        assert!(matches!(error, Error::Video { .. }), "{error}");
    }
}
