//! `tokenizer.json`.
//!
//! The `tokenizers` crate has a reader of its own. It keeps all merges a second time while it
//! decides on their form, and it panics, or the tokenizer does later, on files whose parts do not
//! fit together. Those are errors here.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_json::Value;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::tokenizer::{AddedVocabulary, Model};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

/// The file, as far as it is used.
#[derive(Deserialize)]
pub(super) struct TokenizerJson {
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) added_tokens: Vec<AddedToken>,
    #[serde(default)]
    pub(super) normalizer: Value,
    #[serde(default)]
    pub(super) pre_tokenizer: Value,
    pub(super) post_processor: Option<PostProcessor>,
    #[serde(default)]
    pub(super) decoder: Value,
    pub(super) model: Bpe,
}

/// A token that is found in a text before the text is cut into words.
#[derive(Deserialize)]
pub(super) struct AddedToken {
    pub(super) id: u32,
    #[serde(flatten)]
    pub(super) token: tokenizers::AddedToken,
}

/// Which tokens there are, and which neighbours are joined.
#[derive(Deserialize)]
pub(super) struct Bpe {
    #[serde(rename = "type")]
    kind: Option<String>,
    dropout: Option<f32>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    pub(super) ignore_merges: Option<bool>,
    pub(super) vocab: Vocab,
    pub(super) merges: Vec<Merge>,
}

/// The names of two tokens that are joined.
pub(super) struct Merge {
    pub(super) left: String,
    pub(super) right: String,
}

/// What is put around a text.
#[derive(Deserialize)]
#[serde(tag = "type")]
pub(super) enum PostProcessor {
    /// Changes offsets alone.
    ByteLevel,
    Sequence {
        processors: Vec<PostProcessor>,
    },
    TemplateProcessing {
        single: Vec<TemplatePiece>,
        special_tokens: HashMap<String, TemplateToken>,
    },
}

#[derive(Deserialize)]
pub(super) enum TemplatePiece {
    Sequence { id: String },
    SpecialToken { id: String },
}

#[derive(Deserialize)]
pub(super) struct TemplateToken {
    ids: Vec<u32>,
}

impl Bpe {
    pub(super) fn build(self) -> Result<BPE, tokenizers::Error> {
        if let Some(kind) = self.kind.filter(|kind| kind != "BPE") {
            return Err(format!("its model is of type {kind}; it must be BPE").into());
        }
        let affixes = [
            ("continuing_subword_prefix", self.continuing_subword_prefix),
            ("end_of_word_suffix", self.end_of_word_suffix),
        ];
        for (name, affix) in affixes {
            if affix.is_some_and(|affix| !affix.is_empty()) {
                return Err(format!("it has a `{name}`, which stands for no byte").into());
            }
        }
        let mut ids: Vec<u32> = self.vocab.values().copied().collect();
        ids.sort_unstable();
        if let Some(two) = ids.windows(2).find(|two| two[0] == two[1]) {
            return Err(format!("two tokens have id {}", two[0]).into());
        }
        let longest = self.vocab.keys().map(String::len).max().unwrap_or(0);
        // The builder relies on it.
        let long = |merge: &&Merge| merge.left.len() + merge.right.len() > longest;
        if let Some(Merge { left, right }) = self.merges.iter().find(long) {
            return Err(format!("there is no token that `{left}` and `{right}` join to").into());
        }
        let merges = self.merges.into_iter();
        let mut builder = BPE::builder()
            .vocab_and_merges(self.vocab, merges.map(|m| (m.left, m.right)).collect())
            .fuse_unk(self.fuse_unk.unwrap_or(false))
            .byte_fallback(self.byte_fallback.unwrap_or(false))
            .ignore_merges(self.ignore_merges.unwrap_or(false));
        if let Some(dropout) = self.dropout {
            builder = builder.dropout(dropout);
        }
        if let Some(token) = self.unk_token {
            builder = builder.unk_token(token);
        }
        builder.build()
    }
}

/// The tokens that are added to a model's.
pub(super) fn added_vocabulary(
    added_tokens: &[AddedToken],
    model: &BPE,
) -> Result<AddedVocabulary, tokenizers::Error> {
    let mut vocabulary = AddedVocabulary::new();
    let tokens = added_tokens.iter().map(|added| added.token.clone());
    vocabulary.add_tokens(tokens, model, None::<&NormalizerWrapper>)?;
    for AddedToken { id, token } in added_tokens {
        let name = &token.content;
        let fault = match vocabulary.token_to_id(name, model) {
            None => format!("added token {id} has no name"),
            Some(actual) if actual != *id => {
                format!("added token `{name}` says id {id}, its place is {actual}")
            }
            _ if model.id_to_token(*id).is_some_and(|other| other != *name) => {
                format!("added token `{name}` has the id of another, {id}")
            }
            // A match could begin after its end.
            _ if token.lstrip && name.starts_with(char::is_whitespace) => {
                format!("added token `{name}` takes white space before it, but begins with some")
            }
            _ => continue,
        };
        return Err(fault.into());
    }
    Ok(vocabulary)
}

