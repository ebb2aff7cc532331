//! A tokenizer of the world's own words.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use plm_processor::tokenizer_json_of_model;

use crate::Error;

/// Makes a `tokenizer.json` of `size` text tokens: all bytes, then the most frequent words of the
/// texts, with and without the space before them; returns it with the number of its text tokens.
///
/// There are fewer where the texts have fewer words. A word that is no token is cut into bytes.
/// The special tokens of PerceptionLM follow.
///
/// # Errors
/// [`Error::Tokenizer`] when the table of ranks cannot be expressed.
pub fn tokenizer_json<'t>(
    texts: impl IntoIterator<Item = &'t str>,
    size: usize,
) -> Result<(Vec<u8>, usize), Error> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for text in texts {
        for word in words(text) {
            *counts.entry(word).or_default() += 1;
        }
    }
    let mut words: Vec<(&str, usize)> = counts
        .into_iter()
        .filter(|(word, _)| word.len() > 1)
        .collect();
    words.sort_by_key(|&(word, count)| (std::cmp::Reverse(count), word));
    let words = words.into_iter().map(|(word, _)| word.as_bytes().to_vec());
    let tokens = (0..=255_u8).map(|byte| vec![byte]).chain(words);
    let lines = tokens.take(size.max(256)).zip(0..);
    let model: String = lines
        .map(|(token, rank)| format!("{} {rank}\n", BASE64_STANDARD.encode(token)))
        .collect();
    Ok(tokenizer_json_of_model(
        model.as_bytes(),
        "the world's rank table",
    )?)
}

/// Cuts a text as Llama 3's pattern does, as far as the world's texts go: letters with what one
/// space or mark is before them, up to three digits, marks with a space before them, and line ends.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let second = rest[first.len_utf8()..].chars().next();
        let leads = !first.is_alphanumeric() && !matches!(first, '\r' | '\n');
        let length = if first.is_alphabetic() || leads && second.is_some_and(char::is_alphabetic) {
            let head = first.len_utf8();
            head + span(&rest[head..], char::is_alphabetic)
        } else if first.is_numeric() {
            span(rest, char::is_numeric).min(3)
        } else if first == '\n' {
            span(rest, |c| c == '\n')
        } else {
            let is_mark = |c: char| !c.is_whitespace() && !c.is_alphanumeric();
            let head = first.len_utf8();
            head + span(&rest[head..], is_mark)
        };
        let (word, after) = rest.split_at(length);
        words.push(word);
        rest = after;
    }
    words
}

/// The length of what fits at the beginning of a text.
fn span(text: &str, fits: impl Fn(char) -> bool) -> usize {
    text.find(|c| !fits(c)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use plm_processor::{SpecialTokens, Tokenizer};

    use super::*;

    #[test]
    fn words_are_cut_as_the_pattern_does() {
        let text = "Is it 123? row 2, a-b: yes.";
        let cut = [
            "Is", " it", " ", "123", "?", " row", " ", "2", ",", " a", "-b", ":", " yes", ".",
        ];
        assert_eq!(words(text), cut);
        // With all of them as tokens, the tokenizer itself cuts so.
        let (json, _) = tokenizer_json([text], usize::MAX).unwrap();
        let tokenizer = Tokenizer::from_bytes(&json, "t").unwrap();
        let ids = tokenizer.encode(text, SpecialTokens::AsText).unwrap();
        let tokens = ids
            .iter()
            .map(|&id| tokenizer.decode(&[id], false).unwrap());
        assert_eq!(tokens.collect::<Vec<String>>(), cut);
    }

    #[test]
    fn a_frequent_word_is_one_token_and_any_text_comes_back() {
        let texts = ["a red circle. a red ring", "red circle"];
        let (json, num_tokens) = tokenizer_json(texts, 259).unwrap();
        assert_eq!(num_tokens, 259);
        let tokenizer = Tokenizer::from_bytes(&json, "t").unwrap();
        let encode = |text: &str| tokenizer.encode(text, SpecialTokens::AsText).unwrap();
        assert_eq!(encode("one red circle")[3..].len(), 2);
        for text in ["red circle", "Grüße, 日本 12345!\n\n"] {
            assert_eq!(tokenizer.decode(&encode(text), false).unwrap(), text);
        }
    }
}
