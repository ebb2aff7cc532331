//! PerceptionLM in Rust.
//!
//! ```text
//! Conversation ─▶ Processor ─▶ Prompt ─▶ PerceptionEncoder ─▶ Projector ─▶ Decoder ─▶ text
//!                 (tiles + ids)          (one row per patch)  (2x2 pooled)  (KV cache)
//! ```
//!
//! [`PerceptionLM`] loads a checkpoint and answers; the stages are crates of their own and are
//! reached through [`PerceptionLM::processor`] and [`PerceptionLM::model`].
//!
//! ```
//! use plm::{Conversation, Decoding, Image, LoadOptions, PerceptionLM};
//!
//! // The embedded model knows coloured shapes, digits and short words; `from_dir` loads others.
//! let plm = PerceptionLM::embedded(&LoadOptions::default())?;
//! let picture = Image::from_rgb8(64, 48, vec![200; 64 * 48 * 3])?;
//! let ask = Conversation::ask("How many things are there?", [picture.into()]);
//! let decoding = Decoding { max_new_tokens: 8, ..Decoding::default() };
//! let answer = plm.generate(&ask, &decoding)?;
//! assert_eq!(answer.text, "0");
//!
//! let pieces: Result<Vec<String>, plm::Error> = plm.stream(&ask, &decoding)?.collect();
//! assert_eq!(pieces?.concat(), answer.text);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adapter;
mod answer;
mod batch;
mod beams;
mod checkpoint;
mod config;
mod convert;
mod decoding;
mod device;
mod embed_batch;
#[cfg(feature = "embedded")]
mod embedded;
mod error;
mod estimate;
mod feature_cache;
mod fit;
mod forward;
#[cfg(feature = "hub")]
pub mod hub;
mod load_options;
mod model;
mod perception_lm;
mod prefix_cache;
mod progress;
mod quantization;
#[cfg(feature = "random")]
mod random;
mod reply;
mod score;
mod session;
mod stop;
mod stream;
mod trace;

/// Boxes in pictures and intervals in videos: questions, answers, drawing.
pub use plm_processor::regions;
/// The stages, for those who need more than the names below.
pub use {burn, plm_kernels, plm_linear, plm_llm, plm_processor, plm_projector, plm_vision};

pub use adapter::AdapterSource;
pub use answer::{Answer, Finish, Timing, Usage};
pub use checkpoint::{Checkpoint, ParameterVisitor, Weights, WeightsError};
pub use config::Config;
pub use convert::{CHECKPOINT_TEXTS, ConvertOptions, Converted, Layout, convert, layout_of};
pub use decoding::{DEFAULT_MAX_NEW_TOKENS, Decoding};
pub use device::{DeviceChoice, DeviceInfo, GpuApi, device_name, devices, weight_formats};
pub use error::Error;
pub use estimate::Estimate;
pub use load_options::{LoadOptions, Precision};
pub use model::{MediaFeatures, Model};
pub use perception_lm::PerceptionLM;
pub use plm_linear::MatmulPrecision;
pub use plm_llm::{EarlyStopping, Penalties, RandomSampling, Sampling};
pub use plm_processor::{
    Content, Conversation, DecodeLimits, EncodeOptions, FramePosition, FrameRule, FrameSampling,
    Image, META_MAX_FRAMES, Media, Message, Processor, Prompt, PromptSize, Role, Rules, Tiles,
    TrainingPrompt, Video, VisionInputType,
};
pub use progress::{Progress, ProgressFn};
pub use quantization::Quantization;
#[cfg(feature = "random")]
pub use random::{ModelSize, random_checkpoint};
pub use score::Score;
pub use session::{Session, SessionStream};
pub use stream::Stream;
pub use trace::{HostTensor, MediaTrace, Trace};

/// The README's examples, compiled as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
