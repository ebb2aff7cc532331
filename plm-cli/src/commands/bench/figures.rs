use std::path::Path;
use std::time::Instant;

use plm::burn::tensor::{Device, Tensor};
use plm::plm_linear::host::{in_pool, is_cpu};
use plm::plm_linear::{greatest, read_back};
use plm::{
    Content, Conversation, Decoding, EncodeOptions, Image, LoadOptions, Media, PerceptionLM,
    Precision, Prompt, VisionInputType,
};
use plm_kernels::machine;
use serde::{Deserialize, Serialize};

use crate::args::{BenchArgs, BenchFormat};
use crate::error::Error;
use crate::memory;

/// Tokens before the answers of a batch: one tile and fifty of text.
const SHORT: usize = 306;

/// Tokens from which on a prompt takes long; its rate varies little.
const LONG: usize = 1000;

/// Tokens of an answer.
const ANSWER: usize = 64;

/// Sequences of a batch.
const BATCH: usize = 8;

/// How often the CPU's limit is measured before each time that a figure is.
const LIMIT_REPEAT: usize = 3;

/// What was measured of one format; times are medians in seconds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) format: String,
    pub(crate) weight_bytes: u64,
    /// Weights that are read for one token of an answer.
    pub(crate) bytes_per_token: u64,
    pub(crate) load_s: f64,
    /// A picture of 1920×1147 into tiles.
    pub(crate) preprocess_s: f64,
    pub(crate) preprocess_tiles: usize,
    /// A picture's tiles through vision tower and projector.
    pub(crate) vision: Work,
    pub(crate) prefill: Vec<Work>,
    pub(crate) decode: Vec<Decode>,
    pub(crate) batch: Batch,
    /// One picture of one tile, one question, 64 tokens of answer.
    pub(crate) answer_s: f64,
    /// A second question about the same picture: its time in the vision tower.
    pub(crate) second_question_vision_s: f64,
    /// The most memory that one picture and its answer took.
    pub(crate) peak_rss_bytes: Option<u64>,
    /// The memory of a GPU that is held after all of this, in use or for use to come.
    pub(crate) device_bytes: Option<u64>,
}

/// Work that arithmetic bounds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Work {
    /// Tokens, or tiles.
    pub(crate) count: usize,
    pub(crate) seconds: f64,
    pub(crate) flops: u64,
    /// Operations a second in a large product, on the CPU, in turns with this.
    pub(crate) limit_flops: Option<f64>,
}

/// Tokens of an answer, which memory bounds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Decode {
    /// Tokens before.
    pub(crate) context: usize,
    pub(crate) tokens_per_s: f64,
    /// Weights, keys and values that are read for one token.
    pub(crate) bytes_per_token: u64,
    /// Bytes a second that are read from memory, on the CPU, in turns with this.
    pub(crate) limit_bytes_per_s: Option<f64>,
}

/// Several answers at once.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(crate) sequences: usize,
    /// Of all together.
    pub(crate) tokens_per_s: f64,
}

/// Measures a checkpoint in one format.
pub(crate) fn measure(args: &BenchArgs) -> Result<Figures, Error> {
    let model = args.model.as_deref().unwrap_or(Path::new(""));
    let repeat = usize::from(args.repeat);
    let load = || {
        let options = LoadOptions {
            device: args.device.device,
            precision: match args.formats[0] {
                BenchFormat::F32 => Precision::F32,
                BenchFormat::F16 => Precision::F16,
                _ => Precision::Auto,
            },
            matmul_precision: args.matmul.precision(),
            encoding: EncodeOptions {
                vision_input_type: Some(VisionInputType::Vanilla),
                ..EncodeOptions::default()
            },
            ..LoadOptions::default()
        };
        PerceptionLM::from_dir(model, &options)
    };
    let load_s = median(repeat, || timed(|| Ok(synchronize(load()?.device())?)))?;
    let plm = load()?;
    let config = plm.config();

    let (preprocess_s, preprocess_tiles) = preprocess(&plm, repeat)?;
    let media = media(&plm, args.tiles)?;
    let picture = checkered(448, 448)?;
    let prompt = plm.encode(&ask(&picture, "What is in this picture?"))?;
    let decoding = Decoding {
        max_new_tokens: ANSWER,
        ..Decoding::default()
    };
    let answer_s = warm_median(plm.device(), repeat, || answer(&plm, &prompt, &decoding))?;
    // Of one picture and one answer; what follows needs more.
    let peak_rss_bytes = memory::peak_rss_bytes();

    let mut limit = CpuLimit::new(plm.device(), machine::matrix_rate);
    let vision_s = warm_median(plm.device(), repeat, || {
        limit.measure();
        timed(|| {
            let features = in_pool(plm.device(), || {
                plm.model().embed_media(&media, plm.device())
            });
            Ok(finish(features?)?)
        })
    })?;

    let mut prefill = Vec::new();
    let mut decode = Vec::new();
    for &tokens in &args.prompts {
        let tokens = tokens as usize;
        if tokens + 2 * ANSWER > config.text.max_positions {
            continue;
        }
        let (read, answer) = read_and_answer(&plm, tokens, 1, repeat)?;
        prefill.push(read);
        decode.push(answer);
    }
    let (_, batch) = read_and_answer(&plm, SHORT, BATCH, repeat.min(3))?;
    let second = plm.encode(&ask(&picture, "How many colours are there?"))?;
    plm.generate_prompt(&second, &decoding)?;
    let second = plm.generate_prompt(&second, &decoding)?;
    Ok(Figures {
        format: plm.format_name().to_owned(),
        weight_bytes: plm.weight_bytes(),
        bytes_per_token: plm.model().language_model.bytes_per_token(),
        load_s,
        preprocess_s,
        preprocess_tiles,
        vision: Work {
            count: media.tiles.len(),
            seconds: vision_s,
            flops: config.vision_flops(media.tiles.len()),
            limit_flops: limit.median(),
        },
        prefill,
        decode,
        batch: Batch {
            sequences: BATCH,
            tokens_per_s: batch.tokens_per_s,
        },
        answer_s,
        second_question_vision_s: second.timing.vision.as_secs_f64(),
        peak_rss_bytes,
        device_bytes: plm
            .device()
            .memory_pool_usage()
            .map(|held| held.bytes_reserved),
    })
}

