//! Keeps the names of special tokens in a text from becoming special tokens.

use std::collections::{BTreeMap, BTreeSet};

/// Replaces, in untrusted text, the first character of every special token's name by a stand-in,
/// so that no name can begin there, whatever a template then glues together.
///
/// After the rendered prompt has been cut at its special tokens, [`Guard::unseal`] puts the
/// characters back. Characters are replaced one for one: lengths and white space stay what a
/// template expects.
pub(crate) struct Guard {
    stand_ins: BTreeMap<char, char>,
}

impl Guard {
    /// `taken` are all texts in which a stand-in must not occur; none if they hold all stand-ins.
    pub(crate) fn new<'a>(
        special_tokens: impl Iterator<Item = &'a str> + Clone,
        taken: impl Iterator<Item = &'a str>,
    ) -> Option<Self> {
        let firsts: BTreeSet<char> = special_tokens.clone().filter_map(first_char).collect();
        // Common texts hold none of these, so what is collected here stays small.
        let taken: BTreeSet<char> = taken
            .chain(special_tokens)
            .flat_map(|text| text.chars().filter(|&c| is_stand_in(c)))
            .collect();
        let mut free = stand_ins().filter(|c| !taken.contains(c));
        let pairs = firsts.into_iter().map(|first| Some((first, free.next()?)));
        Some(Self {
            stand_ins: pairs.collect::<Option<_>>()?,
        })
    }

    pub(crate) fn seal(&self, text: &str) -> String {
        text.chars()
            .map(|c| self.stand_ins.get(&c).copied().unwrap_or(c))
            .collect()
    }

    pub(crate) fn unseal(&self, text: &str) -> String {
        let original = |c: char| {
            let pair = self.stand_ins.iter().find(|(_, stand_in)| **stand_in == c);
            pair.map_or(c, |(original, _)| *original)
        };
        text.chars()
            .map(|c| if is_stand_in(c) { original(c) } else { c })
            .collect()
    }
}

/// The first character that is not white space, so that sealing does not change what is trimmed.
fn first_char(token: &str) -> Option<char> {
    token
        .chars()
        .find(|c| !c.is_whitespace())
        .or_else(|| token.chars().next())
}

/// Noncharacters first: Unicode keeps them for a program's own use, and text never holds them.
/// Then the private planes, in case a text does hold all of them.
fn stand_ins() -> impl Iterator<Item = char> {
    ('\u{FDD0}'..='\u{FDEF}').chain('\u{F0000}'..='\u{10FFFD}')
}

fn is_stand_in(c: char) -> bool {
    matches!(c, '\u{FDD0}'..='\u{FDEF}' | '\u{F0000}'..='\u{10FFFD}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPECIAL: [&str; 3] = ["<|a|>", "[b]", "<c>"];

    #[test]
    fn no_name_survives_sealing() {
        let guard = Guard::new(SPECIAL.into_iter(), ["x"].into_iter()).unwrap();
        let sealed = guard.seal("1 <|a|> 2 [b]");
        assert!(!sealed.contains(['<', '[']));
        assert_eq!(guard.unseal(&sealed), "1 <|a|> 2 [b]");
    }

    #[test]
    fn characters_that_a_text_holds_are_no_stand_ins() {
        let every_noncharacter: String = ('\u{FDD0}'..='\u{FDEF}').collect();
        let text = format!("<{every_noncharacter}");
        let guard = Guard::new(SPECIAL.into_iter(), [text.as_str()].into_iter()).unwrap();
        let sealed = guard.seal(&text);
        assert_ne!(sealed, text);
        assert_eq!(guard.unseal(&sealed), text);
    }

    #[test]
    fn a_text_that_holds_every_stand_in_leaves_none() {
        let every: String = stand_ins().collect();
        assert!(Guard::new(SPECIAL.into_iter(), [every.as_str()].into_iter()).is_none());
    }

    proptest! {
        #[test]
        fn sealing_is_undone(text in any::<String>(), extra in "[<\\[\u{FDD0}-\u{FDEF}a ]{0,20}") {
            let text = text + &extra;
            let guard = Guard::new(SPECIAL.into_iter(), [text.as_str()].into_iter()).unwrap();
            let sealed = guard.seal(&text);
            prop_assert!(!sealed.contains(['<', '[']));
            prop_assert_eq!(guard.unseal(&sealed), text);
        }
    }
}
