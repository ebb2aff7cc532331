//! `tokenizer.model`, the tokenizer file of Meta's checkpoints, and `tokenizer.json`.
//!
//! A line of `tokenizer.model` is a token's bytes in base64 and its rank. A text is cut into words
//! and in each the neighbours that join to the lowest rank are joined, again and again: the merges
//! of `tokenizer.json`, which a rank table says without listing them.

use std::collections::{BTreeSet, HashMap};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::json::{AddedToken, Bpe, Merge, TokenizerJson};
use super::{byte_of_char, char_of_byte};
use crate::error::Error;
use crate::named_tokens::{NUM_SPECIAL_TOKENS, RELEASED, special_token_names};

/// Longest `tokenizer.model`; Llama 3's has 2.2 MB.
const MAX_FILE_BYTES: usize = 32 << 20;

/// Longest token; Llama 3's has 128 bytes.
const MAX_TOKEN_BYTES: usize = 512;

/// The pattern that cuts a text into words, of Llama 3.
const WORD_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Makes the `tokenizer.json` of Meta's `tokenizer.model`, as the reference's conversion does;
/// returns it with the number of its tokens of text.
///
/// The special tokens, which the file does not hold, follow its ranks under the names of the
/// Hugging Face checkpoints. `file` is its name for messages.
///
/// # Errors
/// [`Error::Tokenizer`] when the file is damaged, its ranks have gaps, or a byte has no token.
pub fn tokenizer_json_of_model(model: &[u8], file: &str) -> Result<(Vec<u8>, usize), Error> {
    let ranks = Ranks::parse(model).map_err(|fault| Error::Tokenizer {
        file: file.to_owned(),
        source: fault.into(),
    })?;
    let json = ranks.to_tokenizer_json().to_string();
    Ok((json.into_bytes(), ranks.0.len()))
}

/// Makes Meta's `tokenizer.model` of a `tokenizer.json`.
///
/// `file` is the name of `tokenizer.json` for messages.
///
/// # Errors
/// [`Error::NoTokenizerModel`] when it is damaged, or a tokenizer that a table of ranks cannot
/// express: another way to cut words, other special tokens, or merges out of the vocabulary's order.
pub fn model_of_tokenizer_json(json: &[u8], file: &str) -> Result<Vec<u8>, Error> {
    let ranks = Ranks::of_tokenizer_json(json).map_err(|fault| Error::NoTokenizerModel {
        file: file.to_owned(),
        source: fault.into(),
    })?;
    Ok(ranks.to_model())
}

/// The tokens of text, by rank.
struct Ranks(Vec<Vec<u8>>);

