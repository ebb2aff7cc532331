use plm_kernels::{BLOCK, BlockFormat, Nf4};
use plm_processor::PromptSize;

use crate::{Config, LoadOptions, Precision, Quantization};

/// What a prompt and its answer cost, computed from sizes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Tokens of the prompt, image tokens included.
    pub prompt_tokens: usize,
    /// Image tokens of the prompt.
    pub media_tokens: usize,
    /// Tiles that the vision tower encodes.
    pub num_tiles: usize,
    /// Tokens of prompt and longest answer together.
    pub total_tokens: usize,
    /// Positions that the model has.
    pub max_positions: usize,
    /// Parameters of the model.
    pub num_parameters: u64,
    /// Bytes of the weights.
    pub weight_bytes: u64,
    /// Bytes of the KV cache at the longest answer, in f32.
    pub kv_cache_bytes: u64,
    /// Floating-point operations of the vision tower and projector.
    pub vision_flops: u64,
    /// Floating-point operations to read the prompt.
    pub prefill_flops: u64,
    /// Floating-point operations of one token of the answer, at the prompt's end.
    pub decode_flops_per_token: u64,
}

impl Estimate {
    /// The cost of a prompt with an answer of at most `max_new_tokens`.
    ///
    /// Additions and multiplications count one each. Weights take 16 bits a parameter, as released,
    /// unless `options` round them or widen them to f32. Nothing is run or allocated.
    pub fn new(
        config: &Config,
        prompt: &PromptSize,
        max_new_tokens: usize,
        options: &LoadOptions,
    ) -> Self {
        let num_tiles: usize = prompt.media.iter().map(|media| media.num_tiles).sum();
        let media_tokens: usize = prompt.media.iter().map(|media| media.num_tokens).sum();
        let total_tokens = prompt.prompt_tokens.saturating_add(max_new_tokens);
        Self {
            prompt_tokens: prompt.prompt_tokens,
            media_tokens,
            num_tiles,
            total_tokens,
            max_positions: config.text.max_positions,
            num_parameters: config.num_parameters(),
            weight_bytes: weight_bytes(config, options),
            kv_cache_bytes: config.text.kv_cache_bytes(total_tokens),
            vision_flops: config.vision_flops(num_tiles),
            prefill_flops: config.prefill_flops(prompt.prompt_tokens),
            decode_flops_per_token: clamp(decode_flops(config, prompt.prompt_tokens as u128)),
        }
    }

    /// Whether prompt and longest answer fit the model's positions. The last token of an answer is
    /// never read, so it needs none.
    pub fn fits(&self) -> bool {
        self.total_tokens <= self.max_positions + 1
    }
}

impl Config {
    /// Floating-point operations of vision tower and projector for so many tiles.
    pub fn vision_flops(&self, num_tiles: usize) -> u64 {
        clamp(num_tiles as u128 * tile_flops(self))
    }

    /// Floating-point operations to read a prompt of so many tokens, and score the next one.
    pub fn prefill_flops(&self, tokens: usize) -> u64 {
        let tokens = tokens as u128;
        let scores = tokens * score_products(self, tokens.div_ceil(2));
        clamp(2 * (tokens * layer_products(self) + scores + output_products(self)))
    }
}

/// Bytes that the weights take in memory.
pub(crate) fn weight_bytes(config: &Config, options: &LoadOptions) -> u64 {
    let parameters = u128::from(config.num_parameters());
    let in_layers = match options.quantize {
        Some(Quantization::Q4 | Quantization::Nf4) => layer_products(config),
        Some(Quantization::Q8) | None => 0,
    };
    let bits = |format: BlockFormat| 8 * format.block_bytes() as u128 + 16;
    let float = match options.precision {
        Precision::F32 => 4,
        Precision::Auto | Precision::Bf16 | Precision::F16 => 2,
    };
    clamp(match options.quantize {
        Some(Quantization::Nf4) => {
            let in_nf4 = Nf4::bytes_of(usize::try_from(in_layers).unwrap_or(usize::MAX));
            in_nf4 as u128 + float * (parameters - in_layers)
        }
        Some(Quantization::Q8 | Quantization::Q4) => {
            let blocks =
                |parameters: u128, format| (parameters * bits(format)).div_ceil(8 * BLOCK as u128);
            blocks(in_layers, BlockFormat::Q4) + blocks(parameters - in_layers, BlockFormat::Q8)
        }
        None => float * parameters,
    })
}

fn clamp(flops: u128) -> u64 {
    u64::try_from(flops).unwrap_or(u64::MAX)
}

/// Vision tower and projector for one tile.
fn tile_flops(config: &Config) -> u128 {
    let v = &config.vision;
    let (width, hidden) = (v.width as u128, v.mlp_width() as u128);
    let patches = (v.grid() * v.grid()) as u128;
    let tokens = patches + u128::from(v.class_token);
    let block = tokens * (4 * width * width + 2 * width * hidden) + 2 * tokens * tokens * width;
    let patch_embed = patches * 3 * (v.patch_size * v.patch_size) as u128 * width;
    let text = config.text.hidden_size as u128;
    let projector = patches * (width * text + text * text);
    2 * (v.depth as u128 * block + patch_embed + projector)
}

/// Multiplications of one token through all layers, without attention scores.
fn layer_products(config: &Config) -> u128 {
    let t = &config.text;
    let dim = t.hidden_size as u128;
    let attention = 2 * dim * ((t.num_heads + t.num_kv_heads) * t.head_dim) as u128;
    t.num_layers as u128 * (attention + 3 * dim * t.intermediate_size as u128)
}

/// Multiplications of scores and mixing for one token that sees `context` tokens.
fn score_products(config: &Config, context: u128) -> u128 {
    let t = &config.text;
    2 * t.num_layers as u128 * (t.num_heads * t.head_dim) as u128 * context
}

fn output_products(config: &Config) -> u128 {
    (config.text.hidden_size * config.text.vocab_size) as u128
}

fn decode_flops(config: &Config, context: u128) -> u128 {
    2 * (layer_products(config) + score_products(config, context) + output_products(config))
}
