//! `config.json` and `generation_config.json`, in both generations of their keys.

use std::path::Path;

use plm_llm::DecoderConfig;
use plm_processor::PromptSize;
use plm_projector::ProjectorConfig;
use plm_vision::PerceptionEncoderConfig;
use serde::Deserialize;

use self::raw::{Ids, RawConfig};
use crate::Error;

mod quantization;
mod raw;

/// Who rounded a checkpoint's weights, where plm did.
pub(crate) const QUANT_METHOD: &str = "plm";

/// Who rounds weights to NF4.
pub(crate) const BITSANDBYTES: &str = "bitsandbytes";

/// Everything that `config.json` says of a PerceptionLM, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The vision tower.
    pub vision: PerceptionEncoderConfig,
    /// The projector.
    pub projector: ProjectorConfig,
    /// The text decoder.
    pub text: DecoderConfig,
    /// Token that stands for a cell of an image.
    pub image_token_id: u32,
    /// Token that stands for a cell of a video frame.
    pub video_token_id: u32,
    /// Token ids that end an answer, where `generation_config.json` names none.
    pub stop_ids: Vec<u32>,
}

impl Config {
    /// Reads `config.json`.
    ///
    /// `path` only names the file in errors.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] when it is not the expected JSON; [`Error::Config`] when a value is out of
    /// range, contradicts another or is not supported; the stages' own errors for their sizes.
    pub fn from_json(json: &[u8], path: &Path) -> Result<Self, Error> {
        let raw: RawConfig = parse(json, path)?;
        raw.resolve().map_err(|raw::Invalid(what)| Error::Config {
            path: path.to_owned(),
            what,
        })
    }

    /// Checks that a prompt fits the model's positions.
    ///
    /// # Errors
    ///
    /// [`Error::PromptTooLong`] when it does not.
    pub fn check_size(&self, prompt: &PromptSize) -> Result<(), Error> {
        self.check_tokens(
            prompt.prompt_tokens,
            prompt.media.iter().map(|media| media.num_tokens).sum(),
            prompt.media.iter().map(|media| media.num_tiles).sum(),
        )
    }

    /// As [`check_size`](Self::check_size), of a prompt's tokens, those of its media among them,
    /// and its tiles.
    pub(crate) fn check_tokens(
        &self,
        prompt_tokens: usize,
        media_tokens: usize,
        num_tiles: usize,
    ) -> Result<(), Error> {
        let limit = self.text.max_positions;
        if prompt_tokens > limit {
            return Err(Error::PromptTooLong {
                prompt_tokens,
                media_tokens,
                num_tiles,
                limit,
            });
        }
        Ok(())
    }

    /// Image tokens that one tile or frame takes.
    pub fn tokens_per_tile(&self) -> usize {
        let side = self.vision.grid() / self.projector.pooling_ratio;
        side * side
    }

    /// Number of parameters, computed from the sizes.
    pub fn num_parameters(&self) -> u64 {
        let v = &self.vision;
        let size = |value: usize| value as u128;
        let (width, hidden) = (size(v.width), size(v.mlp_width()));
        let cls = u128::from(v.class_token);
        let tokens = size(v.grid()) * size(v.grid()) + cls;
        let gammas = if v.layer_scale { 2 * width } else { 0 };
        let block = 4 * width // norms
            + (width + 1) * 3 * width // qkv
            + (width + 1) * width // proj
            + (width + 1) * hidden + (hidden + 1) * width // MLP
            + gammas;
        let norms = if v.use_post_transformer_norm { 4 } else { 2 } * width;
        let patch = 3 * size(v.patch_size) * size(v.patch_size) * width;
        let vision = (cls + tokens) * width + patch + norms + size(v.depth) * block;

        let t = &self.text;
        let dim = size(t.hidden_size);
        let projector = (width + 1) * dim + (dim + 1) * dim;
        let query = size(t.num_heads) * size(t.head_dim);
        let kv = size(t.num_kv_heads) * size(t.head_dim);
        let layer = 2 * dim // norms
            + 2 * dim * query + 2 * dim * kv // attention
            + 3 * dim * size(t.intermediate_size); // MLP
        let embeddings = if t.tie_word_embeddings { 1 } else { 2 };
        let text = embeddings * size(t.vocab_size) * dim + size(t.num_layers) * layer + dim;
        u64::try_from(vision + projector + text).unwrap_or(u64::MAX)
    }
}

/// Stop ids of `generation_config.json`, if it names any.
///
/// # Errors
///
/// [`Error::Json`] when it is not the expected JSON.
pub(crate) fn generation_stop_ids(json: &[u8], path: &Path) -> Result<Option<Vec<u32>>, Error> {
    #[derive(Deserialize)]
    struct Raw {
        eos_token_id: Option<Ids>,
    }
    let raw: Raw = parse(json, path)?;
    Ok(raw.eos_token_id.map(Ids::into_vec))
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8], path: &Path) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|source| Error::Json {
        path: path.to_owned(),
        source,
    })
}