impl Ranks {
    fn parse(model: &[u8]) -> Result<Self, String> {
        if model.len() > MAX_FILE_BYTES {
            return Err(format!("it is longer than {MAX_FILE_BYTES} bytes"));
        }
        let mut tokens = Vec::new();
        for (index, line) in model.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii_end();
            if line.is_empty() {
                continue;
            }
            let fault = |what: String| format!("line {}: {what}", index + 1);
            let mut words = line.splitn(2, |&byte| byte == b' ');
            let (token, rank) = (words.next().unwrap_or(&[]), words.next().unwrap_or(&[]));
            let token = BASE64_STANDARD
                .decode(token)
                .map_err(|error| fault(format!("no token in base64: {error}")))?;
            let rank = std::str::from_utf8(rank).ok().and_then(|r| r.parse().ok());
            let rank: usize = rank.ok_or_else(|| fault("no rank after the token".into()))?;
            tokens.push((rank, token));
        }
        tokens.sort();
        for (expected, (rank, _)) in tokens.iter().enumerate() {
            if *rank != expected {
                return Err(format!("rank {expected} is missing or rank {rank} twice"));
            }
        }
        Self(tokens.into_iter().map(|(_, token)| token).collect()).checked()
    }

    /// Checks that every text has tokens, and every token one rank.
    fn checked(self) -> Result<Self, String> {
        let mut known = BTreeSet::new();
        for (rank, token) in self.0.iter().enumerate() {
            if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
                let length = token.len();
                return Err(format!(
                    "the token of rank {rank} has {length} bytes; it must have 1 to {MAX_TOKEN_BYTES}"
                ));
            }
            if !known.insert(token.as_slice()) {
                return Err(format!("the token of rank {rank} has a lower rank too"));
            }
        }
        match (0..=255_u8).find(|byte| !known.contains([*byte].as_slice())) {
            Some(byte) => Err(format!("byte {byte:#04x} has no token")),
            None => Ok(self),
        }
    }

    /// The pairs of tokens that join to a token: by its rank, then by theirs.
    fn merges(&self) -> Vec<[usize; 2]> {
        let ranks: HashMap<&[u8], usize> = self.0.iter().map(Vec::as_slice).zip(0..).collect();
        let mut merges = Vec::new();
        for token in &self.0 {
            let mut pairs: Vec<[usize; 2]> = (1..token.len())
                .filter_map(|cut| {
                    let (left, right) = token.split_at(cut);
                    Some([*ranks.get(left)?, *ranks.get(right)?])
                })
                .collect();
            pairs.sort_unstable();
            merges.append(&mut pairs);
        }
        merges
    }

    fn to_tokenizer_json(&self) -> Value {
        let names: Vec<String> = self.0.iter().map(|token| name_of(token)).collect();
        let merges: Vec<[&str; 2]> = self
            .merges()
            .into_iter()
            .map(|pair| pair.map(|rank| names[rank].as_str()))
            .collect();
        let added: Vec<Value> = special_token_names()
            .zip(self.0.len()..)
            .map(|(content, id)| {
                json!({"id": id, "content": content, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": true})
            })
            .collect();
        let [(_, begin), ..] = RELEASED;
        let begin_token = |type_id| json!({"SpecialToken": {"id": begin, "type_id": type_id}});
        let sequence = |id, type_id| json!({"Sequence": {"id": id, "type_id": type_id}});
        let begin_ids = json!({"id": begin, "ids": [self.0.len()], "tokens": [begin]});
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": null,
            "pre_tokenizer": pre_tokenizer(),
            "post_processor": {"type": "Sequence", "processors": [
                {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false,
                    "use_regex": true},
                {"type": "TemplateProcessing",
                    "single": [begin_token(0), sequence("A", 0)],
                    "pair": [begin_token(0), sequence("A", 0), begin_token(1), sequence("B", 1)],
                    "special_tokens": {begin: begin_ids}},
            ]},
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
                "use_regex": true},
            "model": {"type": "BPE", "dropout": null, "unk_token": null,
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
                "byte_fallback": false, "ignore_merges": true,
                "vocab": names.iter().zip(0..).collect::<HashMap<&String, usize>>(),
                "merges": merges},
        })
    }

    fn of_tokenizer_json(json: &[u8]) -> Result<Self, String> {
        let json: TokenizerJson =
            serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let vocab = &json.model.vocab;
        let mut tokens = vec![None; vocab.len()];
        for (name, &id) in vocab {
            let place = tokens.get_mut(id as usize).ok_or_else(|| {
                format!(
                    "token `{name}` has id {id}, but there are {} tokens",
                    vocab.len()
                )
            })?;
            let bytes: Option<Vec<u8>> = name.chars().map(byte_of_char).collect();
            *place = Some(bytes.ok_or_else(|| format!("token `{name}` does not stand for bytes"))?);
        }
        let tokens: Option<Vec<Vec<u8>>> = tokens.into_iter().collect();
        let ranks = Self(tokens.ok_or("two tokens have one id")?).checked()?;
        ranks.check_special_tokens(&json.added_tokens)?;
        ranks.check_merges(&json.model)?;
        if json.pre_tokenizer["pretokenizers"][0]["pattern"]
            != pre_tokenizer()["pretokenizers"][0]["pattern"]
        {
            return Err("it cuts words by another pattern than Llama 3's".into());
        }
        Ok(ranks)
    }

    fn check_special_tokens(&self, added: &[AddedToken]) -> Result<(), String> {
        let found: BTreeSet<(usize, &str)> = added
            .iter()
            .map(|added| (added.id as usize, added.token.content.as_str()))
            .collect();
        for (name, id) in special_token_names().zip(self.0.len()..) {
            if !found.contains(&(id, name.as_str())) {
                return Err(format!("token {id} is not `{name}`"));
            }
        }
        if found.len() != NUM_SPECIAL_TOKENS {
            return Err(format!(
                "it adds {} special tokens, not {NUM_SPECIAL_TOKENS}",
                found.len()
            ));
        }
        Ok(())
    }

    fn check_merges(&self, model: &Bpe) -> Result<(), String> {
        let id = |name: &str| model.vocab.get(name).map(|&id| id as usize);
        let mut last = 0;
        let mut found = BTreeSet::new();
        for Merge { left, right } in &model.merges {
            let joined = id(&format!("{left}{right}"));
            let ids = joined.zip(id(left).zip(id(right)));
            let (joined, (left, right)) =
                ids.ok_or("a merge is of tokens that it does not have")?;
            if joined < last {
                return Err("its merges are not in the order of its vocabulary".into());
            }
            last = joined;
            found.insert([left, right]);
        }
        if model.ignore_merges != Some(true) || found != self.merges().into_iter().collect() {
            return Err("its merges are not those that follow from its vocabulary".into());
        }
        Ok(())
    }

    fn to_model(&self) -> Vec<u8> {
        let lines: Vec<String> = self
            .0
            .iter()
            .zip(0..)
            .map(|(token, rank)| format!("{} {rank}\n", BASE64_STANDARD.encode(token)))
            .collect();
        lines.concat().into_bytes()
    }
}

