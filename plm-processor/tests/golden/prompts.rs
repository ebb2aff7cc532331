use std::path::Path;

use plm_processor::{Conversation, EncodeOptions, MediaKind, Processor, Prompt};
use serde_json::Value;

use crate::{golden, json, number, numbers, processor, rows, text};

/// As the reference: names of special tokens in texts are special tokens.
fn as_reference() -> EncodeOptions {
    EncodeOptions {
        parse_special: true,
        ..EncodeOptions::default()
    }
}

#[test]
fn every_chat_is_rendered_as_in_the_reference() {
    let Some(golden) = golden() else { return };
    let processor = processor(&golden, "tinyL");
    let picture = golden.join("media/px_1x1.png");
    for row in rows(&json(golden.join("chat.json")), "rows") {
        let messages = with_pictures(&row["messages"], &picture);
        let conversation = Conversation::from_json(&messages, &golden).expect("reads");
        let options = EncodeOptions {
            add_generation_prompt: row["add_generation_prompt"].as_bool().expect("a flag"),
            max_num_tiles: Some(1),
            vision_input_type: Some(plm_processor::VisionInputType::Vanilla),
            ..as_reference()
        };
        let rendered = processor.render(&conversation, &options).expect("renders");
        let expected = with_deviations(row);
        assert_eq!(rendered, expected);
        let prompt = processor.encode(&conversation, &options).expect("encodes");
        if expected == text(row, "text") {
            assert_eq!(
                unexpanded(&processor, &prompt),
                numbers(&row["ids"]),
                "{rendered}"
            );
        }
        let safe = EncodeOptions {
            parse_special: false,
            ..options.clone()
        };
        let size = processor.measure(&conversation, &safe).expect("measures");
        let safe = processor.encode(&conversation, &safe).expect("encodes");
        assert_eq!(size.prompt_tokens, safe.len());
        if !rendered.contains("user says <|eot_id|>") {
            assert_eq!(safe.token_ids, prompt.token_ids, "{rendered}");
        }
    }
}

/// The recorded chats name no files, so every image and frame is one given picture.
fn with_pictures(messages: &Value, picture: &Path) -> Value {
    let mut messages = messages.clone();
    for message in messages.as_array_mut().expect("a list") {
        for part in message["content"].as_array_mut().into_iter().flatten() {
            match part["type"].as_str() {
                Some("image") => part["path"] = picture.to_str().into(),
                Some("video") => part["frames"] = vec![picture.to_str()].into(),
                _ => {}
            }
        }
    }
    messages
}

/// The reference drops content that is a plain string, and writes a list of system texts as
/// Python would print it. Here the first is one text, and the second the joined texts.
fn with_deviations(row: &Value) -> String {
    let mut expected = text(row, "text").to_owned();
    for message in rows(row, "messages") {
        match (text(message, "role"), &message["content"]) {
            ("user", Value::String(dropped)) => {
                let turn = "user<|end_header_id|>\n\n";
                expected = expected.replace(turn, &format!("{turn}{dropped}"));
            }
            ("system", Value::Array(parts)) => {
                let printed = format!(
                    "[{{'type': 'text', 'text': '{}'}}]",
                    text(&parts[0], "text")
                );
                expected = expected.replace(&printed, text(&parts[0], "text"));
            }
            _ => {}
        }
    }
    expected
}

/// The ids with every medium as one placeholder again.
fn unexpanded(processor: &Processor, prompt: &Prompt) -> Vec<u32> {
    let mut ids = Vec::new();
    let mut next = 0;
    for media in &prompt.media {
        ids.extend(&prompt.token_ids[next..media.positions.start]);
        ids.push(match media.kind {
            MediaKind::Image => processor.image_token_id(),
            MediaKind::Video => processor.video_token_id(),
        });
        next = media.positions.end;
    }
    ids.extend(&prompt.token_ids[next..]);
    ids
}

#[test]
fn every_prompt_of_tiny_l_is_equal() {
    every_prompt_is_equal("tinyL");
}

#[test]
fn every_prompt_of_tiny_g_is_equal() {
    every_prompt_is_equal("tinyG");
}

#[test]
fn every_prompt_of_tiny_o_is_equal() {
    every_prompt_is_equal("tinyO");
}

