//! The project's own clips, which always run: times and pixels as FFmpeg has them.

use std::path::{Path, PathBuf};

use plm_processor::{FrameSampling, Video};
use serde_json::Value;

use crate::{has_ffmpeg, json, numbers, rows, sha256, text};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

fn each_clip(check: impl Fn(&Value, &Video)) {
    let table = json(fixtures().join("expected_videos.json"));
    let has_ffmpeg = has_ffmpeg();
    for row in rows(&table, "videos") {
        if row.get("through").is_some() && !has_ffmpeg {
            continue;
        }
        let path = fixtures().join("videos").join(text(row, "file"));
        check(row, &Video::open(path).expect("opens"));
    }
}

#[test]
fn every_frame_of_every_clip_is_equal() {
    each_clip(|row, video| {
        let name = text(row, "file");
        let (width, height) = video.size_wh();
        assert_eq!(vec![width, height], numbers(&row["size_wh"]), "{name}");
        let hashes = rows(row, "rgb_sha256");
        assert_eq!(video.num_frames(), hashes.len(), "{name}");
        let all: Vec<usize> = (0..hashes.len()).collect();
        let frames = video.frames(&all).expect("decodes");
        for (index, (frame, hash)) in frames.iter().zip(hashes).enumerate() {
            assert_eq!(sha256(frame.rgb()), *hash, "{name} frame {index}");
            assert_eq!(frame.size_wh(), video.size_wh(), "{name}");
        }
    });
}

#[test]
fn chosen_frames_are_those_of_the_whole_clip() {
    each_clip(|row, video| {
        let hashes = rows(row, "rgb_sha256");
        // Backwards, and one twice: each is found on its own.
        let mut chosen: Vec<usize> = (0..hashes.len()).rev().step_by(5).collect();
        chosen.push(chosen[0]);
        let frames = video.frames(&chosen).expect("decodes");
        assert_eq!(frames.len(), chosen.len());
        for (frame, index) in frames.iter().zip(chosen) {
            assert_eq!(sha256(frame.rgb()), hashes[index], "{}", text(row, "file"));
        }
    });
}

#[test]
fn frames_have_their_times() {
    each_clip(|row, video| {
        let positions = video.positions(&FrameSampling::default()).expect("samples");
        let expected = rows(row, "seconds").iter().map(Value::as_f64);
        for (position, expected) in positions.iter().zip(expected) {
            let (found, expected) = (position.seconds.expect("has times"), expected.expect("one"));
            assert!((found - expected).abs() < 1e-9, "{}", text(row, "file"));
        }
        // Containers of the second kind count in milliseconds, and round.
        let (expected, tolerance) = match text(row, "file").rsplit('.').next() {
            Some("avi" | "ts") => (25.0, 1e-9),
            Some("webm" | "mkv") => (15.0, 0.1),
            _ => (15.0, 1e-9),
        };
        let fps = video.fps().expect("has a rate");
        assert!(
            (fps - expected).abs() < tolerance,
            "{} {fps}",
            text(row, "file")
        );
    });
}

#[test]
fn a_frame_that_does_not_exist_is_named() {
    let video = Video::open(fixtures().join("videos/clip.mp4")).expect("opens");
    let message = video.frames(&[40]).unwrap_err().to_string();
    assert!(
        message.ends_with("clip.mp4: there is no frame 40; it has 40, counted from 0"),
        "{message}"
    );
}