/// How texts are cut into words.
pub(super) fn pre_tokenizer(json: Value) -> Result<Option<PreTokenizerWrapper>, tokenizers::Error> {
    let pre_tokenizer: Option<PreTokenizerWrapper> = serde_json::from_value(json)
        .map_err(|error| format!("its `pre_tokenizer` is unknown: {error}"))?;
    match &pre_tokenizer {
        Some(part) if cuts_to_nothing(part) => {
            Err("its `pre_tokenizer` cuts words of no length".into())
        }
        _ => Ok(pre_tokenizer),
    }
}
fn cuts_to_nothing(part: &PreTokenizerWrapper) -> bool {
    match part {
        PreTokenizerWrapper::FixedLength(fixed) => fixed.length == 0,
        PreTokenizerWrapper::Sequence(parts) => parts.as_ref().iter().any(cuts_to_nothing),
        _ => false,
    }
}

impl PostProcessor {
    /// The ids that it puts before a text.
    pub(super) fn prefix(&self) -> Result<Vec<u32>, String> {
        match self {
            Self::ByteLevel => Ok(Vec::new()),
            Self::Sequence { processors } => {
                let mut prefixes = Vec::new();
                for processor in processors {
                    let prefix = processor.prefix()?;
                    if !prefix.is_empty() {
                        prefixes.push(prefix);
                    }
                }
                match prefixes.len() {
                    0 | 1 => Ok(prefixes.concat()),
                    _ => Err("its post-processor has more than one template".into()),
                }
            }
            Self::TemplateProcessing {
                single,
                special_tokens,
            } => {
                let Some((TemplatePiece::Sequence { id }, before)) = single.split_last() else {
                    return Err("its post-processor puts tokens after a text".into());
                };
                if id != "A" {
                    return Err(format!("its template for one text has a text `{id}`"));
                }
                let mut prefix = Vec::new();
                for piece in before {
                    let TemplatePiece::SpecialToken { id } = piece else {
                        return Err("its template for one text has two".into());
                    };
                    let token = special_tokens.get(id).ok_or_else(|| {
                        format!("its template has a token `{id}`, but not its ids")
                    })?;
                    prefix.extend(&token.ids);
                }
                Ok(prefix)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MergeVisitor)
    }
}

/// Reads a merge in its newer form, a pair, and its older one, a text with a space between.
struct MergeVisitor;

impl<'de> Visitor<'de> for MergeVisitor {
    type Value = Merge;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the names of two tokens")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Merge, E> {
        let invalid = || E::invalid_value(de::Unexpected::Str(text), &self);
        let (left, right) = text.split_once(' ').ok_or_else(invalid)?;
        Ok(Merge {
            left: left.to_owned(),
            right: right.to_owned(),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Merge, A::Error> {
        let short = |len| de::Error::invalid_length(len, &self);
        let left = pair.next_element()?.ok_or_else(|| short(0))?;
        let right = pair.next_element()?.ok_or_else(|| short(1))?;
        Ok(Merge { left, right })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::tokenizer::{SpecialTokens, Tokenizer};

    fn tokenizer_json() -> Value {
        json!({
            "version": "1.0",
            "added_tokens": [
                {"id": 5, "content": "<b>", "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": true},
            ],
            "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
                "trim_offsets": true, "use_regex": false},
            "post_processor": {"type": "Sequence", "processors": [
                {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false,
                    "use_regex": true},
                {"type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": "<b>", "type_id": 0}},
                        {"Sequence": {"id": "A", "type_id": 0}}],
                    "pair": [],
                    "special_tokens": {"<b>": {"id": "<b>", "ids": [5], "tokens": ["<b>"]}}},
            ]},
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
                "use_regex": true},
            "model": {"type": "BPE", "dropout": null, "unk_token": null,
                "continuing_subword_prefix": null, "end_of_word_suffix": "", "fuse_unk": false,
                "byte_fallback": false, "ignore_merges": false,
                "vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4},
                "merges": [["a", "b"], ["Ġ", "ab"]]},
        })
    }

    fn load(json: &Value) -> crate::Result<Tokenizer> {
        Tokenizer::from_bytes(json.to_string().as_bytes(), "t.json")
    }

    #[test]
    fn merges_are_read_in_both_forms() {
        let mut older = tokenizer_json();
        older["model"]["merges"] = json!(["a b", "Ġ ab"]);
        for json in [tokenizer_json(), older] {
            let tokenizer = load(&json).unwrap();
            let encode = |special| tokenizer.encode("ba ab<b>", special);
            assert_eq!(encode(SpecialTokens::Parse).unwrap(), [1, 0, 4, 5]);
            assert_eq!(tokenizer.prefix(), [5]);
            assert_eq!(tokenizer.vocab_size(), 6);
        }
    }

    #[test]
    fn parts_that_do_not_fit_together_are_refused_with_the_reason() {
        let template = |single: Value| {
            json!({"type": "TemplateProcessing", "single": single, "pair": [],
                "special_tokens": {"<b>": {"id": "<b>", "ids": [5], "tokens": ["<b>"]}}})
        };
        let spaces = json!({"id": 5, "content": " ", "single_word": false, "lstrip": true,
            "rstrip": false, "normalized": false, "special": true});
        let text = |id| json!({"Sequence": {"id": id, "type_id": 0}});
        let token = |id| json!({"SpecialToken": {"id": id, "type_id": 0}});
        for (path, value, reason) in [
            ("/version", json!("2.0"), "is of version 2.0"),
            ("/decoder/type", json!("Fuse"), "must be of type ByteLevel"),
            ("/normalizer", json!({"type": "NFC"}), "changes texts"),
            ("/model/type", json!("Unigram"), "of type Unigram"),
            (
                "/model/end_of_word_suffix",
                json!("</w>"),
                "`end_of_word_suffix`",
            ),
            ("/model/dropout", json!(2.0), "Dropout"),
            ("/model/merges/0", json!(["a"]), "invalid length 1"),
            (
                "/model/merges/0",
                json!(["a", "b", "a"]),
                "trailing characters",
            ),
            ("/model/merges/0", json!("ab"), "the names of two tokens"),
            ("/model/merges/0", json!(["a", "c"]), "`c`"),
            (
                "/model/merges/0",
                json!(["Ġab", "Ġab"]),
                "`Ġab` and `Ġab` join to",
            ),
            ("/model/merges/0", json!(["b", "a"]), "`ba`"),
            ("/added_tokens/0/id", json!(7), "says id 7, its place is 5"),
            ("/added_tokens/0/content", json!(""), "token 5 has no name"),
            ("/added_tokens/0", spaces, "begins with some"),
            ("/model/vocab/Ġab", json!(3), "two tokens have id 3"),
            ("/model/vocab/Ġab", json!(5), "has the id of another, 5"),
            (
                "/pre_tokenizer/type",
                json!("Other"),
                "`pre_tokenizer` is unknown",
            ),
            (
                "/pre_tokenizer",
                json!({"type": "FixedLength", "length": 0}),
                "of no length",
            ),
            (
                "/post_processor/type",
                json!("BertProcessing"),
                "`BertProcessing`",
            ),
            (
                "/post_processor/processors/0",
                template(json!([token("<b>"), text("A")])),
                "more than one",
            ),
            ("/post_processor", template(json!([])), "after a text"),
            (
                "/post_processor",
                template(json!([text("A"), token("<b>")])),
                "after a text",
            ),
            (
                "/post_processor",
                template(json!([text("B")])),
                "a text `B`",
            ),
            (
                "/post_processor",
                template(json!([text("A"), text("A")])),
                "has two",
            ),
            (
                "/post_processor",
                template(json!([token("<c>"), text("A")])),
                "token `<c>`",
            ),
        ] {
            let mut json = tokenizer_json();
            *json.pointer_mut(path).unwrap() = value;
            let message = load(&json).unwrap_err().to_string();
            assert!(message.contains(reason), "{path}: {message}");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_or_a_tokenizer() {
        let json = tokenizer_json().to_string();
        let (mut refused, mut loaded) = (0, 0);
        for at in 0..json.len() {
            for byte in *b"\"0[b" {
                let mut json = json.clone().into_bytes();
                json[at] = byte;
                match Tokenizer::from_bytes(&json, "t.json") {
                    Ok(tokenizer) => {
                        loaded += 1;
                        let _ = tokenizer.encode("ba ab<b>", SpecialTokens::Parse);
                    }
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(refused > 1000 && loaded > 100, "{refused}, {loaded}");
    }
}
