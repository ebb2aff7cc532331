//! One image or video of a conversation: what it costs, and its tiles.

use crate::config::ProcessorConfig;
use crate::error::Result;
use crate::grid::Grid;
use crate::image::Image;
use crate::meta::{self, Rules};
use crate::prompt::{MediaKind, MediaSize};
use crate::resize::resize;
use crate::tiles::{Resize, Tiles, VisionInputType};
use crate::video::{FramePosition, Video};

/// How pictures are cut, after the options have been applied.
#[derive(Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) vision_input_type: VisionInputType,
    pub(crate) max_num_tiles: u32,
    pub(crate) rules: Rules,
}

/// An image of a conversation, or the frames of a video that are shown.
pub(crate) enum Medium<'a> {
    Image(&'a Image),
    Video(&'a Video, Vec<FramePosition>),
}

impl Medium<'_> {
    /// Counts tiles and tokens without touching a pixel.
    pub(crate) fn size(&self, config: &ProcessorConfig, cut: Cut) -> MediaSize {
        match self {
            Self::Image(image) => {
                let (width, height) = match cut.rules {
                    Rules::HuggingFace => image.size_wh(),
                    Rules::Meta => image.stored_size_wh(),
                };
                let grid = match cut.vision_input_type {
                    VisionInputType::Vanilla => None,
                    VisionInputType::ThumbTile => Some(Grid::choose(
                        width,
                        height,
                        config.tile_size,
                        cut.max_num_tiles,
                    )),
                };
                let num_tiles = 1 + grid.map_or(0, Grid::len);
                MediaSize {
                    kind: MediaKind::Image,
                    size_wh: (width, height),
                    grid,
                    num_tiles,
                    num_tokens: num_tiles * config.tokens_per_tile(),
                }
            }
            Self::Video(video, frames) => MediaSize {
                kind: MediaKind::Video,
                size_wh: video.size_wh(),
                grid: None,
                num_tiles: frames.len(),
                num_tokens: frames.len() * config.tokens_per_frame(),
            },
        }
    }

    /// Resizes and cuts; a video is decoded for it.
    pub(crate) fn tiles(&self, config: &ProcessorConfig, cut: Cut) -> Result<Tiles> {
        match self {
            Self::Image(image) => {
                let image = match cut.rules {
                    Rules::HuggingFace => (*image).clone(),
                    Rules::Meta => image.as_stored(),
                };
                let resize: Resize = match cut.rules {
                    Rules::HuggingFace => resize,
                    Rules::Meta => meta::resize_picture,
                };
                match cut.vision_input_type {
                    VisionInputType::ThumbTile => {
                        Tiles::thumb_tile_by(&image, config.tile_size, cut.max_num_tiles, resize)
                    }
                    VisionInputType::Vanilla => Tiles::vanilla_by(&image, config.tile_size, resize),
                }
            }
            Self::Video(video, frames) => {
                let size = config.frame_size;
                let resize: Resize = match cut.rules {
                    Rules::HuggingFace => resize,
                    Rules::Meta => meta::resize_frame,
                };
                let tiles =
                    video.map_frames(frames, |frame| Tiles::vanilla_by(&frame, size, resize))?;
                Ok(Tiles::joined(&tiles, size))
            }
        }
    }

    /// The frames that are shown, none for an image.
    pub(crate) fn into_frames(self) -> Vec<FramePosition> {
        match self {
            Self::Image(_) => Vec::new(),
            Self::Video(_, frames) => frames,
        }
    }
}
