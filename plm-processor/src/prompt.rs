//! What the model is given: token ids, and tiles for some of them.

use std::ops::Range;

use crate::grid::Grid;
use crate::meta::Rules;
use crate::tiles::{Normalization, Tiles, VisionInputType};
use crate::video::{FramePosition, FrameSampling};

/// How a conversation is encoded; the fields left `None` follow the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodeOptions {
    /// How pictures become tiles.
    pub vision_input_type: Option<VisionInputType>,
    /// Most tiles of a grid.
    pub max_num_tiles: Option<u32>,
    /// Which frames of a video are shown, unless the video itself says so.
    pub frame_sampling: Option<FrameSampling>,
    /// Whose rules make the prompt: how pictures and frames are resized, which frames are shown,
    /// and how the texts are joined.
    pub rules: Rules,
    /// Whether names of special tokens in the conversation's texts become special tokens, as in
    /// the reference. Off, they stay text.
    pub parse_special: bool,
    /// Whether the prompt ends with the header of the answer.
    pub add_generation_prompt: bool,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            vision_input_type: None,
            max_num_tiles: None,
            frame_sampling: None,
            rules: Rules::HuggingFace,
            parse_special: false,
            add_generation_prompt: true,
        }
    }
}

/// Images and videos have placeholders of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// A picture.
    Image,
    /// A video.
    Video,
}

impl MediaKind {
    /// "image" or "video".
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
        }
    }
}

/// An encoded conversation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Prompt {
    /// The ids, placeholders repeated once for every token of their image or video.
    pub token_ids: Vec<u32>,
    /// Images and videos in the order of their placeholders.
    pub media: Vec<Media>,
}

impl Prompt {
    /// Number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.token_ids.len()
    }

    /// Whether there is no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.token_ids.is_empty()
    }

    /// Tiles of all media together.
    #[must_use]
    pub fn num_tiles(&self) -> usize {
        self.media.iter().map(|media| media.tiles.len()).sum()
    }
}

/// A conversation that a model is trained on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TrainingPrompt {
    /// The ids and media.
    pub prompt: Prompt,
    /// Where the answers stand, which are to be learnt: header, text and the end of the turn.
    pub answers: Vec<Range<usize>>,
    /// Turns at the end that the limit left no room for.
    pub turns_left_out: usize,
}

/// An image or video of a prompt.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Media {
    /// Image or video.
    pub kind: MediaKind,
    /// Its tiles; for a video, one a frame.
    pub tiles: Tiles,
    /// How the tiles' bytes become numbers.
    pub normalization: Normalization,
    /// Where its tokens stand in [`Prompt::token_ids`].
    pub positions: Range<usize>,
    /// Width and height before resizing; for a video, of its first frame.
    pub size_wh: (u32, u32),
    /// Which frame of the video each tile shows; empty for an image.
    pub frames: Vec<FramePosition>,
}

impl Media {
    /// Number of its tokens.
    #[must_use]
    pub fn num_tokens(&self) -> usize {
        self.positions.len()
    }

    /// What the vision tower reads, `[tiles, 3, T, T]`.
    #[must_use]
    pub fn pixel_values(&self) -> Vec<f32> {
        self.tiles.normalized(&self.normalization)
    }
}

/// What a conversation costs, known before any picture is resized.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PromptSize {
    /// Tokens in all.
    pub prompt_tokens: usize,
    /// Tokens that are not of an image or video.
    pub text_tokens: usize,
    /// Images and videos in the order of their placeholders.
    pub media: Vec<MediaSize>,
}

/// What one image or video costs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MediaSize {
    /// Image or video.
    pub kind: MediaKind,
    /// Width and height before resizing; for a video, of its first frame.
    pub size_wh: (u32, u32),
    /// The grid behind the thumbnail, if there is one.
    pub grid: Option<Grid>,
    /// Tiles, the thumbnail included; for a video, frames.
    pub num_tiles: usize,
    /// Tokens.
    pub num_tokens: usize,
}
