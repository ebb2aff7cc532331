//! The keys of `config.json` as they stand in files, and what they mean.

use plm_llm::{DecoderConfig, Llama3Scaling, Rope, Scaling};
use plm_projector::ProjectorConfig;
use plm_vision::PerceptionEncoderConfig;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Config;
use super::quantization::RawQuantization;

/// No real model comes near these; a larger number in a config is damage or malice.
const MAX_PARAMETERS: u64 = 10_000_000_000_000;
const MAX_LAYERS: usize = 1_000;
const MAX_SIZE: usize = 1 << 24;

/// Arguments of `timm` that a Perception Encoder never varies, with their values in JSON.
const FIXED_ARGS: [(&str, &str); 12] = [
    ("in_chans", "3"),
    ("qkv_bias", "true"),
    ("qkv_fused", "true"),
    ("qk_norm", "false"),
    ("scale_norm", "false"),
    ("swiglu_mlp", "false"),
    ("attn_type", "\"rope\""),
    ("use_rot_pos_emb", "true"),
    ("use_abs_pos_emb", "true"),
    ("rope_grid_indexing", "\"xy\""),
    ("use_pre_transformer_norm", "true"),
    ("use_fc_norm", "false"),
];

/// Why a config cannot be used.
pub(super) struct Invalid(pub(super) String);

fn invalid<T>(what: String) -> Result<T, Invalid> {
    Err(Invalid(what))
}

#[derive(Deserialize)]
pub(super) struct RawConfig {
    model_type: Option<String>,
    image_token_id: Option<u32>,
    video_token_id: Option<u32>,
    projector_pooling_ratio: Option<usize>,
    vision_use_cls_token: Option<bool>,
    tie_word_embeddings: Option<bool>,
    /// Wins over the text config's.
    eos_token_id: Option<Ids>,
    quantization_config: Option<RawQuantization>,
    text_config: RawText,
    vision_config: RawVision,
}

#[derive(Deserialize)]
struct RawText {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f64>,
    hidden_act: Option<String>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    tie_word_embeddings: Option<bool>,
    rope_theta: Option<f32>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
    eos_token_id: Option<Ids>,
}

/// `rope_scaling` of the older generation, which wins where both stand, and `rope_parameters` of
/// the newer.
#[derive(Deserialize, Default, PartialEq)]
struct RawRope {
    rope_type: Option<String>,
    /// An old name of `rope_type`; both may stand side by side.
    #[serde(rename = "type")]
    old_rope_type: Option<String>,
    rope_theta: Option<f32>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<f32>,
}

#[derive(Deserialize)]
struct RawVision {
    architecture: String,
    model_args: Option<Map<String, Value>>,
}

/// One token id or several.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Ids {
    One(u32),
    Many(Vec<u32>),
}

impl Ids {
    pub(super) fn into_vec(self) -> Vec<u32> {
        match self {
            Ids::One(id) => vec![id],
            Ids::Many(ids) => ids,
        }
    }
}

impl RawConfig {
    pub(super) fn resolve(self) -> Result<Config, Invalid> {
        if let Some(model_type) = &self.model_type
            && model_type != "perception_lm"
        {
            return invalid(format!(
                "model_type is `{model_type}`; only `perception_lm` checkpoints can be loaded"
            ));
        }
        if let Some(quantization) = &self.quantization_config
            && !quantization.is_known()
        {
            return invalid(format!(
                "its weights are quantised by `{}`, and not to nf4 with double quantisation; load the checkpoint that they were made from, with `quantize` if they shall be small",
                quantization.method()
            ));
        }
        let vision = self.vision_config.resolve()?;
        let drops_cls = self.vision_use_cls_token.unwrap_or(true);
        if drops_cls != vision.class_token {
            return invalid(format!(
                "vision_use_cls_token is {drops_cls}, but `{}` has {} cls token",
                self.vision_config.architecture,
                if vision.class_token { "a" } else { "no" }
            ));
        }
        let pooling_ratio = self.projector_pooling_ratio.unwrap_or(1);
        if pooling_ratio == 0 || pooling_ratio > vision.grid() {
            return invalid(format!(
                "projector_pooling_ratio is {pooling_ratio}, it must lie in 1..={}",
                vision.grid()
            ));
        }
        let (text, stop_ids) = self.text_config.resolve(self.tie_word_embeddings)?;
        let config = Config {
            projector: ProjectorConfig {
                vision_width: vision.width,
                text_width: text.hidden_size,
                pooling_ratio,
            },
            vision,
            text,
            image_token_id: self.image_token_id.unwrap_or(128_002),
            video_token_id: self.video_token_id.unwrap_or(128_003),
            stop_ids: self.eos_token_id.map_or(stop_ids, Ids::into_vec),
        };
        if config.num_parameters() > MAX_PARAMETERS {
            return invalid(format!(
                "its sizes make {} parameters, more than any model has",
                config.num_parameters()
            ));
        }
        Ok(config)
    }
}

