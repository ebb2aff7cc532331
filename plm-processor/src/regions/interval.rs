//! Intervals of a clip, and captions of them.

use super::lists::{List, is_digits, lists};
use super::{Misread, Parsed};
use crate::video::FramePosition;

/// Frames of a clip, counted from 0 among those that were shown; first and last belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interval {
    /// The first frame.
    pub start: usize,
    /// The last frame, not before the first.
    pub end: usize,
}

/// What happens in an interval.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DenseCaption {
    /// When it happens.
    pub interval: Interval,
    /// What happens, in one line; empty if the answer names the interval alone.
    pub text: String,
}

impl Interval {
    /// Reads every interval `[start, end]` of a text about a clip of which `num_frames` were shown.
    ///
    /// Every list of something else is misread, and so is an interval that ends before it begins
    /// or names a frame that was not shown.
    #[must_use]
    pub fn read(text: &str, num_frames: usize) -> Parsed<Self> {
        Parsed::collect(
            text,
            lists(text).map(|list| Self::of_list(&list, num_frames)),
        )
    }

    fn of_list(list: &List<'_>, num_frames: usize) -> Result<Self, Misread> {
        let [start, end] = list.entries("a frame number", frame_number)?;
        if start > end {
            return Err(Misread::Reversed { list: list.owned() });
        }
        if end >= num_frames {
            return Err(Misread::NoSuchFrame {
                list: list.owned(),
                frame: end,
                num_frames,
            });
        }
        Ok(Self { start, end })
    }

    /// Place and time in the video of the first and the last frame, given the frames that were
    /// shown; none if the interval leaves them.
    ///
    /// ```
    /// use plm_processor::FramePosition;
    /// use plm_processor::regions::Interval;
    ///
    /// let shown = [0, 15, 30].map(|index| FramePosition {
    ///     index,
    ///     seconds: Some(index as f64 / 30.0),
    /// });
    /// let interval = Interval { start: 1, end: 2 };
    /// let [start, end] = interval.positions(&shown).unwrap();
    /// assert_eq!((start.index, start.seconds), (15, Some(0.5)));
    /// assert_eq!((end.index, end.seconds), (30, Some(1.0)));
    /// ```
    #[must_use]
    pub fn positions(&self, shown: &[FramePosition]) -> Option<[FramePosition; 2]> {
        Some([*shown.get(self.start)?, *shown.get(self.end)?])
    }
}

/// A whole number; one that is too large for any clip is one that no clip has.
fn frame_number(entry: &str) -> Option<usize> {
    is_digits(entry).then(|| entry.parse().unwrap_or(usize::MAX))
}

impl DenseCaption {
    /// Reads every `[start, end]: caption` of a text about a clip of which `num_frames` were shown.
    ///
    /// A caption goes on to the next interval; other brackets are part of it. An interval that
    /// ends before it begins, or names a frame that was not shown, is misread with its caption.
    #[must_use]
    pub fn read(text: &str, num_frames: usize) -> Parsed<Self> {
        let mut intervals = lists(text)
            .filter(|list| list.entries::<_, 2>("a frame number", frame_number).is_ok())
            .peekable();
        let captions = std::iter::from_fn(|| {
            let list = intervals.next()?;
            let end = intervals.peek().map_or(text.len(), |next| next.place.start);
            Some(Interval::of_list(&list, num_frames).map(|interval| Self {
                interval,
                text: caption(&text[list.place.end..end]),
            }))
        });
        Parsed::collect(text, captions)
    }
}

