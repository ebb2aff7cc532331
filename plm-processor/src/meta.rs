//! Meta's own processing rules, where they differ from Hugging Face's.
//!
//! | | Hugging Face | Meta |
//! |---|---|---|
//! | resampling of pictures | torchvision's, at an accuracy that varies | Pillow's ([`pillow`]) |
//! | resampling of frames | as pictures | in f32 ([`float`]) |
//! | EXIF orientation | applied | not applied |
//! | several pictures | each is tiled | each is one tile |
//! | a video's frames | all | one a second, at most 32 |
//! | placeholder of a video | `<\|video\|>` | `<\|image\|>` |
//! | texts | trimmed | as they are |
//! | `<image>` in a text | text | where the media stand ([`dialog`]) |

mod dialog;
mod float;
mod pillow;

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

pub(crate) use dialog::{Dialog, Placement, Segment};
pub(crate) use float::resize as resize_frame;
pub(crate) use pillow::resize as resize_picture;

/// Whose rules turn a conversation into a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rules {
    /// Those of Hugging Face's processor and of the checkpoint's chat template.
    #[default]
    HuggingFace,
    /// Those of Meta's code, under which the model was trained. They know one dialogue format and
    /// do not read the chat template.
    Meta,
}

impl Rules {
    /// The name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HuggingFace => "huggingface",
            Self::Meta => "meta",
        }
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Rules {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "huggingface" => Ok(Self::HuggingFace),
            "meta" => Ok(Self::Meta),
            _ => Err(Error::UnknownRules {
                value: name.to_owned(),
            }),
        }
    }
}
