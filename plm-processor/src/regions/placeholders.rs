//! Boxes in texts that refer to them by number.

use super::{BoxFormat, PixelBox, RegionFault};
use crate::error::Result;

const START: &str = "<|bbox";
const END: &str = "|>";

impl BoxFormat {
    /// Puts boxes in the place of `<|bbox0|>`, `<|bbox1|>` and so on, as Meta's `RegionTransform`
    /// does with the texts of a data set.
    ///
    /// # Errors
    /// [`RegionFault::NoSuchBox`] for a number that has no box, and as [`BoxFormat::write`].
    pub fn fill(&self, text: &str, boxes: &[PixelBox], size_wh: (u32, u32)) -> Result<String> {
        let boxes = boxes.iter().map(|region| self.write(region, size_wh));
        let boxes = boxes.collect::<Result<Vec<String>>>()?;
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(START) {
            let (before, placeholder) = rest.split_at(at);
            filled.push_str(before);
            let number = &placeholder[START.len()..];
            let digits = number.len()
                - number
                    .trim_start_matches(|c: char| c.is_ascii_digit())
                    .len();
            if digits == 0 || !number[digits..].starts_with(END) {
                filled.push_str(START);
                rest = number;
                continue;
            }
            // A number that does not fit has no box either.
            let found = number[..digits].parse::<usize>().ok();
            let found = found.and_then(|index| boxes.get(index));
            let length = START.len() + digits + END.len();
            let found = found.ok_or_else(|| RegionFault::NoSuchBox {
                placeholder: placeholder[..length].to_owned(),
                num_boxes: boxes.len(),
            })?;
            filled.push_str(found);
            rest = &placeholder[length..];
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fill(text: &str) -> Result<String> {
        let boxes = [[0.0, 0.0, 5.0, 5.0], [1.0, 2.0, 3.0, 4.0]];
        let boxes = boxes.map(|corners| PixelBox::from_xyxy(corners).unwrap());
        BoxFormat::default().fill(text, &boxes, (10, 10))
    }

    #[test]
    fn each_reference_becomes_its_box() {
        assert_eq!(
            fill("<|bbox1|> is left of <|bbox0|>, not of <|bbox01|>").unwrap(),
            "[100,200,300,400] is left of [000,000,500,500], not of [100,200,300,400]"
        );
    }

    #[test]
    fn what_only_resembles_a_reference_stays() {
        for text in [
            "",
            "<|bbox|>",
            "<|bbox1>",
            "<|bboxx|>",
            "<|bbox",
            "<|mask0|>",
            "<|bbox1 |>",
        ] {
            assert_eq!(fill(text).unwrap(), text);
        }
        assert_eq!(fill("<|bbox<|bbox0|>").unwrap(), "<|bbox[000,000,500,500]");
    }

    #[test]
    fn a_number_without_box_is_named() {
        for number in ["2", "99999999999999999999999"] {
            let error = fill(&format!("See <|bbox{number}|>."))
                .unwrap_err()
                .to_string();
            assert_eq!(
                error,
                format!(
                    "the text refers to `<|bbox{number}|>`, but 2 boxes are given, counted from 0"
                )
            );
        }
    }

    proptest! {
        #[test]
        fn texts_without_references_stay(text in "[<|bo x>0-9é]{0,40}") {
            prop_assume!(!text.contains(START));
            prop_assert_eq!(fill(&text).unwrap(), text);
        }
    }
}
