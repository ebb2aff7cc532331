//! Boxes as text.

use std::str::FromStr;

use super::lists::{List, is_digits, lists};
use super::{Misread, Parsed, PixelBox, RegionFault};
use crate::error::{Error, Result};

/// Digits of a number in a text.
const DECIMALS: usize = 3;

/// The largest part of a picture that a text can name.
const LARGEST: f64 = 0.999;

/// How a box stands in a text: a list of four parts of the picture's width and height.
///
/// Meta's code trains with the default, `[x1,y1,x2,y2]` in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BoxFormat {
    /// How a number is written.
    pub coordinates: Coordinates,
    /// What the four numbers are.
    pub order: BoxOrder,
}

/// How a part of the picture's width or height is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Coordinates {
    /// Three digits, rounded down: `040` is 0.040. Meta calls it `000`.
    #[default]
    Thousandths,
    /// A decimal fraction, rounded: `0.040`. Meta calls it `standard`.
    Standard,
}

/// What the four numbers of a box are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BoxOrder {
    /// Left, top, right, bottom.
    #[default]
    Xyxy,
    /// Left, top, width, height.
    Xywh,
}

impl BoxFormat {
    /// Writes a box of a picture of the given size, as Meta's `RegionTransform` does.
    ///
    /// What lies outside the picture is moved to its edge: numbers go from 0 to 0.999.
    ///
    /// # Errors
    /// [`RegionFault::NoPixels`] for a picture without pixels.
    pub fn write(&self, region: &PixelBox, size_wh: (u32, u32)) -> Result<String> {
        let (width, height) = size_wh;
        if width == 0 || height == 0 {
            return Err(RegionFault::NoPixels { width, height }.into());
        }
        let numbers = match self.order {
            BoxOrder::Xyxy => region.xyxy(),
            BoxOrder::Xywh => region.xywh(),
        };
        let sizes = [width, height, width, height].map(f64::from);
        let parts: Vec<String> = numbers
            .iter()
            .zip(sizes)
            .map(|(number, size)| self.number((number / size).clamp(0.0, LARGEST)))
            .collect();
        Ok(format!("[{}]", parts.join(",")))
    }

    fn number(self, part: f64) -> String {
        match self.coordinates {
            // Cut after the product has been rounded, as Python's `int(part * 1000)` does.
            Coordinates::Thousandths => format!("{:0DECIMALS$}", (part * 1000.0) as u32),
            Coordinates::Standard => format!("{part:.DECIMALS$}"),
        }
    }

    /// Reads every box of a text about a picture of the given size.
    ///
    /// A box is a list of four entries in brackets. Every other list is misread, and so is a box
    /// in another notation or one that ends before it begins; prose is passed over.
    #[must_use]
    pub fn read(&self, text: &str, size_wh: (u32, u32)) -> Parsed<PixelBox> {
        let boxes = lists(text).map(|list| self.read_list(&list, size_wh));
        Parsed::collect(text, boxes)
    }

    fn read_list(
        self,
        list: &List<'_>,
        (width, height): (u32, u32),
    ) -> std::result::Result<PixelBox, Misread> {
        let [a, b, c, d] = match self.coordinates {
            Coordinates::Thousandths => list.entries("three digits, as `040`", thousandths)?,
            Coordinates::Standard => {
                list.entries("a decimal fraction from 0 to 1, as `0.040`", fraction)?
            }
        };
        let (width, height) = (f64::from(width), f64::from(height));
        let pixels = [a * width, b * height, c * width, d * height];
        let region = match self.order {
            BoxOrder::Xyxy => PixelBox::from_xyxy(pixels),
            BoxOrder::Xywh => PixelBox::from_xywh(pixels),
        };
        // Numbers from 0 to 1 are finite, so only their order can be wrong.
        region.map_err(|_| Misread::Reversed { list: list.owned() })
    }
}

/// `040` as 0.04.
fn thousandths(entry: &str) -> Option<f64> {
    if entry.len() != DECIMALS || !is_digits(entry) {
        return None;
    }
    Some(f64::from(entry.parse::<u32>().ok()?) / 1000.0)
}