/// A large picture of at most so many tiles.
fn media(plm: &PerceptionLM, most: u16) -> Result<Media, Error> {
    let conversation = ask(&checkered(1920, 1147)?, "What?");
    let options = match most {
        1 => EncodeOptions {
            vision_input_type: Some(VisionInputType::Vanilla),
            ..EncodeOptions::default()
        },
        // One of them is the thumbnail.
        _ => EncodeOptions {
            vision_input_type: Some(VisionInputType::ThumbTile),
            max_num_tiles: Some(u32::from(most) - 1),
            ..EncodeOptions::default()
        },
    };
    let prompt = plm.processor().encode(&conversation, &options);
    let mut media = prompt.map_err(plm::Error::from)?.media;
    Ok(media.remove(0))
}

fn preprocess(plm: &PerceptionLM, repeat: usize) -> Result<(f64, usize), Error> {
    let conversation = ask(&checkered(1920, 1147)?, "What?");
    let options = EncodeOptions {
        vision_input_type: Some(VisionInputType::ThumbTile),
        ..EncodeOptions::default()
    };
    let encode = || plm.processor().encode(&conversation, &options);
    let tiles = encode().map_err(plm::Error::from)?.media[0].tiles.len();
    let seconds = median(repeat, || timed(|| Ok(encode().map_err(plm::Error::from)?)))?;
    Ok((seconds, tiles))
}

/// Seconds of one whole answer, nothing of it being there from before.
fn answer(plm: &PerceptionLM, prompt: &Prompt, decoding: &Decoding) -> Result<f64, Error> {
    timed(|| {
        let model = plm.model();
        let decoder = &model.language_model;
        let id = in_pool(plm.device(), || {
            let features = [model.embed_media(&prompt.media[0], plm.device())?];
            let embeddings = model.embed(prompt, &features, 0, plm.device())?;
            let mut cache = decoder.new_cache();
            let last = decoder.extend_to_last(embeddings.unsqueeze(), &mut cache, |_| {})?;
            let mut id = next_id(decoder.logits(last))?;
            for _ in 1..decoding.max_new_tokens {
                let embedding = decoder.embed(&[id], plm.device())?;
                let hidden = decoder.extend(embedding.unsqueeze(), &mut cache)?;
                id = next_id(decoder.logits(hidden))?;
            }
            Ok::<_, plm::Error>(id)
        })?;
        Ok(id)
    })
}

