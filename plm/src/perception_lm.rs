use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use burn::tensor::{DType, Device, Tensor};
use plm_llm::{KvCache, PREFILL_CHUNK};
use plm_processor::{Conversation, EncodeOptions, Media, Processor, ProcessorFiles, Prompt};

use crate::checkpoint::{CheckpointFiles, Weights, load_model, model_bytes};
use crate::config::generation_stop_ids;
use crate::{
    Answer, Config, Decoding, DeviceChoice, Error, Estimate, Model, Progress, ProgressFn, Session,
    Stream, Timing,
};

/// In which precision the weight matrices are held.
///
/// Activations are f32 always, and so are norms, biases, scales and positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Each matrix as the checkpoint stores it.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// 16 bits, the exponent of f32.
    Bf16,
    /// 16 bits, a wider mantissa and a smaller range than bf16.
    F16,
}

impl Precision {
    fn dtype(self) -> Option<DType> {
        match self {
            Self::Auto => None,
            Self::F32 => Some(DType::F32),
            Self::Bf16 => Some(DType::BF16),
            Self::F16 => Some(DType::F16),
        }
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            _ => Err(Error::Decoding {
                what: format!("dtype `{name}` is none of auto, f32, bf16, f16"),
            }),
        }
    }
}

/// How a model is loaded.
#[derive(Clone, Default)]
pub struct LoadOptions {
    /// Where it computes.
    pub device: DeviceChoice,
    /// In which precision it holds its matrices.
    pub precision: Precision,
    /// How conversations become prompts, unless a call says otherwise.
    pub encoding: EncodeOptions,
    /// Told of the progress of loading, and later of encoding pictures and reading prompts.
    pub progress: Option<ProgressFn>,
}

impl fmt::Debug for LoadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions")
            .field("device", &self.device)
            .field("precision", &self.precision)
            .field("encoding", &self.encoding)
            .finish_non_exhaustive()
    }
}

/// A loaded PerceptionLM: processor, network and the checkpoint's settings.
///
/// Nothing in it changes while it answers, so that one model serves many threads: caches live in
/// the [`Stream`] or [`Session`] that they belong to.
pub struct PerceptionLM {
    config: Config,
    processor: Processor,
    model: Model,
    device: Device,
    stop_ids: Vec<u32>,
    weight_bytes: u64,
    load_time: Duration,
    encoding: EncodeOptions,
    progress: Option<ProgressFn>,
}

impl fmt::Debug for PerceptionLM {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerceptionLM")
            .field("config", &self.config)
            .field("device", &self.device)
            .field("weight_bytes", &self.weight_bytes)
            .finish_non_exhaustive()
    }
}

impl PerceptionLM {
    /// Loads a checkpoint folder in Hugging Face layout.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchFolder`], [`Error::MissingFile`], [`Error::Json`] or [`Error::Config`] for
    /// the folder's files; [`Error::WeightFile`], [`Error::Shards`] or [`Error::Weights`] for the
    /// weights; [`Error::Device`] for the device.
    pub fn from_dir(dir: impl AsRef<Path>, options: &LoadOptions) -> Result<Self, Error> {
        Self::from_files(&CheckpointFiles::Dir(dir.as_ref().to_owned()), options)
    }

    /// Loads the small checkpoint that is compiled into this crate.
    ///
    /// Its weights are random: it shows that everything works, and its answers mean nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] when the device is not built in.
    #[cfg(feature = "embedded")]
    pub fn embedded(options: &LoadOptions) -> Result<Self, Error> {
        Self::from_files(&crate::embedded::FILES, options)
    }

    /// Downloads a checkpoint from a Hugging Face hub, or finds it in the cache, and loads it.
    ///
    /// # Errors
    ///
    /// [`Error::Hub`] when it cannot be had; otherwise as [`from_dir`](Self::from_dir).
    #[cfg(feature = "hub")]
    pub fn from_hub(
        repo_id: &str,
        hub: &crate::hub::HubOptions,
        options: &LoadOptions,
    ) -> Result<Self, Error> {
        let snapshot = crate::hub::download(repo_id, hub)?;
        Self::from_dir(snapshot.dir, options)
    }

    fn from_files(files: &CheckpointFiles, options: &LoadOptions) -> Result<Self, Error> {
        let start = Instant::now();
        let device = options.device.resolve()?;
        let checkpoint = Checkpoint::from_files(files)?;
        let weights = Weights::from_files(files)?;
        let model = load_model(
            checkpoint.config.init(&device)?,
            &weights,
            options.precision.dtype(),
            &device,
            options.progress.as_ref(),
        )?;
        let weight_bytes = model_bytes(&model);
        Ok(Self {
            config: checkpoint.config,
            processor: checkpoint.processor,
            stop_ids: checkpoint.stop_ids,
            model,
            device,
            weight_bytes,
            load_time: start.elapsed(),
            encoding: options.encoding.clone(),
            progress: options.progress.clone(),
        })
    }