/// A token's name in the byte-level alphabet.
fn name_of(token: &[u8]) -> String {
    token.iter().copied().map(char_of_byte).collect()
}

fn pre_tokenizer() -> Value {
    json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": WORD_PATTERN}, "behavior": "Isolated",
            "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": false},
    ]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{SpecialTokens, Tokenizer};

    /// All bytes, then "ab", "abc", "bc" and "abcd".
    fn model() -> String {
        let bytes = (0..=255_u8).map(|byte| vec![byte]);
        let longer = [
            b"ab".to_vec(),
            b"abc".to_vec(),
            b"bc".to_vec(),
            b"abcd".to_vec(),
        ];
        let lines = bytes.chain(longer).zip(0..);
        lines
            .map(|(token, rank)| format!("{} {rank}\n", BASE64_STANDARD.encode(token)))
            .collect()
    }

    #[test]
    fn ranks_become_merges_and_return() {
        let (json, num_tokens) = tokenizer_json_of_model(model().as_bytes(), "m").unwrap();
        assert_eq!(num_tokens, 260);
        let tokenizer = Tokenizer::from_bytes(&json, "t").unwrap();
        let encode = |text| tokenizer.encode(text, SpecialTokens::Parse).unwrap();
        assert_eq!(encode("abc"), [257]);
        assert_eq!(encode("xabcd"), [120, 259]);
        assert_eq!(encode("bcab"), [258, 256]);
        assert_eq!(encode("<|image|>a"), [262, 97]);
        assert_eq!(tokenizer.vocab_size(), 260 + NUM_SPECIAL_TOKENS);
        assert_eq!(tokenizer.prefix(), [260]);
        assert_eq!(
            model_of_tokenizer_json(&json, "t").unwrap(),
            model().into_bytes()
        );
    }

    #[test]
    fn damaged_files_are_refused_with_the_reason() {
        let without_line = |n: usize| {
            let mut lines: Vec<String> = model().lines().map(str::to_owned).collect();
            lines.remove(n);
            lines.join("\n")
        };
        for (model, expected) in [
            (String::new(), "byte 0x00 has no token"),
            ("AA==".into(), "line 1: no rank after the token"),
            ("!! 0".into(), "line 1: no token in base64"),
            ("AA== -1".into(), "line 1: no rank"),
            ("AA== 99999999999999999999".into(), "line 1: no rank"),
            (without_line(258), "rank 258 is missing"),
            (
                without_line(259).replace("AQ== 1\n", ""),
                "rank 1 is missing",
            ),
            (
                format!("{}YWI= 260", model()),
                "rank 260 has a lower rank too",
            ),
            (format!("{} 260", model()), "rank 260 has 0 bytes"),
        ] {
            let error = tokenizer_json_of_model(model.as_bytes(), "tokenizer.model").unwrap_err();
            let message = error.to_string();
            assert!(message.contains(expected), "{message}");
            assert!(
                message.starts_with("tokenizer.model is not a usable"),
                "{message}"
            );
        }
    }

    #[test]
    fn tokenizers_that_ranks_cannot_express_are_refused() {
        let json: Value =
            serde_json::from_slice(&tokenizer_json_of_model(model().as_bytes(), "m").unwrap().0)
                .unwrap();
        let message = |edit: &dyn Fn(&mut Value)| {
            let mut json = json.clone();
            edit(&mut json);
            let error = model_of_tokenizer_json(json.to_string().as_bytes(), "t");
            error.unwrap_err().to_string()
        };
        let merges = |edit: &dyn Fn(&mut Vec<Value>)| {
            message(&|json| edit(json["model"]["merges"].as_array_mut().unwrap()))
        };
        assert!(merges(&|merges| merges.reverse()).contains("in the order"));
        assert!(merges(&|merges| merges.truncate(2)).contains("follow from its vocabulary"));
        assert!(merges(&|merges| merges[0] = json!("a z")).contains("it does not have"));
        assert!(
            message(&|json| json["added_tokens"][2]["content"] = json!("<i>"))
                .contains("token 262 is not `<|image|>`")
        );
        assert!(message(&|json| json["model"]["vocab"]["ab"] = json!(900)).contains("has id 900"));
        assert!(message(&|json| json["pre_tokenizer"] = Value::Null).contains("another pattern"));
        let old_form = |merges: &mut Vec<Value>| merges[0] = json!("a b");
        let mut json = json.clone();
        old_form(json["model"]["merges"].as_array_mut().unwrap());
        assert!(model_of_tokenizer_json(json.to_string().as_bytes(), "t").is_ok());
    }
}