/// `0.04` as itself, without the signs, exponents and names that Rust takes as well.
fn fraction(entry: &str) -> Option<f64> {
    let (whole, decimals) = entry.split_once('.').unwrap_or((entry, "0"));
    if !is_digits(whole) || !is_digits(decimals) {
        return None;
    }
    entry.parse().ok().filter(|part| *part <= 1.0)
}

impl Coordinates {
    /// Meta's name: `000` or `standard`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Thousandths => "000",
            Self::Standard => "standard",
        }
    }
}

impl FromStr for Coordinates {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let mut all = [Self::Thousandths, Self::Standard].into_iter();
        all.find(|known| known.as_str() == name).ok_or_else(|| {
            let value = name.to_owned();
            RegionFault::UnknownCoordinates { value }.into()
        })
    }
}

impl BoxOrder {
    /// Meta's name: `xyxy` or `xywh`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Xyxy => "xyxy",
            Self::Xywh => "xywh",
        }
    }

    /// The order in a question's words.
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::Xyxy => "[x1, y1, x2, y2]",
            Self::Xywh => "[x, y, w, h]",
        }
    }
}

impl FromStr for BoxOrder {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let mut all = [Self::Xyxy, Self::Xywh].into_iter();
        all.find(|known| known.as_str() == name).ok_or_else(|| {
            let value = name.to_owned();
            RegionFault::UnknownOrder { value }.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORMATS: [BoxFormat; 4] = [
        BoxFormat {
            coordinates: Coordinates::Thousandths,
            order: BoxOrder::Xyxy,
        },
        BoxFormat {
            coordinates: Coordinates::Thousandths,
            order: BoxOrder::Xywh,
        },
        BoxFormat {
            coordinates: Coordinates::Standard,
            order: BoxOrder::Xyxy,
        },
        BoxFormat {
            coordinates: Coordinates::Standard,
            order: BoxOrder::Xywh,
        },
    ];

    #[test]
    fn a_box_is_written_in_parts_of_the_picture() {
        let region = PixelBox::from_xywh([16.0, -3.0, 84.0, 90.0]).unwrap();
        let texts = FORMATS.map(|format| format.write(&region, (256, 80)).unwrap());
        assert_eq!(
            texts,
            [
                "[062,000,390,999]",
                "[062,000,328,999]",
                // 16 / 256 is a tie, which goes to the even digit.
                "[0.062,0.000,0.391,0.999]",
                "[0.062,0.000,0.328,0.999]",
            ]
        );
        let error = FORMATS[0].write(&region, (0, 80)).unwrap_err().to_string();
        assert_eq!(
            error,
            "a box cannot be written for a picture of 0x80 pixels"
        );
    }

    #[test]
    fn every_box_of_an_answer_is_read() {
        let format = BoxFormat::default();
        let answer = format.read(
            "Here: [040, 482,112,576] and [000,000,500,250].",
            (500, 1000),
        );
        let corners: Vec<_> = answer.found.iter().map(PixelBox::xyxy).collect();
        assert_eq!(
            corners,
            [[20.0, 482.0, 56.0, 576.0], [0.0, 0.0, 250.0, 250.0]]
        );
        assert_eq!(answer.misread, []);
        let size = FORMATS[1].read("[500,250,250,500]", (100, 100));
        assert_eq!(size.found[0].xyxy(), [50.0, 25.0, 75.0, 75.0]);
        let standard = FORMATS[2].read("[0.25,0.5,0.75,1]", (100, 100));
        assert_eq!(standard.found[0].xyxy(), [25.0, 50.0, 75.0, 100.0]);
    }

    #[test]
    fn what_is_no_box_is_told() {
        let misread = |format: BoxFormat, text: &str| {
            let parsed = format.read(text, (100, 100));
            assert_eq!(parsed.text, text);
            assert_eq!(parsed.found, []);
            parsed.misread[0].to_string()
        };
        let [thousandths, _, standard, _] = FORMATS;
        for (format, text, expected) in [
            (thousandths, "", "the answer has no list in brackets"),
            (thousandths, "[1,2", "the answer has no list in brackets"),
            (thousandths, "[001]", "\"[001]\" has 1 entries instead of 4"),
            (
                thousandths,
                "[40,482,112,576]",
                "\"40\" in \"[40,482,112,576]\" is not three digits, as `040`",
            ),
            (
                thousandths,
                "[900,0\n0,112,576]",
                "\"0\\n0\" in \"[900,0\\n0,112,576]\" is not three digits, as `040`",
            ),
            (
                thousandths,
                "[900,000,112,576]",
                "\"[900,000,112,576]\" ends before it begins",
            ),
            (
                standard,
                "[0.1,nan,0.2,0.3]",
                "\"nan\" in \"[0.1,nan,0.2,0.3]\" is not a decimal fraction from 0 to 1, as `0.040`",
            ),
        ] {
            assert_eq!(misread(format, text), expected);
        }
        for entry in [
            "-0.1", "+0.1", "1e-1", "inf", "1.001", ".5", "5.", "0.1.2", "", "٠",
        ] {
            let text = format!("[{entry},0.5,0.6,0.7]");
            assert!(
                misread(standard, &text).contains("is not a decimal"),
                "{entry}"
            );
        }
    }

    #[test]
    fn a_good_box_is_kept_beside_a_bad_one() {
        let parsed = BoxFormat::default().read("[1] [000,000,500,500]", (10, 10));
        assert_eq!((parsed.found.len(), parsed.misread.len()), (1, 1));
    }

    #[test]
    fn names_are_metas() {
        for format in FORMATS {
            assert_eq!(
                format.order.as_str().parse::<BoxOrder>().unwrap(),
                format.order
            );
            let name = format.coordinates.as_str();
            assert_eq!(name.parse::<Coordinates>().unwrap(), format.coordinates);
        }
        let error = "001".parse::<Coordinates>().unwrap_err().to_string();
        assert_eq!(error, "unknown box format `001`; it is `000` or `standard`");
        assert!("yxyx".parse::<BoxOrder>().is_err());
    }

    proptest! {
        #[test]
        fn a_box_is_found_again_within_a_thousandth(
            corner in prop::array::uniform2(0.0f64..0.5),
            size in prop::array::uniform2(0.0f64..0.499),
            side in (1u32..5000, 1u32..5000),
        ) {
            let sides = [side.0, side.1, side.0, side.1].map(f64::from);
            let parts = [corner[0], corner[1], size[0], size[1]];
            let region = std::array::from_fn(|axis| parts[axis] * sides[axis]);
            let region = PixelBox::from_xywh(region).unwrap();
            for format in FORMATS {
                let numbers = |region: PixelBox| match format.order {
                    BoxOrder::Xyxy => region.xyxy(),
                    BoxOrder::Xywh => region.xywh(),
                };
                let read = format.read(&format.write(&region, side).unwrap(), side);
                prop_assert_eq!(&read.misread, &[]);
                let pairs = numbers(read.found[0]).into_iter().zip(numbers(region));
                for ((found, given), side) in pairs.zip(sides) {
                    // A little more than a thousandth, for the rounding of the products.
                    prop_assert!((found - given).abs() <= 0.001_000_1 * side, "{} {}", found, given);
                }
            }
        }

        #[test]
        fn no_text_is_too_strange(text in "[\\[\\], 0-9.\\-einf\\PC]{0,60}", side in (0u32..5, 0u32..5)) {
            for format in FORMATS {
                let parsed = format.read(&text, side);
                prop_assert_eq!(&parsed.text, &text);
                prop_assert!(!parsed.found.is_empty() || !parsed.misread.is_empty());
                for region in parsed.found {
                    prop_assert!(region.xyxy().iter().all(|x| (0.0..=8.0).contains(x)));
                }
            }
        }
    }
}
