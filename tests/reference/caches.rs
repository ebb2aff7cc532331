//! What a model keeps between answers: features of pictures, keys and values of prompts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use plm::{Content, Conversation, Decoding, Image, LoadOptions, PerceptionLM, Progress};

use crate::reference_data::{fixtures, tiny};

/// A model that counts the tiles it encodes.
fn load(options: LoadOptions) -> (PerceptionLM, Arc<AtomicUsize>) {
    let encoded = Arc::new(AtomicUsize::new(0));
    let counter = encoded.clone();
    let options = LoadOptions {
        progress: Some(Arc::new(move |progress| {
            if let Progress::Encoding { tiles, total_tiles } = progress
                && tiles == total_tiles
            {
                counter.fetch_add(tiles, Ordering::Relaxed);
            }
        })),
        ..options
    };
    (PerceptionLM::from_dir(tiny(), &options).unwrap(), encoded)
}

fn picture(name: &str) -> Content {
    let path = fixtures().join("media").join(name);
    Image::open(path).unwrap().into()
}

fn ask(question: &str, name: &str) -> Conversation {
    Conversation::ask(question, [picture(name)])
}

fn without_caches() -> LoadOptions {
    LoadOptions {
        feature_cache_bytes: 0,
        prefix_cache_bytes: 0,
        ..LoadOptions::default()
    }
}

const DECODING: fn() -> Decoding = || Decoding {
    max_new_tokens: 8,
    ..Decoding::default()
};

#[test]
fn a_second_question_neither_encodes_nor_reads_the_picture_again() {
    let (plm, encoded) = load(LoadOptions::default());
    let (fresh, _) = load(without_caches());
    let first = ask("What is it?", "shapes.png");
    let answer = plm.generate(&first, &DECODING()).unwrap();
    assert_eq!(answer.usage.cached_tokens, 0);
    let tiles = encoded.load(Ordering::Relaxed);
    assert!(tiles > 0);

    let second = ask("How many?", "shapes.png");
    let answer = plm.generate(&second, &DECODING()).unwrap();
    assert_eq!(encoded.load(Ordering::Relaxed), tiles);
    assert!(answer.usage.cached_tokens > answer.usage.prompt_tokens / 2);
    let expected = fresh.generate(&second, &DECODING()).unwrap();
    assert_eq!(answer.token_ids, expected.token_ids);

    // The first question again, all but its last token.
    let answer = plm.generate(&first, &DECODING()).unwrap();
    assert_eq!(encoded.load(Ordering::Relaxed), tiles);
    let expected = fresh.generate(&first, &DECODING()).unwrap();
    assert_eq!(answer.token_ids, expected.token_ids);
}

#[test]
fn another_picture_is_another_prompt() {
    let (plm, encoded) = load(LoadOptions::default());
    let (fresh, _) = load(without_caches());
    plm.generate(&ask("What?", "shapes.png"), &DECODING())
        .unwrap();
    let tiles = encoded.load(Ordering::Relaxed);
    let other = ask("What?", "rings.png");
    let answer = plm.generate(&other, &DECODING()).unwrap();
    assert!(encoded.load(Ordering::Relaxed) > tiles);
    let expected = fresh.generate(&other, &DECODING()).unwrap();
    assert_eq!(answer.token_ids, expected.token_ids);
}

#[test]
fn without_room_nothing_is_kept() {
    let (plm, encoded) = load(without_caches());
    let question = ask("What is it?", "shapes.png");
    plm.generate(&question, &DECODING()).unwrap();
    let tiles = encoded.load(Ordering::Relaxed);
    let answer = plm.generate(&question, &DECODING()).unwrap();
    assert_eq!(encoded.load(Ordering::Relaxed), 2 * tiles);
    assert_eq!(answer.usage.cached_tokens, 0);
}

#[test]
fn batches_and_scores_use_the_features_too() {
    let (plm, encoded) = load(LoadOptions::default());
    let prompt = plm.encode(&ask("What is it?", "shapes.png")).unwrap();
    plm.generate_batch(&[prompt.clone(), prompt.clone()], &DECODING())
        .unwrap();
    let tiles = encoded.load(Ordering::Relaxed);
    assert_eq!(tiles, prompt.media[0].tiles.len());
    plm.score(&prompt, " A shape").unwrap();
    assert_eq!(encoded.load(Ordering::Relaxed), tiles);
}
