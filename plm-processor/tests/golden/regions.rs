//! Boxes as Python writes and draws them, which always run.

use std::path::{Path, PathBuf};

use plm_processor::regions::{BoxFormat, BoxOrder, Coordinates, PixelBox};
use plm_processor::{Image, Video};
use serde_json::Value;

use crate::{json, number, rows, sha256, text};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

fn expected() -> Value {
    json(fixtures().join("expected_regions.json"))
}

fn four(value: &Value) -> [f64; 4] {
    std::array::from_fn(|at| value[at].as_f64().expect("a number"))
}

#[test]
fn boxes_are_written_as_in_the_reference() {
    let expected = expected();
    let mut compared = 0;
    for row in rows(&expected, "texts") {
        let region = PixelBox::from_xywh(four(&row["xywh"])).expect("a box");
        let size_wh = (number(&row["size_wh"][0]), number(&row["size_wh"][1]));
        for coordinates in [Coordinates::Thousandths, Coordinates::Standard] {
            for order in [BoxOrder::Xyxy, BoxOrder::Xywh] {
                let format = BoxFormat { coordinates, order };
                let name = format!("{}_{}", coordinates.as_str(), order.as_str());
                let written = format.write(&region, size_wh).expect("pixels");
                assert_eq!(written, text(row, &name), "{name} of {row}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 320);
}

#[test]
fn boxes_are_drawn_as_in_the_reference() {
    let expected = expected();
    let drawings = rows(&expected, "drawings");
    for row in drawings {
        let picture = Image::open(fixtures().join("media").join(text(row, "file"))).expect("opens");
        let region = PixelBox::from_xyxy(four(&row["xyxy"])).expect("a box");
        let drawn = picture.with_box(&region);
        assert_eq!(sha256(drawn.rgb()), text(row, "rgb_sha256"), "{row}");
    }
    assert_eq!(drawings.len(), 72);
}

/// Boxes on frames 3 and 7 of a video are on them alone, in whatever order they are asked for.
fn only_these_frames_have_boxes(video: &Video) {
    let region = |left| PixelBox::from_xywh([left, 5.0, 24.0, 20.0]).expect("a box");
    let boxed = video
        .clone()
        .with_boxes([(3, region(2.0)), (7, region(9.5)), (1000, region(1.0))]);
    let indices = [7, 0, 3, 3, 5];
    let (plain, drawn) = (video.frames(&indices), boxed.frames(&indices));
    let (plain, drawn) = (plain.expect("decodes"), drawn.expect("decodes"));
    for ((index, plain), drawn) in indices.into_iter().zip(plain).zip(drawn) {
        let expected = match index {
            3 => plain.with_box(&region(2.0)),
            7 => plain.with_box(&region(9.5)),
            _ => plain.clone(),
        };
        assert_eq!(drawn == plain, ![3, 7].contains(&index), "frame {index}");
        assert!(drawn == expected, "frame {index}");
    }
}

#[test]
fn boxes_of_frames_in_memory_are_drawn() {
    let picture = Image::open(fixtures().join("media/shapes.png")).expect("opens");
    only_these_frames_have_boxes(&Video::from_frames(vec![picture; 8]));
}

#[test]
fn boxes_of_a_folder_of_pictures_are_drawn() {
    let dir = tempfile::tempdir().expect("a folder");
    for index in 0..8 {
        let picture = fixtures().join("media/shapes.png");
        std::fs::copy(picture, dir.path().join(format!("{index}.png"))).expect("copies");
    }
    only_these_frames_have_boxes(&Video::open(dir.path()).expect("opens"));
}

#[test]
fn boxes_of_an_animated_gif_are_drawn() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("a.gif");
    let file = std::fs::File::create(&path).expect("creates");
    let mut encoder = gif::Encoder::new(file, 40, 30, &[0, 0, 0, 9, 99, 199]).expect("starts");
    for index in 0..8 {
        let pixels: Vec<u8> = (0..1200).map(|at| u8::from(at % 9 == index)).collect();
        let frame = gif::Frame::from_indexed_pixels(40, 30, pixels, None);
        encoder.write_frame(&frame).expect("writes");
    }
    drop(encoder);
    only_these_frames_have_boxes(&Video::open(&path).expect("opens"));
}

#[cfg(feature = "video")]
#[test]
fn boxes_of_h264_frames_are_drawn() {
    // Its frames are stored in another order than they are shown.
    let video = fixtures().join("videos/clip.mp4");
    only_these_frames_have_boxes(&Video::open(video).expect("opens"));
}
