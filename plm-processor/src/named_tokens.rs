//! The special tokens that a checkpoint gives a name.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files::{ProcessorFiles, TOKENIZER_CONFIG};

/// Names and tokens of the released checkpoints.
pub(crate) const RELEASED: [(&str, &str); 5] = [
    ("bos_token", "<|begin_of_text|>"),
    ("eos_token", "<|eot_id|>"),
    ("pad_token", "<|end_of_text|>"),
    ("image_token", "<|image|>"),
    ("video_token", "<|video|>"),
];

/// Number of special tokens of the released checkpoints.
pub const NUM_SPECIAL_TOKENS: usize = 256;

/// The names of the released checkpoints' special tokens, in the order of their ids.
///
/// Meta's tokenizer has `<|reserved_special_token_1|>` where they have `<|video|>`.
pub(crate) fn special_token_names() -> impl Iterator<Item = String> {
    let first = [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|image|>",
        "<|video|>",
        "<|reserved_special_token_2|>",
        "<|reserved_special_token_3|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|reserved_special_token_4|>",
        "<|eot_id|>",
    ];
    let others = (5..).map(|i| format!("<|reserved_special_token_{i}|>"));
    let names = first.into_iter().map(str::to_owned).chain(others);
    names.take(NUM_SPECIAL_TOKENS)
}

/// The tokens that `tokenizer_config.json` gives a name, such as `bos_token`; those of the released
/// checkpoints where it gives none.
pub(crate) fn named_tokens(files: &ProcessorFiles<'_>) -> Result<BTreeMap<String, String>> {
    let mut tokens =
        BTreeMap::from(RELEASED.map(|(name, token)| (name.to_owned(), token.to_owned())));
    let Some(bytes) = &files.tokenizer_config else {
        return Ok(tokens);
    };
    let config: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|source| Error::Json {
            file: files.name_of(TOKENIZER_CONFIG),
            source,
        })?;
    let extra = config
        .get("extra_special_tokens")
        .and_then(Value::as_object);
    for fields in extra.into_iter().chain([&config]) {
        for (name, value) in fields.iter().filter(|(name, _)| name.ends_with("_token")) {
            // Either the token itself or an object that describes it.
            if let Some(token) = value.as_str().or_else(|| value["content"].as_str()) {
                tokens.insert(name.clone(), token.to_owned());
            }
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_named_by_text_or_object_and_the_outer_name_wins() {
        let mut files = ProcessorFiles::new("", b"{}".as_slice());
        let config = br#"{"bos_token": {"content": "<s>"}, "image_token": "<i>", "pad_token": null,
            "extra_special_tokens": {"image_token": "<j>", "video_token": "<v>"}}"#;
        files.tokenizer_config = Some(config.as_slice().into());
        let tokens = named_tokens(&files).unwrap();
        assert_eq!(tokens["bos_token"], "<s>");
        assert_eq!(tokens["image_token"], "<i>");
        assert_eq!(tokens["video_token"], "<v>");
        assert_eq!(tokens["pad_token"], "<|end_of_text|>");
    }
}
