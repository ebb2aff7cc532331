use std::fmt;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use plm_llm::KvCache;
use plm_processor::{Conversation, EncodeOptions, Processor, Prompt};

use crate::adapter::attach;
use crate::checkpoint::{
    CheckpointFiles, Load, Weights, load_model, model_bytes, read_config, rounded_formats,
    settle_tying,
};
use crate::device::{check_formats, check_memory};
use crate::estimate::weight_bytes;
use crate::feature_cache::FeatureCache;
use crate::prefix_cache::{PrefixCache, Sequence};
use crate::{
    Answer, Checkpoint, Config, Decoding, DeviceChoice, Error, Estimate, LoadOptions, Model,
    Progress, ProgressFn, Quantization, Session, Stream, Timing,
};

/// A loaded PerceptionLM: processor, network and the checkpoint's settings.
///
/// One model serves many threads: what an answer needs lives in the [`Stream`] or [`Session`] that
/// it belongs to. Features of pictures and keys and values of prompts are kept for a while, within
/// the bytes that [`LoadOptions`] allow, so that a second question about the same picture neither
/// encodes nor reads it again.
pub struct PerceptionLM {
    config: Config,
    processor: Processor,
    model: Model,
    device: Device,
    choice: DeviceChoice,
    stop_ids: Vec<u32>,
    weight_bytes: u64,
    load_time: Duration,
    encoding: EncodeOptions,
    features: FeatureCache,
    prefixes: PrefixCache,
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
    /// Loads a checkpoint folder, in Hugging Face's layout or in Meta's `original/` layout.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchFolder`], [`Error::MissingFile`], [`Error::Json`] or [`Error::Config`] for
    /// the folder's files; [`Error::WeightFile`], [`Error::Shards`] or [`Error::Weights`] for the
    /// weights; [`Error::Device`] for the device.
    pub fn from_dir(dir: impl AsRef<Path>, options: &LoadOptions) -> Result<Self, Error> {
        Self::from_files(&CheckpointFiles::find(dir.as_ref())?, options)
    }