    /// Sizes and constants of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The processor: tiles, template and tokenizer.
    pub fn processor(&self) -> &Processor {
        &self.processor
    }

    /// The network.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Where the model computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Bytes that the weights take in memory.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    /// How long loading took.
    pub fn load_time(&self) -> Duration {
        self.load_time
    }

    /// The precision in which the decoder's matrices are held: `f32`, `bf16` or `f16`.
    pub fn precision_name(&self) -> &'static str {
        self.model
            .language_model
            .embed_tokens
            .weight
            .val()
            .dtype()
            .name()
    }

    /// Turns a conversation into a prompt: tiles and token ids.
    ///
    /// # Errors
    ///
    /// The processor's error when a picture, the text or the template is at fault;
    /// [`Error::PromptTooLong`], before any tile is cut, when it exceeds the model's positions.
    pub fn encode(&self, conversation: &Conversation) -> Result<Prompt, Error> {
        let size = self.processor.measure(conversation, &self.encoding)?;
        let media_tokens = size.media.iter().map(|media| media.num_tokens).sum();
        let num_tiles = size.media.iter().map(|media| media.num_tiles).sum();
        self.check_length(size.prompt_tokens, media_tokens, num_tiles)?;
        Ok(self.processor.encode(conversation, &self.encoding)?)
    }

    /// What a conversation and its answer would cost; nothing is run.
    ///
    /// # Errors
    ///
    /// The processor's error when the text or the template is at fault.
    pub fn estimate(
        &self,
        conversation: &Conversation,
        decoding: &Decoding,
    ) -> Result<Estimate, Error> {
        let size = self.processor.measure(conversation, &self.encoding)?;
        Ok(Estimate::new(&self.config, &size, decoding.max_new_tokens))
    }

    /// Answers a conversation.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode), and [`Error::Decoding`] when a setting is out of range.
    pub fn generate(
        &self,
        conversation: &Conversation,
        decoding: &Decoding,
    ) -> Result<Answer, Error> {
        let start = Instant::now();
        let prompt = self.encode(conversation)?;
        let preprocess = start.elapsed();
        let mut answer = self.generate_prompt(&prompt, decoding)?;
        answer.timing.preprocess = preprocess;
        Ok(answer)
    }

    /// Answers a prompt.
    ///
    /// # Errors
    ///
    /// [`Error::PromptTooLong`] when it exceeds the model's positions, [`Error::Decoding`] when a
    /// setting is out of range.
    pub fn generate_prompt(&self, prompt: &Prompt, decoding: &Decoding) -> Result<Answer, Error> {
        if decoding.num_beams > 1 {
            return self.generate_beams(prompt, decoding);
        }
        self.stream_prompt(prompt, decoding)?.into_answer()
    }

    /// Answers a conversation piece by piece.
    ///
    /// The prompt is read before this returns; each piece is then computed when it is asked for,
    /// and dropping the stream cancels the rest.
    ///
    /// # Errors
    ///
    /// As [`generate`](Self::generate); a beam search cannot be streamed.
    pub fn stream(
        &self,
        conversation: &Conversation,
        decoding: &Decoding,
    ) -> Result<Stream<'_>, Error> {
        self.stream_prompt(&self.encode(conversation)?, decoding)
    }

    /// Answers a prompt piece by piece.
    ///
    /// # Errors
    ///
    /// As [`generate_prompt`](Self::generate_prompt); a beam search cannot be streamed.
    pub fn stream_prompt(&self, prompt: &Prompt, decoding: &Decoding) -> Result<Stream<'_>, Error> {
        decoding.check()?;
        self.check_prompt(prompt)?;
        let start = Instant::now();
        let features = self.embed_all_media(prompt)?;
        let timing = Timing {
            vision: start.elapsed(),
            ..Timing::default()
        };
        let cache = self.model.language_model.new_cache();
        Stream::start(self, prompt, &features, cache, decoding, timing)
    }

    /// Starts a conversation of several turns that keeps what it has read.
    pub fn session(&self) -> Session<'_> {
        Session::new(self)
    }

    /// Embeddings of a whole prompt, `[tokens, text_width]`.
    pub(crate) fn embed(&self, prompt: &Prompt) -> Result<Tensor<2>, Error> {
        self.check_prompt(prompt)?;
        let features = self.embed_all_media(prompt)?;
        self.model.embed(prompt, &features, 0, &self.device)
    }

    fn embed_all_media(&self, prompt: &Prompt) -> Result<Vec<Tensor<2>>, Error> {
        prompt.media.iter().map(|m| self.embed_media(m)).collect()
    }

    /// Token embeddings of one picture, with progress.
    pub(crate) fn embed_media(&self, media: &Media) -> Result<Tensor<2>, Error> {
        let total_tiles = media.tiles.len();
        self.model
            .embed_media_observed(media, &self.device, |tiles| {
                self.report(Progress::Encoding { tiles, total_tiles });
            })
    }

    fn report(&self, progress: Progress) {
        if let Some(report) = &self.progress {
            report(progress);
        }
    }

    /// Embeddings of one token for each sequence of a batch, `[ids, 1, text_width]`.
    pub(crate) fn embed_tokens(&self, ids: &[u32]) -> Result<Tensor<3>, Error> {
        let embeddings = self.model.language_model.embed(ids, &self.device)?;
        Ok(embeddings.unsqueeze_dim(1))
    }

    /// Reads embeddings and returns the logits after the last, for each sequence.
    pub(crate) fn extend_for_logits(
        &self,
        embeddings: Tensor<3>,
        cache: &mut KvCache,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let decoder = &self.model.language_model;
        let total_tokens = embeddings.dims()[1];
        decoder.check_room(cache, total_tokens)?;
        let mut hidden = embeddings.clone();
        for start in (0..total_tokens).step_by(PREFILL_CHUNK) {
            let size = PREFILL_CHUNK.min(total_tokens - start);
            hidden = decoder.extend(embeddings.clone().narrow(1, start, size), cache)?;
            if total_tokens > 1 {
                self.report(Progress::Reading {
                    tokens: start + size,
                    total_tokens,
                });
            }
        }
        let last = hidden.dims()[1] - 1;
        self.logit_rows(hidden.narrow(1, last, 1))
    }

    /// Logits of hidden states `[batch, 1, text_width]` on the host.
    pub(crate) fn logit_rows(&self, hidden: Tensor<3>) -> Result<Vec<Vec<f32>>, Error> {
        let logits = self.model.language_model.logits(hidden);
        let vocab_size = logits.dims()[2];
        let values: Vec<f32> =
            logits
                .into_data()
                .try_into_vec()
                .map_err(|error| Error::Device {
                    name: format!("{:?}", self.device),
                    what: format!("logits cannot be read back: {error:?}"),
                })?;
        Ok(values.chunks(vocab_size).map(<[f32]>::to_vec).collect())
    }

    /// The token ids that end an answer.
    pub(crate) fn stop_ids(&self, decoding: &Decoding) -> Vec<u32> {
        let mut ids = [self.stop_ids.as_slice(), &decoding.stop_ids].concat();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// How many of `max_new_tokens` fit after a prompt.
    pub(crate) fn room_for_answer(
        &self,
        prompt: &Prompt,
        max_new_tokens: usize,
    ) -> Result<usize, Error> {
        self.check_prompt(prompt)?;
        Ok(max_new_tokens.min(self.config.text.max_positions - prompt.token_ids.len()))
    }

    /// Checks that a prompt is not empty and leaves room for an answer.
    pub(crate) fn check_prompt(&self, prompt: &Prompt) -> Result<(), Error> {
        if prompt.token_ids.is_empty() {
            return Err(Error::Prompt {
                what: "it has no token".into(),
            });
        }
        let media_tokens = prompt.media.iter().map(|m| m.positions.len()).sum();
        let num_tiles = prompt.media.iter().map(|m| m.tiles.len()).sum();
        self.check_length(prompt.token_ids.len(), media_tokens, num_tiles)
    }

    fn check_length(
        &self,
        prompt_tokens: usize,
        media_tokens: usize,
        num_tiles: usize,
    ) -> Result<(), Error> {
        let limit = self.config.text.max_positions;
        if prompt_tokens >= limit {
            return Err(Error::PromptTooLong {
                prompt_tokens,
                media_tokens,
                num_tiles,
                limit,
            });
        }
        Ok(())
    }
}

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

impl Checkpoint {
    /// Reads a checkpoint folder's config and processor files.
    ///
    /// # Errors
    ///
    /// As [`PerceptionLM::from_dir`], for everything but weights and device.
    pub fn from_dir(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::from_files(&CheckpointFiles::Dir(dir.into()))
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

    fn from_files(files: &CheckpointFiles) -> Result<Self, Error> {
        let config_path = files.path("config.json");
        let config = Config::from_json(&files.require("config.json")?, &config_path)?;
        let processor = read_processor(files)?;
        check_agreement(&config, &processor, &config_path)?;
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
