use plm_processor::{Content, EncodeOptions, FrameRule, FrameSampling, Message, Role, Video};
use serde_json::Value;

use crate::{golden, has_ffmpeg, json, numbers, processor, rows, sha256, text};

fn indices(value: &Value) -> Vec<usize> {
    let numbers = numbers(value);
    numbers.into_iter().map(|index| index as usize).collect()
}

fn float(value: &Value) -> Option<f64> {
    value.as_f64()
}

fn count(value: &Value) -> usize {
    value.as_u64().expect("a count") as usize
}

#[test]
fn frames_are_sampled_as_in_the_reference() {
    let Some(golden) = golden() else { return };
    let videos = json(golden.join("videos.json"));
    let mut compared = 0;
    for row in rows(&videos["hf_num_frames_table"], "rows") {
        let sampling = FrameSampling::num_frames(count(&row[1]));
        let found = sampling.indices(count(&row[0]), None);
        assert_eq!(found, Ok(indices(&row[2])), "{row}");
        compared += 1;
    }
    for row in rows(&videos["hf_fps_table"], "rows") {
        let sampling = FrameSampling::fps(float(&row[2]).expect("a rate"));
        let found = sampling.indices(count(&row[0]), float(&row[1]));
        assert_eq!(found, Ok(indices(&row[3])), "{row}");
        compared += 1;
    }
    for row in rows(&videos["meta_table"], "rows") {
        let sampling = FrameSampling {
            rule: FrameRule::Meta {
                max_frames: count(&row[2]),
            },
            start_s: float(&row[3]),
            end_s: float(&row[4]),
            allow_fewer: false,
        };
        let total = count(&row[0]);
        let found = sampling.indices(total, float(&row[1])).expect("samples");
        // Of a single frame, Meta's code asks for a second one too, and fails.
        let exist = indices(&row[5]).into_iter().filter(|&index| index < total);
        assert_eq!(found, exist.collect::<Vec<_>>(), "{row}");
        compared += 1;
    }
    assert_eq!(compared, 29);
}

/// The recordings whose clips can be read: WebM needs FFmpeg.
fn readable(videos: &Value) -> impl Iterator<Item = &Value> {
    let has_ffmpeg = has_ffmpeg();
    let is_readable = move |row: &&Value| has_ffmpeg || text(row, "video").ends_with(".mp4");
    rows(videos, "rows").iter().filter(is_readable)
}

#[test]
fn files_are_sampled_as_in_the_reference() {
    let Some(golden) = golden() else { return };
    for row in readable(&json(golden.join("videos.json"))) {
        let video = Video::open(golden.join("media").join(text(row, "video"))).expect("opens");
        let sampling = match (row["num_frames"].as_u64(), float(&row["fps"])) {
            (Some(wanted), _) => FrameSampling::num_frames(wanted as usize),
            (None, Some(fps)) if row.get("total_frames").is_none() => FrameSampling::fps(fps),
            _ => FrameSampling::default(),
        };
        let found = video.positions(&sampling);
        if let Some(error) = row.get("error") {
            let message = found.unwrap_err().to_string();
            assert!(
                message.contains("frames are asked for"),
                "{message} {error}"
            );
            continue;
        }
        let found: Vec<usize> = found.expect("samples").iter().map(|f| f.index).collect();
        assert_eq!(found, indices(&row["indices"]), "{row}");
        if let Some(total) = row.get("total_frames") {
            assert_eq!(video.num_frames(), count(total));
            assert_eq!(video.fps(), float(&row["fps"]), "{row}");
        }
    }
}

#[test]
fn frames_and_their_tiles_are_equal_to_the_last_bit() {
    let Some(golden) = golden() else { return };
    let (mut compared, mut tiles_compared) = (0, 0);
    for row in readable(&json(golden.join("videos.json"))) {
        if !row["frame_sha256_rgb_hwc"].is_array() {
            continue;
        }
        let name = text(row, "video");
        let video = Video::open(golden.join("media").join(name)).expect("opens");
        let frames = video.frames(&indices(&row["indices"])).expect("decodes");
        for (frame, hash) in frames.iter().zip(rows(row, "frame_sha256_rgb_hwc")) {
            assert_eq!(
                sha256(frame.rgb()),
                hash.as_str().expect("a hash"),
                "{name}"
            );
            compared += 1;
        }
        for variant in ["tinyL", "tinyG", "tinyO"] {
            let field = format!("frames_{variant}");
            if !row[&field].is_array() {
                continue;
            }
            let message = Message::new(Role::User, [Content::Video(video.clone())]);
            let options = EncodeOptions {
                frame_sampling: Some(FrameSampling::num_frames(frames.len())),
                ..EncodeOptions::default()
            };
            let processor = processor(&golden, variant);
            let prompt = processor
                .encode(&message.into(), &options)
                .expect("encodes");
            let tiles = &prompt.media[0].tiles;
            let expected = rows(row, &field);
            assert_eq!(tiles.len(), expected.len());
            tiles_compared += tiles.len();
            for (index, expected) in expected.iter().enumerate() {
                let found = sha256(tiles.tile_u8(index));
                assert_eq!(found, text(expected, "sha256_u8_chw"), "{name} {index}");
            }
        }
    }
    let expected = if has_ffmpeg() { 37 } else { 25 };
    assert_eq!((compared, tiles_compared > 24), (expected, true));
}

#[cfg(not(feature = "ffmpeg"))]
#[test]
fn the_codec_of_a_file_that_is_not_decoded_is_named() {
    let Some(golden) = golden() else { return };
    let error = Video::open(golden.join("media/vp9_odd.webm")).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("it is VP9 in WebM or Matroska") && message.contains("feature `ffmpeg`"),
        "{message}"
    );
}