impl RawText {
    /// `tied` is the top level's word on tying, which wins over the text config's.
    fn resolve(self, tied: Option<bool>) -> Result<(DecoderConfig, Vec<u32>), Invalid> {
        if let Some(act) = &self.hidden_act
            && !matches!(act.as_str(), "silu" | "swish")
        {
            return invalid(format!(
                "text_config.hidden_act is `{act}`; only `silu` is supported"
            ));
        }
        if self.attention_bias == Some(true) || self.mlp_bias == Some(true) {
            return invalid("text_config asks for biases, which no PerceptionLM has".into());
        }
        // The reference's default.
        let max_positions = self.max_position_embeddings.unwrap_or(2048);
        for (name, value) in [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", max_positions),
            ("head_dim", self.head_dim.unwrap_or(1)),
        ] {
            check_size(&format!("text_config.{name}"), value, MAX_SIZE)?;
        }
        check_size(
            "text_config.num_hidden_layers",
            self.num_hidden_layers,
            MAX_LAYERS,
        )?;
        let config = DecoderConfig {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_layers: self.num_hidden_layers,
            num_heads: self.num_attention_heads,
            num_kv_heads: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            head_dim: self
                .head_dim
                .unwrap_or(self.hidden_size / self.num_attention_heads),
            rms_norm_eps: self.rms_norm_eps.unwrap_or(1e-6),
            rope: resolve_rope(
                self.rope_theta,
                self.rope_scaling
                    .filter(RawRope::says_something)
                    .or(self.rope_parameters),
                max_positions,
            )?,
            max_positions,
            tie_word_embeddings: tied.or(self.tie_word_embeddings).unwrap_or(false),
        };
        config.check().map_err(|error| Invalid(error.to_string()))?;
        Ok((config, self.eos_token_id.map_or(vec![], Ids::into_vec)))
    }
}

impl RawRope {
    fn says_something(&self) -> bool {
        *self != Self::default()
    }
}

fn resolve_rope(
    theta: Option<f32>,
    raw: Option<RawRope>,
    max_positions: usize,
) -> Result<Rope, Invalid> {
    let theta = raw
        .as_ref()
        .and_then(|raw| raw.rope_theta)
        .or(theta)
        .unwrap_or(10_000.0);
    let Some(raw) = raw else {
        return Ok(Rope {
            theta,
            scaling: None,
        });
    };
    let need = |name: &str, value: Option<f32>| match value {
        Some(value) => Ok(value),
        None => invalid(format!("the rope parameters lack `{name}`")),
    };
    let scaling = match raw.rope_type.or(raw.old_rope_type).as_deref() {
        None | Some("default") => None,
        Some("linear") => Some(Scaling::Linear {
            factor: need("factor", raw.factor)?,
        }),
        Some("llama3") => Some(Scaling::Llama3(Llama3Scaling {
            factor: need("factor", raw.factor)?,
            low_freq_factor: need("low_freq_factor", raw.low_freq_factor)?,
            high_freq_factor: need("high_freq_factor", raw.high_freq_factor)?,
            original_max_positions: raw
                .original_max_position_embeddings
                .unwrap_or(max_positions as f32),
        })),
        Some(other) => {
            return invalid(format!(
                "rope_type is `{other}`; `default`, `linear` and `llama3` are supported"
            ));
        }
    };
    Ok(Rope { theta, scaling })
}

