//! Lists in brackets inside a text.

use std::ops::Range;

use super::Misread;

/// A pair of brackets without another bracket between them.
pub(super) struct List<'a> {
    text: &'a str,
    /// Where it stands, brackets included.
    pub(super) place: Range<usize>,
}

/// Every list of a text, in order.
pub(super) fn lists(text: &str) -> impl Iterator<Item = List<'_>> {
    let mut open = None;
    let brackets = text.match_indices(['[', ']']);
    brackets.filter_map(move |(at, bracket)| {
        if bracket == "[" {
            open = Some(at);
            return None;
        }
        let start = open.take()?;
        Some(List {
            text,
            place: start..at + 1,
        })
    })
}

impl List<'_> {
    /// The list with its brackets.
    pub(super) fn owned(&self) -> String {
        self.text[self.place.clone()].to_owned()
    }

    /// Reads so many entries, separated by commas.
    pub(super) fn entries<T, const N: usize>(
        &self,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<[T; N], Misread> {
        let inside = &self.text[self.place.start + 1..self.place.end - 1];
        let found = inside.split(',').count();
        let wrong_length = || Misread::Length {
            list: self.owned(),
            found,
            expected: N,
        };
        if found != N {
            return Err(wrong_length());
        }
        let entries = inside.split(',').map(|entry| {
            let entry = entry.trim();
            read(entry).ok_or_else(|| Misread::Entry {
                list: self.owned(),
                entry: entry.to_owned(),
                expected,
            })
        });
        let entries = entries.collect::<Result<Vec<T>, _>>()?;
        entries.try_into().map_err(|_| wrong_length())
    }
}

/// Whether a text has digits alone, and at least one.
pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_the_innermost_brackets() {
        let found = |text: &'static str| lists(text).map(|l| l.owned()).collect::<Vec<_>>();
        assert_eq!(found("a [1, 2] b [] ]["), ["[1, 2]", "[]"]);
        assert_eq!(found("[[3]] [é[4"), ["[3]"]);
    }
}
