use std::time::{Duration, Instant};

use plm_processor::{Conversation, EncodeOptions, Image, Processor, SpecialTokens};
use proptest::prelude::*;

use crate::{files, shared};

#[test]
fn endless_white_space_is_refused_and_long_text_is_not() {
    let processor = Processor::from_files(&files()).expect("loads");
    let options = EncodeOptions::default();
    let long = Conversation::from(format!("a{}b", " ".repeat(200_000)).as_str());
    let message = processor.encode(&long, &options).unwrap_err().to_string();
    assert_eq!(
        message,
        "the text has a run of 200000 white space characters; the tokenizer takes at most 100000, \
         shorten it"
    );
    for piece in ["word ", "字", "a", "?!", "<|eot_id|>", "\u{FDD0}<", "🤔\n"] {
        let text = piece.repeat(20_000);
        let start = Instant::now();
        let prompt = processor
            .encode(&Conversation::from(text.as_str()), &options)
            .expect(piece);
        assert!(prompt.len() >= 20_000);
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{piece}: {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn a_text_that_no_model_has_positions_for_is_refused() {
    let text = "a ".repeat(plm_processor::MAX_TEXT_BYTES / 2 + 1);
    let error = shared().tokenizer().encode(&text, SpecialTokens::AsText);
    let message = error.unwrap_err().to_string();
    assert_eq!(
        message,
        "a text has 4194306 bytes, more than 4194304; shorten it"
    );
}

proptest! {
    #[test]
    fn any_text_encodes_and_comes_back(text in "(?s)(.|<\\|eot_id\\|>|<\\|image\\|>|\u{FDD0}){0,30}") {
        let processor = shared();
        let trimmed = text.trim_matches(|c: char| c.is_whitespace() || ('\x1C'..='\x1F').contains(&c));
        let prompt = processor
            .encode(&Conversation::from(text.as_str()), &EncodeOptions::default())
            .expect("encodes");
        let decoded = processor.text(&prompt.token_ids).expect("decodes");
        let header = "user<|end_header_id|>\n\n";
        let (_, turn) = decoded.split_once(header).expect("a user's turn");
        prop_assert!(turn.starts_with(trimmed), "{turn:?} {trimmed:?}");
    }

    #[test]
    fn a_stream_equals_decoding_at_once(ids in prop::collection::vec(0u32..260, 0..40), skip: bool) {
        let tokenizer = shared().tokenizer();
        let mut stream = tokenizer.stream(skip);
        let mut streamed = String::new();
        for id in &ids {
            streamed.push_str(&stream.push(*id).expect("a known id"));
        }
        streamed.push_str(&stream.finish());
        prop_assert_eq!(streamed, tokenizer.decode(&ids, skip).expect("known ids"));
    }

    #[test]
    fn placeholders_equal_media_tokens(sizes in prop::collection::vec((1u32..80, 1u32..80), 0..4)) {
        let processor = shared();
        let pictures = sizes.iter().map(|(width, height)| {
            Image::from_rgb8(*width, *height, vec![3; (width * height * 3) as usize]).unwrap().into()
        });
        let conversation = Conversation::ask("Hi", pictures);
        let prompt = processor.encode(&conversation, &EncodeOptions::default()).expect("encodes");
        let placeholders = prompt.token_ids.iter().filter(|id| **id == processor.image_token_id());
        let per_tile = processor.config().tokens_per_tile();
        prop_assert_eq!(placeholders.count(), prompt.num_tiles() * per_tile);
        prop_assert_eq!(prompt.media.len(), sizes.len());
    }
}
