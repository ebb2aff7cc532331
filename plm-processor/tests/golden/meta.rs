//! What Meta's own code made of pictures, questions and training samples.

use std::path::Path;

use plm_processor::{
    Content, Conversation, EncodeOptions, Image, Message, Processor, Role, Rules, Video,
    VisionInputType,
};
use serde_json::Value;

use crate::{golden, json, number, numbers, processor, rows, sha256, text};

fn options(vision_input_type: VisionInputType) -> EncodeOptions {
    EncodeOptions {
        vision_input_type: Some(vision_input_type),
        rules: Rules::Meta,
        ..EncodeOptions::default()
    }
}

fn expanded(rle: &Value) -> Vec<u32> {
    let pairs = rle.as_array().expect("a list").iter().map(numbers);
    pairs
        .flat_map(|pair| vec![pair[0]; pair[1] as usize])
        .collect()
}

#[test]
fn questions_have_the_ids_and_tiles_of_metas_code() {
    let Some(golden) = golden() else { return };
    let processor = processor(&golden, "tinyL");
    let table = json(golden.join("meta.json"));
    for row in rows(&table, "generation") {
        let picture = golden.join("media").join(text(row, "image"));
        let picture = Image::open(picture).expect("the picture opens");
        let conversation = Conversation::ask(text(row, "question"), [picture.into()]);
        let kind = text(row, "vision_input_type")
            .parse()
            .expect("a known type");
        let prompt = processor
            .encode(&conversation, &options(kind))
            .expect("encodes");
        assert_eq!(
            prompt.token_ids,
            expanded(&row["input_ids_rle"]),
            "{}",
            row["question"]
        );
        let tiles = &prompt.media[0].tiles;
        let expected: Vec<&str> = rows(row, "tiles")
            .iter()
            .map(|tile| text(tile, "sha256_u8_chw"))
            .collect();
        let found: Vec<String> = (0..tiles.len()).map(|i| sha256(tiles.tile_u8(i))).collect();
        assert_eq!(found, expected, "{}", row["image"]);
        let size = processor.measure(&conversation, &options(kind));
        assert_eq!(size.expect("measures").prompt_tokens, prompt.len());
    }
}

/// The project's own fixture: pictures by a formula, resized by Pillow and torchvision.
#[test]
fn pictures_and_frames_are_resized_as_by_metas_transforms() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let processor = Processor::from_dir(root.join("tests/fixtures/tiny")).expect("loads");
    let table = json(root.join("tests/fixtures/expected_meta.json"));
    assert_eq!(processor.config().tile_size, number(&table["tile_size"]));
    for row in rows(&table, "rows") {
        let size = numbers(&row["size_wh"]);
        let (width, height) = (size[0], size[1]);
        let pixel = |x: u32, y: u32, c: u32| (37 * x + 101 * y + 61 * c + 7 * x * y) as u8;
        let rgb = (0..width * height * 3)
            .map(|i| pixel(i / 3 % width, i / 3 / width, i % 3))
            .collect();
        let picture = Image::from_rgb8(width, height, rgb).expect("a picture");
        let video = Video::from_frames(vec![picture.clone()]);
        for (content, field) in [
            (picture.into(), "picture_sha256_u8_chw"),
            (video.into(), "frame_sha256_u8_chw"),
        ] {
            let conversation = Conversation::ask("?", [content]);
            let prompt = processor
                .encode(&conversation, &options(VisionInputType::Vanilla))
                .expect("encodes");
            let tile = prompt.media[0].tiles.tile_u8(0);
            assert_eq!(
                sha256(tile),
                text(row, field),
                "{field} of {width}x{height}"
            );
        }
    }
}

#[test]
fn training_samples_have_the_ids_and_answers_of_metas_code() {
    let Some(golden) = golden() else { return };
    let processor = processor(&golden, "tinyL");
    let table = json(golden.join("meta.json"));
    for row in rows(&table, "training_tokenisation") {
        let mut conversation = Conversation::new();
        let num_pictures = match text(row, "media_type") {
            "text" => 0,
            _ => number(&row["chunks"]),
        };
        for (index, turn) in rows(row, "conversations").iter().enumerate() {
            let role = match text(turn, "from") {
                "human" => Role::User,
                _ => Role::Assistant,
            };
            let mut content: Vec<Content> = Vec::new();
            if index == 0 {
                let picture = Image::from_rgb8(1, 1, vec![0; 3]).expect("a picture");
                content.extend((0..num_pictures).map(|_| picture.clone().into()));
            }
            content.push(text(turn, "value").into());
            conversation = conversation.message(Message::new(role, content));
        }
        let sample = processor
            .encode_for_training(&conversation, &options(VisionInputType::Vanilla), 2048)
            .expect("encodes");
        let expected = expanded(&row["text_ids_rle"]);
        assert_eq!(sample.prompt.token_ids, expected, "{row}");
        let answers: Vec<u32> = sample
            .answers
            .iter()
            .flat_map(|range| range.clone().map(|position| position as u32))
            .collect();
        assert_eq!(answers, numbers(&row["response_pos"]), "{row}");
        assert_eq!(sample.turns_left_out, 0);

        // One token less than all of it, and one more for the room that Meta's code keeps.
        let cut = |max| {
            processor.encode_for_training(&conversation, &options(VisionInputType::Vanilla), max)
        };
        assert_eq!(cut(expected.len() + 1).expect("fits"), sample);
        let shorter = cut(expected.len()).expect("fits in part");
        assert_eq!(shorter.turns_left_out, 1);
        assert_eq!(shorter.prompt.token_ids, expected[..shorter.prompt.len()]);
        assert!(cut(10).is_err());
    }
}
