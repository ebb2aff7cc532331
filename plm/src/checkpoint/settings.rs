use std::fmt;
use std::path::{Path, PathBuf};

use plm_processor::{Processor, ProcessorFiles};

use super::CheckpointFiles;
use crate::config::generation_stop_ids;
use crate::{Config, Error};

/// A checkpoint's config and processor, without its weights.
///
/// It counts tokens and prices prompts of models that need not be loaded, or not even fit.
pub struct Checkpoint {
    /// Sizes and constants of the model.
    pub config: Config,
    /// The processor: tiles, template and tokenizer.
    pub processor: Processor,
    /// Token ids that end an answer.
    pub stop_ids: Vec<u32>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("config", &self.config)
            .field("stop_ids", &self.stop_ids)
            .finish_non_exhaustive()
    }
}

impl Checkpoint {
    /// Reads a checkpoint folder's config and processor files.
    ///
    /// # Errors
    ///
    /// As [`PerceptionLM::from_dir`](crate::PerceptionLM::from_dir), for everything but weights and device.
    pub fn from_dir(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::from_files(&CheckpointFiles::find(dir)?)
    }

    /// The config and processor that are compiled into this crate.
    ///
    /// # Errors
    ///
    /// None, as long as the crate's own files are sound.
    #[cfg(feature = "embedded")]
    pub fn embedded() -> Result<Self, Error> {
        Self::from_files(&crate::embedded::FILES)
    }

    pub(crate) fn from_files(files: &CheckpointFiles) -> Result<Self, Error> {
        Self::with_config(files, read_config(files)?)
    }

    /// Reads all but the config, and checks that it agrees.
    pub(crate) fn with_config(files: &CheckpointFiles, config: Config) -> Result<Self, Error> {
        let processor = read_processor(files)?;
        check_agreement(&config, &processor, &files.path("config.json"))?;
        let stop_ids = match files.read("generation_config.json")? {
            Some(json) => generation_stop_ids(&json, &files.path("generation_config.json"))?,
            None => None,
        };
        Ok(Self {
            stop_ids: stop_ids.unwrap_or_else(|| config.stop_ids.clone()),
            config,
            processor,
        })
    }
}

pub(crate) fn read_config(files: &CheckpointFiles) -> Result<Config, Error> {
    Config::from_json(&files.require("config.json")?, &files.path("config.json"))
}

fn read_processor(files: &CheckpointFiles) -> Result<Processor, Error> {
    let origin = files.path("");
    let mut parts = ProcessorFiles::new(
        origin.display().to_string(),
        files.require("tokenizer.json")?,
    );
    parts.tokenizer_config = files.read("tokenizer_config.json")?;
    parts.processor_config = files.read("processor_config.json")?;
    parts.preprocessor_config = files.read("preprocessor_config.json")?;
    parts.video_preprocessor_config = files.read("video_preprocessor_config.json")?;
    parts.chat_template = files.read("chat_template.jinja")?;
    parts.chat_template_json = files.read("chat_template.json")?;
    Ok(Processor::from_files(&parts)?)
}

/// Checks that the processor makes the tiles and placeholders that the model takes.
fn check_agreement(config: &Config, processor: &Processor, path: &Path) -> Result<(), Error> {
    let pairs = [
        (
            "tile size",
            processor.config().tile_size as usize,
            config.vision.image_size,
        ),
        (
            "video frame size",
            processor.config().frame_size as usize,
            config.vision.image_size,
        ),
        (
            "image tokens per tile",
            processor.config().tokens_per_tile(),
            config.tokens_per_tile(),
        ),
        (
            "image token id",
            processor.image_token_id() as usize,
            config.image_token_id as usize,
        ),
        (
            "video token id",
            processor.video_token_id() as usize,
            config.video_token_id as usize,
        ),
    ];
    for (what, theirs, ours) in pairs {
        if theirs != ours {
            return Err(Error::Config {
                path: path.to_owned(),
                what: format!(
                    "{what} is {ours} here, but {theirs} in the processor's and tokenizer's files"
                ),
            });
        }
    }
    Ok(())
}