impl RawVision {
    /// The architecture's defaults, overridden by `model_args` under `timm`'s argument names.
    fn resolve(&self) -> Result<PerceptionEncoderConfig, Invalid> {
        let Some(mut config) = PerceptionEncoderConfig::architecture(&self.architecture) else {
            return invalid(format!(
                "vision_config.architecture is `{}`; known are {}",
                self.architecture,
                PerceptionEncoderConfig::ARCHITECTURES.join(", ")
            ));
        };
        for (name, value) in self.model_args.iter().flatten() {
            // `timm` drops what is null, so that the architecture's default stays.
            if !value.is_null() {
                self.apply(&mut config, name, value)?;
            }
        }
        for (name, value) in [
            ("img_size", config.image_size),
            ("patch_size", config.patch_size),
            ("embed_dim", config.width),
            ("num_heads", config.heads),
        ] {
            check_size(&format!("vision_config.model_args.{name}"), value, MAX_SIZE)?;
        }
        check_size("vision_config.model_args.depth", config.depth, MAX_LAYERS)?;
        if !(0.0..=1e3).contains(&config.mlp_ratio) {
            return invalid(format!(
                "vision_config.model_args.mlp_ratio is {}",
                config.mlp_ratio
            ));
        }
        if !(config.rope_temperature > 0.0 && config.rope_grid_offset.is_finite()) {
            return invalid("vision_config.model_args: rope constants are out of range".into());
        }
        config.check().map_err(|error| Invalid(error.to_string()))?;
        Ok(config)
    }

    fn apply(
        &self,
        config: &mut PerceptionEncoderConfig,
        name: &str,
        value: &Value,
    ) -> Result<(), Invalid> {
        let bad = || {
            Invalid(format!(
                "vision_config.model_args.{name} is {value}, which is not what it can be"
            ))
        };
        let json = value.to_string();
        let size = || value.as_u64().map(|x| x as usize).ok_or_else(bad);
        let number = || value.as_f64().ok_or_else(bad);
        let flag = || value.as_bool().ok_or_else(bad);
        let pair = || match value {
            Value::Array(items) if items.len() == 2 => {
                let side = |i: usize| items[i].as_u64().map(|x| x as usize).ok_or_else(bad);
                Ok([side(0)?, side(1)?])
            }
            _ => size().map(|side| [side, side]),
        };
        match name {
            "embed_dim" => config.width = size()?,
            "depth" => config.depth = size()?,
            "num_heads" => config.heads = size()?,
            "mlp_ratio" => config.mlp_ratio = number()?,
            "patch_size" => config.patch_size = size()?,
            "class_token" => config.class_token = flag()?,
            "rope_grid_offset" => config.rope_grid_offset = number()? as f32,
            "rope_temperature" => config.rope_temperature = number()? as f32,
            "ref_feat_shape" => config.ref_feat_shape = pair()?,
            "init_values" => {
                number()?;
                config.layer_scale = true;
            }
            "use_post_transformer_norm" => config.use_post_transformer_norm = flag()?,
            "img_size" => {
                let [height, width] = pair()?;
                if height != width {
                    return invalid(format!(
                        "vision_config.model_args.img_size is {height}x{width}; tiles are square"
                    ));
                }
                config.image_size = height;
            }
            "global_pool" if value == "" => {}
            "global_pool" => {
                return invalid(format!(
                    "vision_config.model_args.global_pool is {value}; PerceptionLM pools nothing in the tower (\"\")"
                ));
            }
            // Names that the tower's numbers do not depend on at inference.
            "num_classes" | "drop_rate" | "pos_drop_rate" | "patch_drop_rate"
            | "proj_drop_rate" | "attn_drop_rate" | "drop_path_rate" | "dynamic_img_size" => {}
            other => match FIXED_ARGS.iter().find(|(fixed, _)| *fixed == other) {
                Some((_, expected)) if json == *expected => {}
                Some((_, expected)) => {
                    return invalid(format!(
                        "vision_config.model_args.{other} is {value}; only {expected} is supported"
                    ));
                }
                None => {
                    return invalid(format!(
                        "vision_config.model_args.{other} is not known; the tower might compute something else"
                    ));
                }
            },
        }
        Ok(())
    }
}

fn check_size(name: &str, value: usize, max: usize) -> Result<(), Invalid> {
    if value == 0 || value > max {
        return invalid(format!("{name} is {value}, it must lie in 1..={max}"));
    }
    Ok(())
}