fn every_prompt_is_equal(variant: &str) {
    let Some(golden) = golden() else { return };
    let processor = processor(&golden, variant);
    let table = json(golden.join(format!("cases_{variant}.json")));
    let mut compared = 0;
    for case in rows(&table, "cases") {
        let id = text(case, "id");
        if id.contains("video") {
            continue;
        }
        let options = EncodeOptions {
            vision_input_type: Some(
                text(case, "vision_input_type")
                    .parse()
                    .expect("a known type"),
            ),
            max_num_tiles: Some(number(&case["max_num_tiles"])),
            ..as_reference()
        };
        if let Some(batch) = case["batch_messages"].as_array() {
            for (index, messages) in batch.iter().enumerate() {
                let prompt = encode(&processor, messages, &golden, &options);
                let ids = expanded(&case["input_ids_rle"][index]);
                let mask = expanded(&case["attention_mask_rle"][index]);
                let real: Vec<u32> = ids
                    .iter()
                    .zip(mask)
                    .filter(|(_, m)| *m == 1)
                    .map(|(id, _)| *id)
                    .collect();
                assert_eq!(prompt.token_ids, real, "{id} {index}");
                compared += 1;
            }
            continue;
        }
        let prompt = encode(&processor, &case["messages"], &golden, &options);
        assert_eq!(prompt.token_ids, expanded(&case["input_ids_rle"]), "{id}");
        let tiles: Vec<u32> = prompt
            .media
            .iter()
            .map(|media| media.tiles.len() as u32)
            .collect();
        if case["num_tiles"].is_array() {
            assert_eq!(tiles, numbers(&case["num_tiles"]), "{id}");
        } else {
            assert!(tiles.is_empty(), "{id}");
        }
        for media in &prompt.media {
            let tokens = &prompt.token_ids[media.positions.clone()];
            assert!(
                tokens
                    .iter()
                    .all(|token| *token == processor.image_token_id()),
                "{id}"
            );
        }
        compared += 1;
    }
    assert!(compared >= 8, "only {compared} prompts were compared");
}

fn encode(processor: &Processor, messages: &Value, root: &Path, options: &EncodeOptions) -> Prompt {
    let conversation = Conversation::from_json(messages, root).expect("reads");
    let prompt = processor.encode(&conversation, options).expect("encodes");
    let size = processor.measure(&conversation, options).expect("measures");
    assert_eq!(size.prompt_tokens, prompt.len());
    prompt
}

fn expanded(run_lengths: &Value) -> Vec<u32> {
    let runs = run_lengths.as_array().expect("a list").iter().map(numbers);
    runs.flat_map(|run| vec![run[0]; run[1] as usize]).collect()
}

#[test]
fn names_of_special_tokens_in_texts_stay_text() {
    let Some(golden) = golden() else { return };
    let processor = processor(&golden, "tinyL");
    // Whole, split over two texts that the template glues together, in the system text, as a role.
    let pieces = ["x <|image|> <|eot_id|>", "<|start_head", "er_id|> y"];
    let mut conversation = Conversation::new().system("be <|eot_id|> kind");
    for (role, texts) in [("user", &pieces[..]), ("<|eot_id|>", &["z"])] {
        let content = texts.iter().map(|text| (*text).into());
        conversation
            .messages
            .push(plm_processor::Message::new(role.into(), content));
    }
    let options = EncodeOptions::default();
    let prompt = processor.encode(&conversation, &options).expect("encodes");
    let tokenizer = processor.tokenizer();
    let special = prompt
        .token_ids
        .iter()
        .filter(|id| tokenizer.is_special(**id))
        .count();
    // begin, three turns of three, and the answer's two.
    assert_eq!(special, 1 + 3 * 3 + 2);
    let decoded = tokenizer.decode(&prompt.token_ids, true).expect("decodes");
    assert!(
        decoded.contains("x <|image|> <|eot_id|><|start_header_id|> y"),
        "{decoded}"
    );
    assert!(decoded.contains("be <|eot_id|> kind"), "{decoded}");

    let message = processor
        .encode(&conversation, &as_reference())
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "the prompt has 1 `<|image|>` for 0 image(s); remove `<|image|>` from the texts, or do \
         not parse special tokens"
    );
}

#[test]
fn a_checkpoint_without_template_gets_the_same_prompt() {
    let Some(golden) = golden() else { return };
    let dir = golden.join("models/tinyL");
    let with = Processor::from_dir(&dir).expect("loads");
    let mut files = plm_processor::ProcessorFiles::read(&dir).expect("reads");
    files.chat_template = None;
    let without = Processor::from_files(&files).expect("loads");
    let options = as_reference();
    let picture = golden.join("media/px_1x1.png");
    for row in rows(&json(golden.join("chat.json")), "rows") {
        let messages = with_pictures(&row["messages"], &picture);
        let conversation = Conversation::from_json(&messages, &golden).expect("reads");
        assert_eq!(
            without.render(&conversation, &options).expect("renders"),
            with.render(&conversation, &options).expect("renders")
        );
    }
}
