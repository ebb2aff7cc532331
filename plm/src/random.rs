//! Checkpoints of random weights in the released sizes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use half::bf16;
use plm_processor::tokenizer_json_of_model;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::device::device_of_shapes;
use crate::{Config, Error};

/// The size of a [`random_checkpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelSize {
    /// Some two hundred thousand parameters.
    Tiny,
    /// Perception-LM-1B.
    B1,
    /// Perception-LM-3B.
    B3,
    /// Perception-LM-8B.
    B8,
}

impl ModelSize {
    /// All sizes.
    pub const ALL: [Self; 4] = [Self::Tiny, Self::B1, Self::B3, Self::B8];

    /// `tiny`, `1b`, `3b` or `8b`.
    pub fn name(self) -> &'static str {
        self.sizes().name
    }

    fn sizes(self) -> &'static Sizes {
        match self {
            Self::Tiny => &SIZES[0],
            Self::B1 => &SIZES[1],
            Self::B3 => &SIZES[2],
            Self::B8 => &SIZES[3],
        }
    }
}

impl FromStr for ModelSize {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|size| size.name() == name);
        found.ok_or_else(|| Error::Decoding {
            what: format!("size `{name}` is none of tiny, 1b, 3b, 8b"),
        })
    }
}

/// Writes a checkpoint of random bf16 weights in Hugging Face's layout, to measure memory and speed
/// at full size without the released weights; returns the bytes of its weights.
///
/// # Errors
///
/// [`Error::Write`] when the folder cannot be written.
pub fn random_checkpoint(dir: impl AsRef<Path>, size: ModelSize) -> Result<u64, Error> {
    let dir = dir.as_ref();
    let failed = |source| Error::Write {
        path: dir.to_owned(),
        source,
    };
    fs::create_dir_all(dir).map_err(failed)?;
    let config = write_texts(size.sizes(), dir)?;
    let tensors = config.init(&device_of_shapes()?)?.checkpoint_tensors();
    write_weights(&tensors, &dir.join("model.safetensors")).map_err(failed)
}

