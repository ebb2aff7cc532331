//! Text to token ids and back.

use tokenizers::models::bpe::BPE;
use tokenizers::tokenizer::{
    AddedVocabulary, Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use self::json::TokenizerJson;
use crate::error::{Error, Result};

mod json;
mod stream;
mod tiktoken;

pub use stream::TextStream;
pub use tiktoken::{model_of_tokenizer_json, tokenizer_json_of_model};

/// Longest run of white space characters in a text.
///
/// The pattern that cuts text into words backtracks over white space; beyond some hundred thousand
/// characters its engine would give up silently and return other tokens.
pub const MAX_WHITESPACE_RUN: usize = 100_000;

/// Longest text that is cut into tokens; no model has positions for a fraction of it.
pub const MAX_TEXT_BYTES: usize = 4 << 20;

/// What to do with the names of special tokens that occur in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialTokens {
    /// They become the special tokens.
    Parse,
    /// They are text like any other.
    AsText,
}

/// The tokenizer of a checkpoint, from its `tokenizer.json`.
pub struct Tokenizer {
    model: BPE,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    added: AddedVocabulary,
    /// The added vocabulary with its special tokens switched off.
    added_as_text: AddedVocabulary,
    prefix: Vec<u32>,
    vocab_size: usize,
}

/// Texts are taken as they are.
const NO_NORMALIZER: Option<&NormalizerWrapper> = None;

impl Tokenizer {
    /// Reads a `tokenizer.json`; `file` is its name for messages.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when it is damaged, does not work on bytes, changes texts before it
    /// cuts them, or puts tokens after them.
    pub fn from_bytes(json: &[u8], file: &str) -> Result<Self> {
        Self::parse(json).map_err(|source| Error::Tokenizer {
            file: file.to_owned(),
            source,
        })
    }

    fn parse(json: &[u8]) -> tokenizers::Result<Self> {
        let file: TokenizerJson = serde_json::from_slice(json)?;
        if let Some(version) = file.version.filter(|version| version != "1.0") {
            return Err(format!("it is of version {version}; known is 1.0").into());
        }
        if file.decoder["type"] != "ByteLevel" {
            return Err("its decoder must be of type ByteLevel".into());
        }
        if !file.normalizer.is_null() {
            return Err("it changes texts by a `normalizer`, which must be null".into());
        }
        let model = file.model.build()?;
        let added = json::added_vocabulary(&file.added_tokens, &model)?;
        let is_new = |name: &&String| model.token_to_id(name).is_none();
        let vocab_size = model.get_vocab_size() + added.get_vocab().keys().filter(is_new).count();
        let mut added_as_text = added.clone();
        added_as_text.set_encode_special_tokens(true);
        Ok(Self {
            pre_tokenizer: json::pre_tokenizer(file.pre_tokenizer)?,
            prefix: match file.post_processor {
                Some(processor) => processor.prefix()?,
                None => Vec::new(),
            },
            model,
            added,
            added_as_text,
            vocab_size,
        })
    }

