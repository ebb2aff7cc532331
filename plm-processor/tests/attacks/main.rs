//! Hostile and broken input: every case must end in an error that names the culprit, never in a
//! panic, an endless loop or a large allocation.
//!
//! | what is attacked | file |
//! |---|---|
//! | picture files and sizes | `pictures.rs` |
//! | JPEG files, which a C library decodes | `jpeg.rs` |
//! | the files of a checkpoint, its template, options | `checkpoints.rs` |
//! | texts and token ids | `texts.rs` |
//! | video files | `videos.rs` |
//! | video files that FFmpeg reads | `ffmpeg.rs` |

mod checkpoints;
#[cfg(feature = "ffmpeg")]
mod ffmpeg;
mod jpeg;
mod pictures;
mod texts;
#[cfg(feature = "video")]
mod videos;

use std::sync::OnceLock;

use plm_processor::{Processor, ProcessorFiles};

/// A byte-level tokenizer without merges, with three special tokens.
fn tokenizer_json() -> String {
    let alphabet = (0..=255u32).map(|byte| match byte {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => byte,
        0..=0x20 => byte + 0x100,
        0x7F..=0xA0 => byte - 0x7F + 0x121,
        _ => 0x143,
    });
    let vocab: serde_json::Map<String, serde_json::Value> = alphabet
        .enumerate()
        .map(|(id, code)| {
            (
                char::from_u32(code).expect("a character").to_string(),
                id.into(),
            )
        })
        .collect();
    let special = ["<|begin_of_text|>", "<|image|>", "<|video|>", "<|eot_id|>"];
    let special: Vec<serde_json::Value> = special
        .iter()
        .zip(256..)
        .map(|(token, id)| {
            serde_json::json!({"id": id, "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": special,
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "behavior": "Isolated", "invert": false,
             "pattern": {"Regex": r"\p{L}+|\p{N}{1,3}|\s+(?!\S)|\s+|[^\s\p{L}\p{N}]+"}},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": true, "vocab": vocab, "merges": []}
    })
    .to_string()
}

/// The smallest complete checkpoint: tiles of 28 pixels, one token each.
fn files() -> ProcessorFiles<'static> {
    let mut files = ProcessorFiles::new("checkpoint", tokenizer_json().into_bytes());
    files.processor_config = Some(br#"{"patch_size": 14, "pooling_ratio": 2}"#.as_slice().into());
    files.preprocessor_config = Some(br#"{"tile_size": 28}"#.as_slice().into());
    files
}

fn shared() -> &'static Processor {
    static PROCESSOR: OnceLock<Processor> = OnceLock::new();
    PROCESSOR.get_or_init(|| Processor::from_files(&files()).expect("loads"))
}
