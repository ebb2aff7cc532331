//! What was understood of an answer.

/// What an answer said, and what of it could not be understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed<T> {
    /// The answer as the model gave it.
    pub text: String,
    /// What was understood, in the order of the text; empty if nothing was.
    pub found: Vec<T>,
    /// What was not understood; at least one if nothing was found.
    pub misread: Vec<Misread>,
}

/// Why a part of an answer was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misread {
    /// Nothing in the answer looks like a box or an interval.
    #[error("the answer has no list in brackets")]
    NoList,
    /// A list of another length.
    #[error("{list:?} has {found} entries instead of {expected}")]
    Length {
        /// The list with its brackets.
        list: String,
        /// Entries found.
        found: usize,
        /// Entries expected.
        expected: usize,
    },
    /// An entry in another notation.
    #[error("{entry:?} in {list:?} is not {expected}")]
    Entry {
        /// The list with its brackets.
        list: String,
        /// The entry.
        entry: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A box or an interval that ends before it begins.
    #[error("{list:?} ends before it begins")]
    Reversed {
        /// The list with its brackets.
        list: String,
    },
    /// A frame that was not shown.
    #[error("{list:?} names frame {frame}, but {num_frames} were shown, counted from 0")]
    NoSuchFrame {
        /// The list with its brackets.
        list: String,
        /// The frame.
        frame: usize,
        /// Frames shown.
        num_frames: usize,
    },
}

impl<T> Parsed<T> {
    /// Joins what was read of each list; an answer without any is misread as a whole.
    pub(super) fn collect(text: &str, read: impl Iterator<Item = Result<T, Misread>>) -> Self {
        let mut parsed = Self {
            text: text.to_owned(),
            found: Vec::new(),
            misread: Vec::new(),
        };
        for item in read {
            match item {
                Ok(item) => parsed.found.push(item),
                Err(misread) => parsed.misread.push(misread),
            }
        }
        if parsed.found.is_empty() && parsed.misread.is_empty() {
            parsed.misread.push(Misread::NoList);
        }
        parsed
    }
}
