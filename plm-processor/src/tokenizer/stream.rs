//! Token ids to text while they arrive.

use super::Tokenizer;
use crate::error::Result;

/// Turns token ids into text piece by piece.
///
/// A character whose bytes are spread over several tokens comes out with the last of them. All
/// pieces together equal [`Tokenizer::decode`] of all ids.
#[derive(Clone, Debug)]
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    skip_special: bool,
    utf8: LossyUtf8,
}

impl<'t> TextStream<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, skip_special: bool) -> Self {
        Self {
            tokenizer,
            skip_special,
            utf8: LossyUtf8::default(),
        }
    }

    /// Takes the next id and gives the text that is certain now, possibly none.
    ///
    /// # Errors
    /// [`Error::TokenId`](crate::Error::TokenId) for an id that is not in the vocabulary; the
    /// stream is as before then.
    pub fn push(&mut self, id: u32) -> Result<String> {
        let bytes = self.tokenizer.token_bytes(id, self.skip_special)?;
        Ok(self.utf8.push(&bytes))
    }

    /// Ends the text: a character that is still incomplete becomes a replacement character.
    #[must_use]
    pub fn finish(self) -> String {
        self.utf8.finish()
    }
}

/// Incremental [`String::from_utf8_lossy`]; holds back at most the three bytes of an incomplete
/// character.
#[derive(Clone, Debug, Default)]
struct LossyUtf8 {
    pending: Vec<u8>,
}

impl LossyUtf8 {
    fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut kept = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            kept = chunk.invalid().len();
            if kept > 0 {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        // Only the last chunk can be an unfinished character rather than a wrong one.
        let tail = self.pending.len() - kept;
        let unfinished = std::str::from_utf8(&self.pending[tail..])
            .is_err_and(|error| error.error_len().is_none());
        if unfinished {
            text.pop();
            self.pending.drain(..tail);
        } else {
            self.pending.clear();
        }
        text
    }

    fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_character_comes_out_with_its_last_byte() {
        let mut utf8 = LossyUtf8::default();
        let face = "🤔".as_bytes();
        assert_eq!(utf8.push(b"a"), "a");
        assert_eq!(utf8.push(&face[..3]), "");
        assert_eq!(utf8.push(&face[3..]), "🤔");
        assert_eq!(utf8.push(&face[..2]), "");
        assert_eq!(utf8.push(b"b"), "\u{FFFD}b");
        assert_eq!(utf8.push(&face[..1]), "");
        assert_eq!(utf8.finish(), "\u{FFFD}");
    }

    proptest! {
        #[test]
        fn pieces_join_to_the_whole(pieces in prop::collection::vec(
            prop::collection::vec(prop_oneof![any::<u8>(), Just(0xF0), Just(0x9F), Just(0xE2)], 0..4),
            0..20,
        )) {
            let whole = pieces.concat();
            let mut utf8 = LossyUtf8::default();
            let mut text: String = pieces.iter().map(|piece| utf8.push(piece)).collect();
            text.push_str(&utf8.finish());
            prop_assert_eq!(text, String::from_utf8_lossy(&whole));
        }
    }
}