/// What stands between two intervals, without what belongs to the list.
fn caption(between: &str) -> String {
    let text = between.trim();
    // Some answers write `Frame [0, 5]: ...`.
    let text = ["\nFrames", "\nFrame"]
        .iter()
        .find_map(|label| text.strip_suffix(label))
        .unwrap_or(text);
    let text = text
        .trim_start_matches(':')
        .trim()
        .trim_end_matches(',')
        .trim();
    let inside = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let lines = inside.unwrap_or(text).lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_interval_is_a_pair_of_frames() {
        let answer = Interval::read("It happens in [3, 17].", 32);
        assert_eq!(answer.found, [Interval { start: 3, end: 17 }]);
        assert_eq!(answer.misread, []);
    }

    #[test]
    fn what_is_no_interval_is_told() {
        for (text, expected) in [
            ("frame 3", "the answer has no list in brackets"),
            ("[1,2,3]", "\"[1,2,3]\" has 3 entries instead of 2"),
            ("[9, 3]", "\"[9, 3]\" ends before it begins"),
            (
                "[0, 32]",
                "\"[0, 32]\" names frame 32, but 32 were shown, counted from 0",
            ),
            ("[0, -1]", "\"-1\" in \"[0, -1]\" is not a frame number"),
            ("[0, 1.5]", "\"1.5\" in \"[0, 1.5]\" is not a frame number"),
        ] {
            let answer = Interval::read(text, 32);
            assert_eq!((answer.found, answer.text), (vec![], text.to_owned()));
            assert_eq!(answer.misread[0].to_string(), expected);
        }
        let answer = Interval::read("[0, 99999999999999999999999]", 32);
        assert!(matches!(answer.misread[..], [Misread::NoSuchFrame { .. }]));
    }

    #[test]
    fn captions_belong_to_the_interval_before_them() {
        let answer = DenseCaption::read(
            "[0, 5]: A man walks to a door, at 5:30.\n[6, 9]: [He opens\nit].\n\n[10,31]",
            32,
        );
        let found = |start, end, text: &str| DenseCaption {
            interval: Interval { start, end },
            text: text.to_owned(),
        };
        assert_eq!(
            answer.found,
            [
                found(0, 5, "A man walks to a door, at 5:30."),
                found(6, 9, "[He opens it]."),
                found(10, 31, ""),
            ]
        );
        assert_eq!(answer.misread, []);
    }

    #[test]
    fn labels_and_brackets_of_a_list_are_no_caption() {
        let answer = DenseCaption::read("Frame [0, 5]: [A cat],\nFrame [6, 7]: Out of frame.", 8);
        let texts: Vec<_> = answer.found.iter().map(|c| c.text.as_str()).collect();
        assert_eq!(texts, ["A cat", "Out of frame."]);
    }

    #[test]
    fn a_bad_interval_does_not_spoil_the_others() {
        let answer = DenseCaption::read("[0, 3]: A.\n[7, 5]: B.\n[4, 8]: C.", 8);
        assert_eq!(answer.found.len(), 1);
        assert!(matches!(
            answer.misread[..],
            [
                Misread::Reversed { .. },
                Misread::NoSuchFrame { frame: 8, .. }
            ]
        ));
        let nothing = DenseCaption::read("A man walks [slowly].", 8);
        assert_eq!(nothing.misread, [Misread::NoList]);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[\\[\\], 0-9:\nFrame\\PC]{0,60}", num_frames in 0usize..40) {
            let intervals = Interval::read(&text, num_frames);
            let captions = DenseCaption::read(&text, num_frames);
            prop_assert!(!intervals.found.is_empty() || !intervals.misread.is_empty());
            let of_captions: Vec<_> = captions.found.iter().map(|c| c.interval).collect();
            prop_assert_eq!(&of_captions, &intervals.found);
            for interval in intervals.found {
                prop_assert!(interval.start <= interval.end && interval.end < num_frames);
            }
        }

        #[test]
        fn a_list_of_captions_is_read_back(
            items in prop::collection::vec((0usize..32, 0usize..32, "[a-z]{1,8}( [a-z]{1,8}){0,4}"), 1..6),
        ) {
            let captions: Vec<_> = items.into_iter().map(|(a, b, text)| DenseCaption {
                interval: Interval { start: a.min(b), end: a.max(b) },
                text,
            }).collect();
            let lines = captions.iter().map(|c| {
                format!("[{}, {}]: {}", c.interval.start, c.interval.end, c.text)
            });
            let text = lines.collect::<Vec<_>>().join("\n");
            prop_assert_eq!(DenseCaption::read(&text, 32).found, captions);
        }
    }
}
