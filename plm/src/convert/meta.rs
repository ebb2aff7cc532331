//! `params.json` and `tokenizer.model` of a checkpoint in Hugging Face's layout.

use burn::tensor::DType;
use plm_llm::Scaling;
use plm_processor::{Normalization, VisionInputType};
use serde_json::{Value, json};

use super::folder::NewFolder;
use crate::checkpoint::{
    CheckpointFiles, EMBEDDING, PARAMS, TOKENIZER_MODEL, Weights, intermediate_size,
};
use crate::{Checkpoint, Error};

/// Writes the files beside the weights.
pub(super) fn write_texts(
    folder: &NewFolder,
    files: &CheckpointFiles,
    checkpoint: &Checkpoint,
    weights: &Weights,
) -> Result<(), Error> {
    let name = files.path("tokenizer.json").display().to_string();
    let json = files.require("tokenizer.json")?;
    let model = plm_processor::model_of_tokenizer_json(&json, &name)?;
    let params = params(checkpoint, weights).map_err(|what| Error::Inexpressible { what })?;
    folder.write_text(TOKENIZER_MODEL, &model)?;
    folder.write_json(PARAMS, &params)
}

/// The model in Meta's words, or what Meta has none for.
fn params(checkpoint: &Checkpoint, weights: &Weights) -> Result<Value, String> {
    let config = &checkpoint.config;
    let (text, vision) = (&config.text, &config.vision);
    let processor = checkpoint.processor.config();
    require_released(checkpoint)?;
    let (multiple_of, ffn_dim_multiplier) = ffn(text.hidden_size, text.intermediate_size)?;
    let mut model = json!({
        "dim": text.hidden_size,
        "n_layers": text.num_layers,
        "head_dim": (text.head_dim * text.num_heads != text.hidden_size).then_some(text.head_dim),
        "n_heads": text.num_heads,
        "n_kv_heads": text.num_kv_heads,
        "ffn_dim_multiplier": ffn_dim_multiplier,
        "multiple_of": multiple_of,
        "norm_eps": text.rms_norm_eps,
        "rope_theta": text.rope.theta,
        "use_scaled_rope": text.rope.scaling.is_some(),
        "max_seqlen": text.max_positions,
        "vocab_size": text.vocab_size,
        "weight_tying": text.tie_word_embeddings,
        "pooling_ratio": config.projector.pooling_ratio,
        "remove_vision_class_token": true,
        "vision_model": {
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "width": vision.width,
            "layers": vision.depth,
            "heads": vision.heads,
            "use_cls_token": vision.class_token,
            "use_abs_posemb": true,
            "mlp_ratio": vision.mlp_ratio,
            // Only the start of a training depends on its value.
            "ls_init_value": vision.layer_scale.then_some(0.1),
            "drop_path": 0.1,
            "use_ln_post": vision.use_post_transformer_norm,
            "pool_type": "none",
        },
    });
    match text.rope.scaling {
        None => {}
        Some(Scaling::Llama3(scaling)) => {
            model["rope_scale_factor"] = json!(scaling.factor);
            model["low_freq_factor"] = json!(scaling.low_freq_factor);
            model["high_freq_factor"] = json!(scaling.high_freq_factor);
            model["old_context_len"] = json!(scaling.original_max_positions as usize);
        }
        Some(Scaling::Linear { .. }) => return Err("linear scaling of the rope".into()),
    }
    let dtype = match weights.dtype(EMBEDDING) {
        Some(DType::F16) => "fp16",
        Some(DType::BF16) => "bf16",
        _ => "fp32",
    };
    Ok(json!({
        "model": model,
        "distributed": {"model_dtype": dtype},
        "data": {
            "image_res": processor.tile_size,
            "max_num_tiles": processor.max_num_tiles,
            "max_video_frames": plm_processor::META_MAX_FRAMES,
            "vision_input_type": match processor.vision_input_type {
                VisionInputType::ThumbTile => "thumb+tile",
                VisionInputType::Vanilla => "vanilla",
            },
            "tokenizer_path": TOKENIZER_MODEL,
            "tokenizer_name": "plmchat",
            "conversation_format": "plm_sft",
        },
    }))
}

/// Checks what Meta's layout does not say and its code takes for granted.
fn require_released(checkpoint: &Checkpoint) -> Result<(), String> {
    let config = &checkpoint.config;
    let (vision, processor) = (&config.vision, checkpoint.processor.config());
    let text_tokens = checkpoint.processor.tokenizer().vocab_size() as u32
        - plm_processor::NUM_SPECIAL_TOKENS as u32;
    let mut stop_ids = checkpoint.stop_ids.clone();
    stop_ids.sort_unstable();
    let pixels = Normalization::new([0.5; 3], [0.5; 3], 1.0 / 255.0);
    let offset = if vision.class_token { 1.0 } else { 0.0 };
    let rules = [
        (
            "another image or video token",
            [config.image_token_id, config.video_token_id] == [text_tokens + 2, text_tokens + 3],
        ),
        (
            "other tokens that end an answer",
            stop_ids == [text_tokens + 1, text_tokens + 9],
        ),
        (
            "another normalisation of pixels",
            processor.image_normalization == pixels && processor.video_normalization == pixels,
        ),
        (
            "another rope of the vision tower",
            vision.rope_grid_offset == offset
                && vision.rope_temperature == 10_000.0
                && vision.ref_feat_shape == [vision.grid(); 2],
        ),
    ];
    match rules.iter().find(|(_, kept)| !kept) {
        Some((what, _)) => Err((*what).to_owned()),
        None => Ok(()),
    }
}

/// `multiple_of` and the shortest `ffn_dim_multiplier` that give an MLP its hidden features.
fn ffn(dim: usize, hidden: usize) -> Result<(usize, f64), String> {
    let multiple_of = 1 << hidden.trailing_zeros().min(8);
    let ratio = hidden as f64 / (8 * dim / 3).max(1) as f64;
    (0..=12)
        .flat_map(|decimals| {
            let unit = 10_f64.powi(decimals);
            // Meta's code truncates the product.
            [(ratio * unit).round(), (ratio * unit).ceil()].map(|digits| digits / unit)
        })
        .find(|&multiplier| intermediate_size(dim, multiplier, multiple_of) == hidden)
        .map(|multiplier| (multiple_of, multiplier))
        .ok_or_else(|| format!("an MLP of {hidden} hidden features"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_released_multipliers_are_found() {
        assert_eq!(ffn(2048, 8192), Ok((256, 1.5)));
        assert_eq!(ffn(3072, 8192), Ok((256, 1.0)));
        assert_eq!(ffn(4096, 14336), Ok((256, 1.3)));
    }

    #[test]
    fn any_size_can_be_said() {
        for dim in [8, 96, 100, 2048] {
            for hidden in (1..400).chain([8191, 8192, 11_008]) {
                let (multiple_of, multiplier) = ffn(dim, hidden).unwrap();
                assert_eq!(intermediate_size(dim, multiplier, multiple_of), hidden);
            }
        }
    }
}