    /// Encodes a text; no token is put before or after it.
    ///
    /// # Errors
    /// [`Error::TextTooLong`], [`Error::WhitespaceRun`] and [`Error::Encode`].
    pub fn encode(&self, text: &str, special: SpecialTokens) -> Result<Vec<u32>> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(Error::TextTooLong {
                length: text.len(),
                max_length: MAX_TEXT_BYTES,
            });
        }
        let length = longest_whitespace_run(text);
        if length > MAX_WHITESPACE_RUN {
            return Err(Error::WhitespaceRun {
                length,
                max_length: MAX_WHITESPACE_RUN,
            });
        }
        let vocabulary = match special {
            SpecialTokens::Parse => &self.added,
            SpecialTokens::AsText => &self.added_as_text,
        };
        let mut pieces = vocabulary.extract_and_normalize(NO_NORMALIZER, text);
        self.tokenize(&mut pieces)
            .map_err(|source| Error::Encode { source })?;
        Ok(pieces
            .get_splits(OffsetReferential::Original, OffsetType::None)
            .into_iter()
            .flat_map(|(_, _, tokens)| tokens.iter().flatten().map(|token| token.id))
            .collect())
    }

    fn tokenize(&self, pieces: &mut PreTokenizedString) -> tokenizers::Result<()> {
        if let Some(pre_tokenizer) = &self.pre_tokenizer {
            pre_tokenizer.pre_tokenize(pieces)?;
        }
        self.model.tokenize_in_pretokenized(pieces, None)
    }

    /// Cuts a text at its special tokens.
    pub(crate) fn split_special<'t>(&self, text: &'t str) -> Vec<Piece<'t>> {
        // Pieces are given as ranges of the text itself.
        self.added
            .extract_and_normalize(NO_NORMALIZER, text)
            .get_splits(OffsetReferential::Original, OffsetType::Byte)
            .into_iter()
            .map(|(_, (start, end), tokens)| match tokens.as_deref() {
                Some([token]) => Piece::Token(token.id),
                _ => Piece::Text(&text[start..end]),
            })
            .collect()
    }

    /// The text of some token ids.
    ///
    /// Bytes that are not valid UTF-8 become replacement characters. Spaces are not cleaned up.
    ///
    /// # Errors
    /// [`Error::TokenId`] for an id that is not in the vocabulary.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        let mut bytes = Vec::new();
        for &id in ids {
            bytes.extend(self.token_bytes(id, skip_special)?);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Decodes token ids one by one, as they are generated.
    #[must_use]
    pub fn stream(&self, skip_special: bool) -> TextStream<'_> {
        TextStream::new(self, skip_special)
    }

    /// The id of a token by its name.
    #[must_use]
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.added.token_to_id(token, &self.model)
    }

    /// The name of a token by its id; for tokens of text, in the vocabulary's own byte alphabet.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        let added = self.added.simple_id_to_token(id);
        added.or_else(|| self.model.id_to_token(id))
    }

    /// Whether a token is special: not text, but structure.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        let added = self.added.get_added_tokens_decoder();
        added.get(&id).is_some_and(|token| token.special)
    }

    /// Number of tokens, special ones included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The names of the special tokens.
    pub(crate) fn special_tokens(&self) -> impl Iterator<Item = &str> {
        let added = self.added.get_added_tokens_decoder();
        added
            .values()
            .filter(|token| token.special)
            .map(|token| token.content.as_str())
    }

    /// What the tokenizer itself puts before every text, usually the token that begins a text.
    pub(crate) fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// The bytes that a token stands for; none for a special token that is to be skipped.
    fn token_bytes(&self, id: u32, skip_special: bool) -> Result<Vec<u8>> {
        let token = self.token(id).ok_or(Error::TokenId {
            id,
            vocab_size: self.vocab_size,
        })?;
        if skip_special && self.added.is_special_token(&token) {
            return Ok(Vec::new());
        }
        // A token with a character outside the byte alphabet stands for itself.
        let bytes: Option<Vec<u8>> = token.chars().map(byte_of_char).collect();
        Ok(bytes.unwrap_or_else(|| token.into_bytes()))
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size)
            .finish_non_exhaustive()
    }
}

/// A part of a text: a special token, or text between two of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'t> {
    Token(u32),
    Text(&'t str),
}

/// The byte behind a character of the byte-level alphabet of GPT-2: printable Latin-1 characters
/// stand for themselves, the other 68 bytes follow from U+0100 on in order.
fn byte_of_char(c: char) -> Option<u8> {
    let code = u32::from(c);
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => u8::try_from(code).ok(),
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7F).ok(),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// The character that stands for a byte: the inverse of [`byte_of_char`].
fn char_of_byte(byte: u8) -> char {
    let code = match byte {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => u32::from(byte),
        0x00..=0x20 => 0x100 + u32::from(byte),
        0x7F..=0xA0 => 0x121 - 0x7F + u32::from(byte),
        0xAD => 0x143,
    };
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn longest_whitespace_run(text: &str) -> usize {
    let mut longest = 0;
    let mut current = 0;
    for c in text.chars() {
        current = if c.is_whitespace() { current + 1 } else { 0 };
        longest = longest.max(current);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_covers_every_byte_once() {
        let mut bytes: Vec<u8> = ('\0'..='\u{200}').filter_map(byte_of_char).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        for byte in 0..=255 {
            assert_eq!(byte_of_char(char_of_byte(byte)), Some(byte));
        }
        assert_eq!(byte_of_char('Ġ'), Some(b' '));
        assert_eq!(byte_of_char('Ċ'), Some(b'\n'));
    }

    #[test]
    fn runs_of_white_space_are_measured_in_characters() {
        assert_eq!(longest_whitespace_run("a  b\n\u{2003}\t c "), 4);
        assert_eq!(longest_whitespace_run(""), 0);
    }

    #[test]
    fn garbage_is_refused_by_name() {
        for json in ["", "{}", "[1]", r#"{"version": "1.0", "model": 3}"#] {
            let message = Tokenizer::from_bytes(json.as_bytes(), "t.json")
                .unwrap_err()
                .to_string();
            assert!(
                message.starts_with("t.json is not a usable tokenizer: "),
                "{message}"
            );
        }
    }
}
