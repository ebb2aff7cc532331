//! From a conversation with pictures to what a PerceptionLM checkpoint reads: token ids, and tiles
//! of pixels for some of them.
//!
//! Who is responsible for what:
//!
//! - [`Image`] decodes a picture file to upright 8-bit RGB, within [`DecodeLimits`]. JPEG files are
//!   decoded with libjpeg's arithmetic, as the reference does.
//! - [`Grid`] chooses how many tiles a picture gets, [`resize()`] squashes it to them, and
//!   [`Tiles`] holds the cut result.
//! - [`Conversation`] says who said what and showed which picture; it is built in code or read
//!   from the reference's JSON.
//! - [`Tokenizer`] turns text into ids and ids into text, [`TextStream`] while they arrive.
//! - [`regions`] asks for boxes in pictures and for intervals in videos, reads them in answers, and
//!   draws boxes.
//! - [`Processor`] reads a checkpoint's files and joins all of it: [`Processor::encode`] gives a
//!   [`Prompt`], and [`Processor::measure`] its exact size before any work is done.
//!
//! Results equal the Python reference's, ids and pixels alike, with these deviations on purpose:
//! names of special tokens in a conversation's texts stay text unless
//! [`EncodeOptions::parse_special`] is set, message content given as a plain string is not dropped,
//! a system message given as a list is its joined text, and several pictures of different tile
//! counts can share a prompt.
//!
//! There are no tensors in this crate and nothing runs on a device.
//!
//! libjpeg, the only part in C, leaves a damaged JPEG file by unwinding, which [`Image`] turns into
//! an error. A program built with `panic = "abort"` would end there instead.
//!
//! ```
//! use plm_processor::{Grid, Image, Normalization, Tiles};
//!
//! let picture = Image::from_rgb8(640, 480, vec![200; 640 * 480 * 3])?;
//! let grid = Grid::choose(picture.width(), picture.height(), 448, 36);
//! assert_eq!((grid.columns, grid.rows), (7, 5));
//!
//! let tiles = Tiles::thumb_tile(&picture, 448, 4)?;
//! assert_eq!(tiles.len(), 5); // the thumbnail and 2x2 tiles
//! assert_eq!(tiles.tile_u8(0).len(), 3 * 448 * 448);
//!
//! let normalization = Normalization::new([0.5; 3], [0.5; 3], 1.0 / 255.0);
//! assert_eq!(tiles.normalized(&normalization)[0], (200.0 - 127.5) / 127.5);
//! # Ok::<(), plm_processor::Error>(())
//! ```

mod config;
mod conversation;
mod error;
mod files;
mod grid;
mod guard;
mod image;
mod jpeg;
mod medium;
mod meta;
mod named_tokens;
mod orientation;
mod processor;
mod prompt;
pub mod regions;
mod resize;
mod template;
mod tiles;
mod tokenizer;
mod video;

pub use config::{MAX_NUM_TILES, MAX_TILE_BYTES, MAX_TILE_SIZE, ProcessorConfig};
pub use conversation::{Content, Conversation, Fault, Message, Role};
pub use error::{Error, Result};
pub use files::ProcessorFiles;
pub use grid::Grid;
pub use image::{DecodeLimits, Image, SUPPORTED_FORMATS};
pub use meta::Rules;
pub use named_tokens::NUM_SPECIAL_TOKENS;
pub use processor::Processor;
pub use prompt::{EncodeOptions, Media, MediaKind, MediaSize, Prompt, PromptSize, TrainingPrompt};
pub use resize::resize;
pub use template::{
    DEFAULT_CHAT_TEMPLATE, MAX_TEMPLATE_BYTES, MAX_TEMPLATE_SOURCE_BYTES, MAX_TEMPLATE_STEPS,
};
pub use tiles::{Normalization, Tiles, VisionInputType};
pub use tokenizer::{
    MAX_TEXT_BYTES, MAX_WHITESPACE_RUN, SpecialTokens, TextStream, Tokenizer,
    model_of_tokenizer_json, tokenizer_json_of_model,
};
#[cfg(feature = "video")]
pub use video::ContainerFault;
#[cfg(feature = "ffmpeg")]
pub use video::FfmpegFault;
pub use video::{
    FramePosition, FrameRule, FrameSampling, META_MAX_FRAMES, SamplingFault, Video, VideoFault,
};