/// Reads `tokens` tokens, then makes `batch` answers to them.
fn read_and_answer(
    plm: &PerceptionLM,
    tokens: usize,
    batch: usize,
    repeat: usize,
) -> Result<(Work, Decode), Error> {
    let decoder = &plm.model().language_model;
    let device = plm.device();
    let vocab_size = plm.config().text.vocab_size as u32;
    let ids: Vec<u32> = (0..tokens as u32).map(|i| i * 7919 % vocab_size).collect();
    let mut prefill = Vec::new();
    let mut decode = Vec::new();
    let mut matrix_limit = CpuLimit::new(device, machine::matrix_rate);
    let mut read_limit = CpuLimit::new(device, machine::read_bandwidth);
    let repeat = if tokens < LONG { repeat } else { repeat.min(3) };
    // A GPU chooses its kernels the first time; that does not count.
    let warm_up = usize::from(!is_cpu(device));
    for i in 0..warm_up + repeat {
        if i == warm_up {
            prefill.clear();
            decode.clear();
        }
        matrix_limit.measure();
        in_pool(device, || {
            let start = Instant::now();
            let prompt: Tensor<3> = decoder.embed(&ids, device)?.unsqueeze();
            let mut cache = decoder.new_cache();
            let last = decoder.extend_to_last(prompt, &mut cache, |_| {})?;
            let mut id = next_id(decoder.logits(last))?;
            prefill.push(start.elapsed().as_secs_f64());
            cache.select(&vec![0; batch]);
            synchronize(device)?;

            read_limit.measure();
            let start = Instant::now();
            for _ in 0..ANSWER / 2 {
                let embedding: Tensor<3> =
                    decoder.embed(&vec![id; batch], device)?.unsqueeze_dim(1);
                let hidden = decoder.extend(embedding, &mut cache)?;
                id = next_id(decoder.logits(hidden))?;
            }
            let made = (batch * ANSWER / 2) as f64;
            decode.push(made / start.elapsed().as_secs_f64());
            Ok::<_, plm::Error>(())
        })?;
    }
    let config = plm.config();
    let read = Work {
        count: tokens,
        seconds: middle(prefill),
        flops: config.prefill_flops(tokens),
        limit_flops: matrix_limit.median(),
    };
    let answer = Decode {
        context: tokens,
        tokens_per_s: middle(decode),
        bytes_per_token: decoder.bytes_per_token()
            + config.text.kv_cache_bytes(tokens + ANSWER / 2),
        limit_bytes_per_s: read_limit.median(),
    };
    Ok((read, answer))
}

/// What the CPU can do at most, measured in turns with a figure: a shared machine changes from minute to
/// minute.
struct CpuLimit {
    of_cpu: Option<fn(usize) -> f64>,
    rates: Vec<f64>,
}

impl CpuLimit {
    fn new(device: &Device, rate: fn(usize) -> f64) -> Self {
        Self {
            of_cpu: is_cpu(device).then_some(rate),
            rates: Vec::new(),
        }
    }

    fn measure(&mut self) {
        let rate = self.of_cpu.map(|rate| rate(LIMIT_REPEAT));
        self.rates.extend(rate);
    }

    fn median(self) -> Option<f64> {
        self.of_cpu.map(|_| middle(self.rates))
    }
}

/// The token of the greatest logit, of the first sequence; all are looked at.
fn next_id(logits: Tensor<3>) -> Result<u32, plm::Error> {
    let device = logits.device();
    let ids =
        greatest(logits.flatten(0, 1)).map_err(|error| plm::Error::of_device(&device, &error))?;
    Ok(ids.first().copied().flatten().unwrap_or(0))
}

/// A picture of coloured fields.
fn checkered(width: u32, height: u32) -> Result<Image, Error> {
    let pixels = (0..height).flat_map(|y| {
        (0..width).flat_map(move |x| {
            let field = (x / 40 + y / 40 * 7) as u8;
            [
                field.wrapping_mul(37),
                field.wrapping_mul(91),
                field.wrapping_mul(151),
            ]
        })
    });
    Ok(Image::from_rgb8(width, height, pixels.collect()).map_err(plm::Error::from)?)
}

fn ask(picture: &Image, question: &str) -> Conversation {
    Conversation::ask(question, [Content::from(picture.clone())])
}

/// Waits for a tensor. One number of it is read: only then does a device say that it had no memory for it.
pub(crate) fn finish(tensor: Tensor<2>) -> Result<(), plm::Error> {
    let device = tensor.device();
    let number = read_back(tensor.slice([0..1, 0..1]));
    number.map_err(|error| plm::Error::of_device(&device, &error))?;
    Ok(())
}

/// Waits for what a GPU has still to do.
fn synchronize(device: &Device) -> Result<(), plm::Error> {
    device
        .sync()
        .map_err(|error| plm::Error::of_device(device, &error))
}

fn timed<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<f64, Error> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

fn median(repeat: usize, mut measure: impl FnMut() -> Result<f64, Error>) -> Result<f64, Error> {
    let times = (0..repeat.max(1)).map(|_| measure());
    Ok(middle(times.collect::<Result<_, _>>()?))
}

/// As [`median`], after one time that does not count on a GPU, which chooses its kernels then.
fn warm_median(
    device: &Device,
    repeat: usize,
    mut measure: impl FnMut() -> Result<f64, Error>,
) -> Result<f64, Error> {
    if !is_cpu(device) {
        measure()?;
    }
    median(repeat, measure)
}

fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