/// Sizes of a model, as in the released configs.
struct Sizes {
    name: &'static str,
    vision: (&'static str, usize, usize),
    text: [usize; 6], // hidden, intermediate, layers, heads, kv heads, head_dim
    tied: bool,
    rope_factor: Option<f32>,
    /// Text tokens before the special ones.
    base_vocab: usize,
}

const SIZES: [Sizes; 4] = [
    Sizes {
        name: "tiny",
        vision: ("vit_pe_core_large_patch14_336", 64, 2),
        text: [64, 128, 2, 4, 2, 16],
        tied: true,
        rope_factor: Some(32.0),
        base_vocab: 1000,
    },
    Sizes {
        name: "1b",
        vision: ("vit_pe_core_large_patch14_336", 1024, 23),
        text: [2048, 8192, 16, 32, 8, 64],
        tied: true,
        rope_factor: Some(32.0),
        base_vocab: 128_000,
    },
    Sizes {
        name: "3b",
        vision: ("vit_pe_core_large_patch14_336", 1024, 23),
        text: [3072, 8192, 28, 24, 8, 128],
        tied: true,
        rope_factor: Some(32.0),
        base_vocab: 128_000,
    },
    Sizes {
        name: "8b",
        vision: ("vit_pe_core_gigantic_patch14_448", 1536, 47),
        text: [4096, 14336, 32, 32, 8, 128],
        tied: false,
        rope_factor: None,
        base_vocab: 128_000,
    },
];

/// Writes config, processor and tokenizer files; returns the config as `plm` reads it.
fn write_texts(size: &Sizes, dir: &Path) -> Result<Config, Error> {
    let write = |name: &str, contents: &[u8]| {
        let path = dir.join(name);
        fs::write(&path, contents).map_err(|source| Error::Write { path, source })
    };
    let [hidden, intermediate, layers, heads, kv_heads, head_dim] = size.text;
    let (architecture, width, depth) = size.vision;
    let base = size.base_vocab;
    let rope_scaling = size.rope_factor.map(|factor| {
        json!({"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192})
    });
    let mut model_args = json!({"embed_dim": width, "depth": depth, "img_size": [448, 448],
        "global_pool": "", "use_post_transformer_norm": false, "init_values": 0.1,
        "ref_feat_shape": [32, 32]});
    if width < 1024 {
        model_args["num_heads"] = json!(4);
    }
    let config = json!({
        "architectures": ["PerceptionLMForConditionalGeneration"],
        "model_type": "perception_lm",
        "torch_dtype": "bfloat16",
        "image_token_id": base + 2,
        "video_token_id": base + 3,
        "projector_pooling_ratio": 2,
        "vision_use_cls_token": architecture.contains("large"),
        "text_config": {"model_type": "llama", "hidden_size": hidden,
            "intermediate_size": intermediate, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim,
            "hidden_act": "silu", "vocab_size": base + 256, "max_position_embeddings": 11520,
            "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "rope_scaling": rope_scaling,
            "tie_word_embeddings": size.tied, "bos_token_id": base,
            "eos_token_id": [base + 1, base + 9]},
        "vision_config": {"model_type": "timm_wrapper", "architecture": architecture,
            "model_args": model_args},
    });
    let processor = json!({"patch_size": 14, "pooling_ratio": 2});
    let image_processor = json!({"tile_size": 448, "max_num_tiles": 36,
        "vision_input_type": "thumb+tile", "size": {"height": 448, "width": 448},
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        "rescale_factor": 1.0 / 255.0});
    for (name, value) in [
        ("config.json", &config),
        ("processor_config.json", &processor),
        ("preprocessor_config.json", &image_processor),
    ] {
        write(name, value.to_string().as_bytes())?;
    }
    write("tokenizer.json", &tokenizer(base)?)?;
    let path = dir.join("config.json");
    Config::from_json(config.to_string().as_bytes(), &path)
}

/// The `tokenizer.json` of a rank table of `size` tokens: all bytes, then all pairs of bytes, then
/// pairs with a further byte, as far as the size goes.
fn tokenizer(size: usize) -> Result<Vec<u8>, Error> {
    let bytes = || 0..=255_u8;
    let pairs = || bytes().flat_map(move |a| bytes().map(move |b| vec![a, b]));
    let triples = pairs().flat_map(|pair| bytes().map(move |c| [pair.as_slice(), &[c]].concat()));
    let tokens = bytes().map(|a| vec![a]).chain(pairs()).chain(triples);
    let lines = tokens.take(size).zip(0..);
    let model: String = lines
        .map(|(token, rank)| format!("{} {rank}\n", BASE64_STANDARD.encode(token)))
        .collect();
    let (json, _) = tokenizer_json_of_model(model.as_bytes(), "tokenizer.model")?;
    Ok(json)
}

/// Writes random values tensor by tensor; returns the number of bytes.
fn write_weights(tensors: &[(String, Vec<usize>)], path: &Path) -> io::Result<u64> {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let entry = json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]});
        header.insert(name.clone(), entry);
    }
    // Filled up, so that tensors begin where their numbers can be read in place.
    let mut header = Value::Object(header).to_string();
    header.extend(std::iter::repeat_n(' ', header.len().wrapping_neg() % 8));
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;

    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut random = vec![0; 1 << 20];
    for (name, shape) in tensors {
        // Norms near 1, everything else small enough that no layer drowns the others.
        let (center, bound) = match shape.as_slice() {
            [_] if name.contains("norm") && name.ends_with("weight") => (1.0, 0.05),
            [_, inputs @ ..] if !inputs.is_empty() => {
                (0.0, (3.0 / inputs.iter().product::<usize>() as f32).sqrt())
            }
            _ => (0.0, 0.05),
        };
        let mut left = shape.iter().product::<usize>();
        while left > 0 {
            let count = left.min(random.len() / 2);
            let bytes = &mut random[..2 * count];
            rng.fill_bytes(bytes);
            for pair in bytes.as_chunks_mut::<2>().0 {
                let unit = f32::from(u16::from_le_bytes(*pair)) / 32767.5 - 1.0;
                *pair = bf16::from_f32(center + bound * unit).to_le_bytes();
            }
            file.write_all(bytes)?;
            left -= count;
        }
    }
    file.flush()?;
    Ok(8 + header.len() as u64 + end as u64)
}
