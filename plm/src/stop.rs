/// Watches a stream of text for stop strings, which may stretch over several pieces.
#[derive(Debug, Clone)]
pub(crate) struct StopStrings {
    strings: Vec<String>,
    /// Text that may be the beginning of a stop string.
    held: String,
}

/// Text that is safe to give out, and whether a stop string followed it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Emitted {
    pub(crate) text: String,
    pub(crate) stopped: bool,
}

impl StopStrings {
    pub(crate) fn new(strings: &[String]) -> Self {
        Self {
            strings: strings.to_vec(),
            held: String::new(),
        }
    }

    /// Takes the next piece; gives out what cannot be part of a stop string any more.
    pub(crate) fn push(&mut self, piece: &str) -> Emitted {
        self.held.push_str(piece);
        let first = self.strings.iter().filter_map(|s| self.held.find(s)).min();
        if let Some(at) = first {
            let mut text = std::mem::take(&mut self.held);
            text.truncate(at);
            return Emitted {
                text,
                stopped: true,
            };
        }
        let kept = self.possible_beginning();
        let rest = self.held.split_off(self.held.len() - kept);
        Emitted {
            text: std::mem::replace(&mut self.held, rest),
            stopped: false,
        }
    }

    /// Gives out what was held back at the end of the stream.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes at the end of the held text with which some stop string begins.
    fn possible_beginning(&self) -> usize {
        let beginnings = self.held.char_indices().map(|(at, _)| &self.held[at..]);
        beginnings
            .filter(|tail| self.strings.iter().any(|s| s.starts_with(tail)))
            .map(str::len)
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(strings: &[&str], pieces: &[&str]) -> (String, bool) {
        let strings: Vec<String> = strings.iter().map(|s| s.to_string()).collect();
        let mut stops = StopStrings::new(&strings);
        let mut text = String::new();
        for piece in pieces {
            let emitted = stops.push(piece);
            text.push_str(&emitted.text);
            if emitted.stopped {
                return (text, true);
            }
        }
        (text + &stops.finish(), false)
    }

    #[test]
    fn a_stop_string_across_pieces_ends_the_text_before_it() {
        assert_eq!(
            run(&["\nUser:"], &["ok", "\nUs", "er", ": hi"]),
            ("ok".into(), true)
        );
        assert_eq!(
            run(&["END"], &["an EN", "GLISH"]),
            ("an ENGLISH".into(), false)
        );
        assert_eq!(run(&["b", "ab"], &["xa", "b"]), ("x".into(), true));
        assert_eq!(run(&["é!"], &["caf", "é", "?"]), ("café?".into(), false));
    }

    proptest! {
        #[test]
        fn cutting_into_pieces_changes_nothing(
            text in "[ab]{0,20}", stop in "[ab]{1,4}", cuts in prop::collection::vec(0usize..20, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|&c| c <= text.len()).collect();
            cuts.extend([0, text.len()]);
            cuts.sort();
            let pieces: Vec<&str> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            let (found, stopped) = run(&[&stop], &pieces);
            let end = text.find(&stop);
            prop_assert_eq!(stopped, end.is_some());
            prop_assert_eq!(&found, &text[..end.unwrap_or(text.len())]);
        }
    }
}
