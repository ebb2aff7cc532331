use std::path::PathBuf;
use std::{fmt, io};

use burn::tensor::Device;

use crate::checkpoint::WeightsError;
use crate::device::device_name;

/// What can go wrong when a model is loaded or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The checkpoint's folder does not exist.
    #[error("{}: there is no such folder; give the folder of a checkpoint", dir.display())]
    NoSuchFolder {
        /// The folder.
        dir: PathBuf,
    },
    /// A file that a checkpoint needs does not exist.
    #[error("{}: the checkpoint lacks this file; download it again", path.display())]
    MissingFile {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("{}: cannot be written", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A checkpoint has something that the other layout has no words for.
    #[error("Meta's layout cannot say of a checkpoint that it has {what}")]
    Inexpressible {
        /// What it has.
        what: String,
    },
    /// A JSON file is damaged or lacks a key.
    #[error("{}: not the expected JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A config holds a value that is out of range, contradicts another, or is not supported.
    #[error("{}: {what}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The value and the rule.
        what: String,
    },
    /// A weight file is damaged.
    #[error("{}: {what}", path.display())]
    WeightFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The index of a sharded checkpoint and its shards disagree.
    #[error("{}: {what}", path.display())]
    Shards {
        /// The index or the shard.
        path: PathBuf,
        /// What disagrees.
        what: String,
    },
    /// A tensor was asked for that the checkpoint does not hold.
    #[error("the checkpoint holds no tensor `{name}` of f32, f16 or bf16")]
    MissingTensor {
        /// The tensor.
        name: String,
    },
    /// The checkpoint's tensors are not those of the model that its config describes.
    #[error("the checkpoint's tensors do not fit its config: {0}")]
    Weights(Box<WeightsError>),
    /// A device that does not exist or is not built in.
    #[error("device `{name}`: {what}")]
    Device {
        /// The device.
        name: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// A decoding setting that contradicts another or is out of range.
    #[error("{what}")]
    Decoding {
        /// The setting and the rule.
        what: String,
    },
    /// The prompt alone, or a picture in it, is too long for the model.
    #[error("{}", too_long(*prompt_tokens, *media_tokens, *num_tiles, *limit))]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Those that stand for pictures.
        media_tokens: usize,
        /// Tiles of all pictures.
        num_tiles: usize,
        /// Positions of the model.
        limit: usize,
    },
    /// A prompt was made by a processor that does not belong to the model.
    #[error("the prompt does not fit the model: {what}")]
    Prompt {
        /// What does not fit.
        what: String,
    },
    /// Pictures, text or template.
    #[error(transparent)]
    Processor(#[from] plm_processor::Error),
    /// The vision tower.
    #[error(transparent)]
    Vision(#[from] plm_vision::Error),
    /// The projector.
    #[error(transparent)]
    Projector(#[from] plm_projector::Error),
    /// The text decoder.
    #[error(transparent)]
    Decoder(#[from] plm_llm::Error),
    /// Downloading.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] crate::hub::HubError),
}

impl Error {
    /// That a device failed, as for want of memory, before its numbers could be read.
    pub fn of_device(device: &Device, error: &impl fmt::Display) -> Self {
        Self::device(device, format!("it fails: {error}"))
    }

    pub(crate) fn device(device: &Device, what: String) -> Self {
        let name = device_name(device);
        Self::Device { name, what }
    }
}

fn too_long(prompt_tokens: usize, media_tokens: usize, num_tiles: usize, limit: usize) -> String {
    if num_tiles == 0 {
        return format!(
            "the prompt has {prompt_tokens} tokens, the model has {limit} positions; shorten the text"
        );
    }
    format!(
        "the prompt has {prompt_tokens} tokens ({media_tokens} of them for {num_tiles} tiles of pictures and frames of videos), the model has {limit} positions; set `max_num_tiles` or `num_frames` lower, or `vision_input_type` to `vanilla`, or give fewer pictures"
    )
}