    /// Loads the small model that is compiled into this crate.
    ///
    /// It answers questions about pictures and clips of coloured shapes, digits and short words, as
    /// crate `plm-world` makes them, and knows nothing else.
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
        let choice = options.device.settle()?;
        let device = choice.resolve()?;
        let mut config = read_config(files)?;
        // The tokenizer takes about as long as the weights.
        let (checkpoint, model) = thread::scope(|scope| {
            let settings = config.clone();
            let checkpoint = scope.spawn(|| Checkpoint::with_config(files, settings));
            let model = read_model(files, &mut config, (&device, choice), options);
            let checkpoint = checkpoint.join();
            (
                checkpoint.unwrap_or_else(|panic| resume_unwind(panic)),
                model,
            )
        });
        let mut checkpoint = checkpoint?;
        checkpoint.config = config;
        let mut plm = Self::with_model(checkpoint, model?, device, options);
        plm.choice = choice;
        plm.load_time = start.elapsed();
        Ok(plm)
    }

    /// A checkpoint's processor and settings with a network that is there already, such as one that
    /// was trained; of the options, those about weights do not matter.
    ///
    /// The network must be of the config's sizes, and on `device`.
    pub fn with_model(
        checkpoint: Checkpoint,
        model: Model,
        device: Device,
        options: &LoadOptions,
    ) -> Self {
        Self {
            config: checkpoint.config,
            processor: checkpoint.processor,
            stop_ids: checkpoint.stop_ids,
            weight_bytes: model_bytes(&model),
            model,
            device,
            choice: options.device,
            load_time: Duration::ZERO,
            encoding: options.encoding.clone(),
            features: FeatureCache::new(options.feature_cache_bytes),
            prefixes: PrefixCache::new(options.prefix_cache_bytes),
            progress: options.progress.clone(),
        }
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

    /// The network alone.
    pub fn into_model(self) -> Model {
        self.model
    }

    /// Where the model computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The choice that led to the device: what [`DeviceChoice::Auto`] took, or, of a model that was
    /// made [`with_model`](Self::with_model), what its options say.
    pub fn device_choice(&self) -> DeviceChoice {
        self.choice
    }

    /// Bytes that the weights take in memory.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    /// How long loading took.
    pub fn load_time(&self) -> Duration {
        self.load_time
    }

    /// The format in which the decoder's matrices are held: `f32`, `bf16`, `f16`, `q8` or `q4`.
    pub fn format_name(&self) -> &'static str {
        let decoder = &self.model.language_model;
        match decoder.layers.first() {
            Some(layer) => layer.mlp.up_proj.weight.format_name(),
            None => decoder.embed_tokens.weight.format_name(),
        }
    }

    /// Turns a conversation into a prompt: tiles and token ids.
    ///
    /// # Errors
    ///
    /// The processor's error when a picture, the text or the template is at fault;
    /// [`Error::PromptTooLong`], before any tile is cut, when it exceeds the model's positions.
    pub fn encode(&self, conversation: &Conversation) -> Result<Prompt, Error> {
        self.encode_with(conversation, &self.encoding)
    }

    /// As [`encode`](Self::encode), with other settings than the model was loaded with.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_with(
        &self,
        conversation: &Conversation,
        options: &EncodeOptions,
    ) -> Result<Prompt, Error> {
        let size = self.processor.measure(conversation, options)?;
        self.config.check_size(&size)?;
        Ok(self.processor.encode(conversation, options)?)
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
        let max_new_tokens = decoding.max_new_tokens;
        Ok(Estimate {
            weight_bytes: self.weight_bytes,
            ..Estimate::new(&self.config, &size, max_new_tokens, &LoadOptions::default())
        })
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
        let sequence = (!self.prefixes.is_off()).then(|| Sequence::of(prompt));
        let features = match &sequence {
            Some(sequence) => prompt
                .media
                .iter()
                .zip(sequence.media_keys())
                .map(|(media, key)| self.embed_known(media, key))
                .collect::<Result<Vec<_>, _>>()?,
            None => self.embed_all_media(prompt)?,
        };
        let timing = Timing {
            vision: start.elapsed(),
            ..Timing::default()
        };
        let cache = sequence.as_ref().and_then(|s| self.prefixes.take(s));
        let cache = cache.unwrap_or_else(|| self.model.language_model.new_cache());
        Stream::start(self, prompt, &features, cache, sequence, decoding, timing)
    }

    /// Keeps the cache of an answer for prompts that begin as it does.
    pub(crate) fn keep(&self, sequence: Sequence, cache: KvCache) {
        self.prefixes.put(sequence, cache);
    }

    /// The embeddings of the pictures that were seen last.
    pub(crate) fn features(&self) -> &FeatureCache {
        &self.features
    }

    /// Starts a conversation of several turns that keeps what it has read.
    pub fn session(&self) -> Session<'_> {
        Session::new(self)
    }

    /// Tells of progress whoever asked for it.
    pub(crate) fn report(&self, progress: Progress) {
        if let Some(report) = &self.progress {
            report(progress);
        }
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
        // The last token of an answer is never read, so it needs no position.
        let room = self.config.text.max_positions - prompt.token_ids.len() + 1;
        Ok(max_new_tokens.min(room))
    }

    /// Checks that a prompt is not empty and fits the model's positions.
    pub(crate) fn check_prompt(&self, prompt: &Prompt) -> Result<(), Error> {
        if prompt.token_ids.is_empty() {
            return Err(Error::Prompt {
                what: "it has no token".into(),
            });
        }
        let media_tokens = prompt.media.iter().map(|m| m.positions.len()).sum();
        let num_tiles = prompt.media.iter().map(|m| m.tiles.len()).sum();
        self.config
            .check_tokens(prompt.token_ids.len(), media_tokens, num_tiles)
    }
}

/// Reads the weights of a model, of whose config it settles what the weights decide.
fn read_model(
    files: &CheckpointFiles,
    config: &mut Config,
    (device, choice): (&Device, DeviceChoice),
    options: &LoadOptions,
) -> Result<Model, Error> {
    let mut weights = Weights::from_files(files)?;
    settle_tying(&mut config.text, &mut weights)?;
    let dtype = options.precision.dtype();
    let stored = rounded_formats(&weights);
    // What is stored rounded stays so.
    let as_stored = dtype.is_none() && options.quantize.is_none() || !stored.is_empty();
    let weight_bytes = match as_stored {
        true => weights.num_bytes(),
        false => weight_bytes(config, options),
    };
    let mut wanted = stored;
    wanted.extend(dtype.map(|dtype| dtype.name()));
    wanted.extend(options.quantize.map(Quantization::name));
    check_formats(device, choice, wanted)?;
    check_memory(device, choice, weight_bytes)?;
    let load = Load {
        dtype,
        quantize: options.quantize,
        matmul_precision: options.matmul_precision,
        share: !options.copy_weights,
        device,
        progress: options.progress.as_ref(),
    };
    // What a model that is gone has left in the memory of a GPU.
    device
        .sync()
        .map_err(|error| Error::of_device(device, &error))?;
    device.memory_cleanup();
    // Weights stay, so each takes what it needs, and no part of a larger piece.
    let model = device.memory_persistent_allocations(config.init(device)?, |model| {
        load_model(model, &weights, &load)
    });
    let mut model = model?;
    for adapter in &options.adapters {
        attach(&mut model, adapter, device)?;
    }
    Ok(model)
}
