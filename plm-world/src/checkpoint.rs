//! The folder of a model that is to be trained from nothing: everything but its weights.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::clip::NUM_FRAMES;
use crate::dataset::new_folder;
use crate::tokenizer::tokenizer_json;
use crate::{Backgrounds, Category, DataSet, Error, Task};

/// Sizes of the model.
struct Sizes {
    tile: usize,
    patch: usize,
    pooling: usize,
    max_tiles: usize,
    vision_width: usize,
    vision_depth: usize,
    vision_heads: usize,
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    max_positions: usize,
    rope_theta: f64,
    /// Most text tokens before the special ones.
    max_vocab: usize,
}

const SIZES: Sizes = Sizes {
    tile: 56,
    patch: 14,
    pooling: 2,
    max_tiles: 4,
    vision_width: 128,
    vision_depth: 4,
    vision_heads: 4,
    hidden: 192,
    intermediate: 512,
    layers: 6,
    heads: 6,
    kv_heads: 2,
    head_dim: 32,
    max_positions: 2048,
    rope_theta: 10_000.0,
    max_vocab: 768,
};

/// What a conversation begins with if it has no system text of its own, in the template and in
/// the form that training writes.
const CHAT_TEMPLATE: &str = include_str!("chat_template.jinja");

/// Samples whose texts the tokenizer is made of.
const TOKENIZER_SAMPLES: u64 = 4000;

/// Special tokens of PerceptionLM.
const NUM_SPECIAL: usize = plm_processor::NUM_SPECIAL_TOKENS;

/// Writes config, tokenizer and processor files of a small PerceptionLM into a new folder; returns
/// the size of its vocabulary. Weights are for training to make.
///
/// # Errors
/// [`Error::NotEmpty`], [`Error::Write`] and [`Error::Tokenizer`].
pub fn write_checkpoint(dir: &Path, seed: u64) -> Result<usize, Error> {
    new_folder(dir)?;
    let write = |name: &str, contents: &[u8]| {
        let path = dir.join(name);
        fs::write(&path, contents).map_err(|source| Error::write(&path, source))
    };
    let (tokenizer, base) = world_tokenizer(seed)?;
    write("tokenizer.json", &tokenizer)?;
    write("chat_template.jinja", CHAT_TEMPLATE.trim_end().as_bytes())?;
    for (name, value) in [
        ("config.json", config(&SIZES, base)),
        ("generation_config.json", generation_config(base)),
        ("processor_config.json", processor_config(&SIZES)),
        ("preprocessor_config.json", image_config(&SIZES)),
        ("video_preprocessor_config.json", video_config(&SIZES)),
        ("tokenizer_config.json", tokenizer_config(&SIZES)),
    ] {
        write(name, format!("{value:#}\n").as_bytes())?;
    }
    Ok(base + NUM_SPECIAL)
}

/// The tokenizer of the texts that are trained on, and the number of its text tokens.
fn world_tokenizer(seed: u64) -> Result<(Vec<u8>, usize), Error> {
    let tasks = [
        Task::Captions { clips: 0.2 },
        Task::Questions {
            turns: 8,
            captions: 0.0,
            clips: 0.2,
            of: Category::SHORT.to_vec(),
        },
    ];
    let sets = tasks.map(|task| DataSet {
        task,
        seed,
        backgrounds: Backgrounds::All,
    });
    let samples = sets
        .iter()
        .flat_map(|set| (0..TOKENIZER_SAMPLES).map(|i| set.sample(i)));
    let turns: Vec<_> = samples.flat_map(|sample| sample.turns).collect();
    let texts = turns
        .iter()
        .flat_map(|turn| [turn.question.as_str(), &turn.answer]);
    // The words of the template stand in every prompt.
    let quoted = CHAT_TEMPLATE.split('\'').skip(1).step_by(2);
    let roles = ["system", "user", "assistant", "\n\n"];
    tokenizer_json(texts.chain(quoted).chain(roles), SIZES.max_vocab)
}

fn config(sizes: &Sizes, base: usize) -> Value {
    let side = sizes.tile / sizes.patch;
    json!({
        "architectures": ["PerceptionLMForConditionalGeneration"],
        "model_type": "perception_lm",
        "torch_dtype": "float32",
        "image_token_id": base + 2,
        "video_token_id": base + 3,
        "projector_pooling_ratio": sizes.pooling,
        "vision_use_cls_token": true,
        "text_config": {
            "model_type": "llama",
            "hidden_size": sizes.hidden,
            "intermediate_size": sizes.intermediate,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "num_key_value_heads": sizes.kv_heads,
            "head_dim": sizes.head_dim,
            "hidden_act": "silu",
            "attention_bias": false,
            "mlp_bias": false,
            "vocab_size": base + NUM_SPECIAL,
            "max_position_embeddings": sizes.max_positions,
            "rms_norm_eps": 1e-5,
            "rope_theta": sizes.rope_theta,
            "rope_scaling": null,
            "tie_word_embeddings": true,
            "bos_token_id": base,
            "eos_token_id": [base + 1, base + 9],
            "torch_dtype": "float32",
        },
        "vision_config": {
            "model_type": "timm_wrapper",
            "architecture": "vit_pe_core_large_patch14_336",
            "do_pooling": true,
            "global_pool": "map",
            "torch_dtype": "float32",
            "model_args": {
                "embed_dim": sizes.vision_width,
                "depth": sizes.vision_depth,
                "num_heads": sizes.vision_heads,
                "img_size": [sizes.tile, sizes.tile],
                "ref_feat_shape": [side, side],
                "global_pool": "",
                "init_values": 0.1,
                "use_post_transformer_norm": false,
            },
        },
    })
}

fn generation_config(base: usize) -> Value {
    json!({"bos_token_id": base, "eos_token_id": [base + 1, base + 9], "pad_token_id": base + 1})
}

fn processor_config(sizes: &Sizes) -> Value {
    json!({
        "processor_class": "PerceptionLMProcessor",
        "patch_size": sizes.patch,
        "pooling_ratio": sizes.pooling,
    })
}

fn image_config(sizes: &Sizes) -> Value {
    let mut config = pixels(sizes);
    config["image_processor_type"] = json!("PerceptionLMImageProcessorFast");
    config["tile_size"] = json!(sizes.tile);
    config["max_num_tiles"] = json!(sizes.max_tiles);
    config["vision_input_type"] = json!("thumb+tile");
    config
}

fn video_config(sizes: &Sizes) -> Value {
    let mut config = pixels(sizes);
    config["video_processor_type"] = json!("PerceptionLMVideoProcessor");
    config["num_frames"] = json!(NUM_FRAMES);
    config
}

/// What is done with the pixels of pictures and of video frames alike.
fn pixels(sizes: &Sizes) -> Value {
    json!({
        "processor_class": "PerceptionLMProcessor",
        "do_convert_rgb": true,
        "do_resize": true,
        "size": {"height": sizes.tile, "width": sizes.tile},
        "resample": 3,
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    })
}

fn tokenizer_config(sizes: &Sizes) -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "processor_class": "PerceptionLMProcessor",
        "model_max_length": sizes.max_positions,
        "clean_up_tokenization_spaces": false,
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "pad_token": "<|end_of_text|>",
        "image_token": "<|image|>",
        "video_token": "<|video|>",
        "extra_special_tokens": {"image_token": "<|image|>", "video_token": "<|video|>"},
    })
}
