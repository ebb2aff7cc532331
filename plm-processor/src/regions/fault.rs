//! What is wrong with a box that somebody gave.

/// What is wrong with a box, or with a text that refers to one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RegionFault {
    /// A number of a box is infinite or none at all.
    #[error("the box {numbers:?} has a number that is not finite")]
    NotFinite {
        /// The box as it was given.
        numbers: [f64; 4],
    },
    /// A box ends before it begins.
    #[error(
        "the box {numbers:?} ends before it begins; give left, top, right, bottom, or a size of 0 or above"
    )]
    Reversed {
        /// The box as it was given.
        numbers: [f64; 4],
    },
    /// A box is asked for in parts of a picture that has no pixels.
    #[error("a box cannot be written for a picture of {width}x{height} pixels")]
    NoPixels {
        /// Width of the picture.
        width: u32,
        /// Height of the picture.
        height: u32,
    },
    /// A text refers to a box that was not given.
    #[error("the text refers to `{placeholder}`, but {num_boxes} boxes are given, counted from 0")]
    NoSuchBox {
        /// The reference in the text.
        placeholder: String,
        /// Boxes given.
        num_boxes: usize,
    },
    /// Boxes of frames in JSON have a mistake.
    #[error("boxes of frames: {what}")]
    FrameBoxes {
        /// Which entry, and what it must be.
        what: String,
    },
    /// Frames are asked about that are not shown, or that end before they begin.
    #[error(
        "frames {first} to {last} are asked about, but frames {part_first} to {part_last} are shown"
    )]
    NoSuchFrames {
        /// The first frame asked about.
        first: usize,
        /// The last frame asked about.
        last: usize,
        /// The first frame of the part that is shown.
        part_first: usize,
        /// The last frame of the part that is shown.
        part_last: usize,
    },
    /// A name that is neither `000` nor `standard`.
    #[error("unknown box format `{value}`; it is `000` or `standard`")]
    UnknownCoordinates {
        /// The name found.
        value: String,
    },
    /// A name that is neither `xyxy` nor `xywh`.
    #[error("unknown box order `{value}`; it is `xyxy` or `xywh`")]
    UnknownOrder {
        /// The name found.
        value: String,
    },
}
