//! `params.json`, the config of Meta's checkpoints.

mod hugging_face;

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::Error;

/// What `params.json` says of a model, in Meta's names, as far as it decides an answer.
#[derive(Debug, Clone)]
pub(crate) struct Params {
    model: ModelParams,
    data: DataParams,
    dtype: Option<String>,
}

/// The file: the model's parameters stand under `model`, or at the top of older files.
#[derive(Deserialize)]
struct File {
    model: ModelParams,
    #[serde(default)]
    data: DataParams,
    distributed: Option<Distributed>,
}

#[derive(Deserialize)]
struct Distributed {
    model_dtype: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct ModelParams {
    dim: usize,
    n_layers: usize,
    n_heads: usize,
    n_kv_heads: Option<usize>,
    head_dim: Option<usize>,
    ffn_dim_multiplier: Option<f64>,
    multiple_of: Option<usize>,
    norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    use_scaled_rope: Option<bool>,
    rope_scale_factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    old_context_len: Option<usize>,
    max_seqlen: Option<usize>,
    vocab_size: Option<i64>,
    weight_tying: Option<bool>,
    pooling_ratio: Option<usize>,
    remove_vision_class_token: Option<bool>,
    vision_model: VisionParams,
}

#[derive(Debug, Clone, Deserialize)]
struct VisionParams {
    image_size: usize,
    patch_size: usize,
    width: usize,
    layers: usize,
    heads: usize,
    mlp_ratio: Option<f64>,
    use_cls_token: Option<bool>,
    use_abs_posemb: Option<bool>,
    use_rope2d: Option<bool>,
    use_ln_pre: Option<bool>,
    use_ln_post: Option<bool>,
    ls_init_value: Option<f64>,
    pool_type: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct DataParams {
    max_num_tiles: Option<usize>,
    vision_input_type: Option<String>,
}

/// Sizes beyond which no model lies, so that no product of them overflows.
const MAX_SIZE: usize = 1 << 24;

/// No tile is larger than some 32 patches along a side.
const MAX_GRID: usize = 512;

impl Params {
    /// Reads `params.json`.
    pub(super) fn from_json(json: &[u8], path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Json {
            path: path.to_owned(),
            source,
        };
        let value: Value = serde_json::from_slice(json).map_err(failed)?;
        let params = if value.get("model").is_some() {
            let file: File = serde_json::from_value(value).map_err(failed)?;
            Self {
                model: file.model,
                data: file.data,
                dtype: file.distributed.and_then(|d| d.model_dtype),
            }
        } else {
            Self {
                model: serde_json::from_value(value).map_err(failed)?,
                data: DataParams::default(),
                dtype: None,
            }
        };
        params.check().map_err(|what| Error::Config {
            path: path.to_owned(),
            what,
        })?;
        Ok(params)
    }

    fn check(&self) -> Result<(), String> {
        let (model, vision) = (&self.model, &self.model.vision_model);
        let sizes = [
            ("dim", model.dim),
            ("n_heads", model.n_heads),
            ("n_kv_heads", self.num_kv_heads()),
            ("head_dim", model.head_dim.unwrap_or(1)),
            ("multiple_of", self.multiple_of()),
            ("vision_model.image_size", vision.image_size),
            ("vision_model.patch_size", vision.patch_size),
            ("vision_model.width", vision.width),
            ("vision_model.heads", vision.heads),
        ];
        for (name, value) in sizes {
            if value == 0 || value > MAX_SIZE {
                return Err(format!(
                    "model.{name} is {value}, it must lie in 1..={MAX_SIZE}"
                ));
            }
        }
        if self.grid() > MAX_GRID {
            let found = vision.image_size;
            return Err(format!(
                "model.vision_model.image_size is {found}, more than {MAX_GRID} patches"
            ));
        }
        if !(0.0..=1e3).contains(&self.ffn_dim_multiplier()) {
            let found = self.ffn_dim_multiplier();
            return Err(format!(
                "model.ffn_dim_multiplier is {found}, it must lie in 0..=1000"
            ));
        }
        let fixed = [
            ("use_abs_posemb", vision.use_abs_posemb != Some(false)),
            ("use_rope2d", vision.use_rope2d != Some(false)),
            ("use_ln_pre", vision.use_ln_pre != Some(false)),
        ];
        if let Some((name, _)) = fixed.iter().find(|(_, given)| !given) {
            return Err(format!(
                "model.vision_model.{name} is false; no PerceptionLM is without"
            ));
        }
        if let Some(pool_type) = vision.pool_type.as_ref().filter(|name| *name != "none") {
            return Err(format!(
                "model.vision_model.pool_type is `{pool_type}`; PerceptionLM pools nothing in the tower (`none`)"
            ));
        }
        if self.class_token() && model.remove_vision_class_token == Some(false) {
            return Err(
                "model.remove_vision_class_token is false; PerceptionLM drops the token".into(),
            );
        }
        Ok(())
    }

    fn num_kv_heads(&self) -> usize {
        self.model.n_kv_heads.unwrap_or(self.model.n_heads)
    }

    fn multiple_of(&self) -> usize {
        self.model.multiple_of.unwrap_or(256)
    }

    fn ffn_dim_multiplier(&self) -> f64 {
        self.model.ffn_dim_multiplier.unwrap_or(1.0)
    }

    pub(super) fn class_token(&self) -> bool {
        self.model.vision_model.use_cls_token.unwrap_or(false)
    }

    /// Patches along a side of a tile.
    pub(super) fn grid(&self) -> usize {
        self.model.vision_model.image_size / self.model.vision_model.patch_size
    }

    /// Rows of a query or key projection that belong to one head.
    pub(super) fn head_dim(&self) -> usize {
        let model = &self.model;
        model.head_dim.unwrap_or(model.dim / model.n_heads)
    }

    fn pooling_ratio(&self) -> usize {
        self.model.pooling_ratio.unwrap_or(1)
    }

    fn max_positions(&self) -> usize {
        self.model.max_seqlen.unwrap_or(1024)
    }
}

/// Hidden features of the decoder's MLP, as Meta computes them.
pub(crate) fn intermediate_size(dim: usize, ffn_dim_multiplier: f64, multiple_of: usize) -> usize {
    let hidden = (ffn_dim_multiplier * (8 * dim / 3) as f64) as usize;
    hidden.div_ceil(multiple_of) * multiple_of
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Config;

    /// PLM-1B's values, of Meta's stage configs.
    fn params_1b() -> Value {
        json!({
            "model": {
                "dim": 2048, "n_layers": 16, "n_heads": 32, "n_kv_heads": 8, "head_dim": null,
                "vocab_size": 128256, "ffn_dim_multiplier": 1.5, "multiple_of": 256,
                "norm_eps": 1e-5, "rope_theta": 500000.0, "weight_tying": true,
                "rope_scale_factor": 32, "high_freq_factor": 4, "max_seqlen": 11520,
                "pooling_ratio": 2,
                "vision_model": {
                    "image_size": 448, "patch_size": 14, "width": 1024, "layers": 23, "heads": 16,
                    "use_cls_token": true, "use_abs_posemb": true, "mlp_ratio": 4.0,
                    "ls_init_value": 0.1, "drop_path": 0.1, "use_ln_post": false,
                    "pool_type": "none",
                },
            },
            "data": {"max_num_tiles": 36, "vision_input_type": "thumb+tile"},
            "distributed": {"model_dtype": "bf16"},
        })
    }

    fn read(json: &Value) -> Result<Params, Error> {
        Params::from_json(json.to_string().as_bytes(), Path::new("params.json"))
    }

    fn config(params: &Value) -> Config {
        let json = read(params).unwrap().config(128_000);
        Config::from_json(json.to_string().as_bytes(), Path::new("config.json")).unwrap()
    }

    #[test]
    fn the_released_sizes_come_out() {
        let mut params = params_1b();
        assert_eq!(config(&params).num_parameters(), 1_533_524_992);
        let model = &mut params["model"];
        for (name, value) in [
            ("dim", json!(4096)),
            ("n_layers", json!(32)),
            ("ffn_dim_multiplier", json!(1.3)),
            ("multiple_of", json!(1024)),
            ("weight_tying", json!(false)),
            ("rope_scale_factor", Value::Null),
        ] {
            model[name] = value;
        }
        for (name, value) in [
            ("width", json!(1536)),
            ("layers", json!(47)),
            ("use_cls_token", json!(false)),
            ("mlp_ratio", json!(5.833_333_334)),
        ] {
            model["vision_model"][name] = value;
        }
        let config = config(&params);
        assert_eq!(config.num_parameters(), 9_794_260_736);
        assert_eq!(config.text.rope.scaling, None);
        assert_eq!(config.stop_ids, [128_001, 128_009]);
    }

    #[test]
    fn use_scaled_rope_decides_before_the_factor() {
        let scaled = |use_scaled_rope: Value, factor: Value| {
            let mut params = params_1b();
            params["model"]["use_scaled_rope"] = use_scaled_rope;
            params["model"]["rope_scale_factor"] = factor;
            config(&params).text.rope.scaling.is_some()
        };
        assert!(scaled(Value::Null, json!(32)));
        assert!(!scaled(Value::Null, json!(1)));
        assert!(!scaled(json!(false), json!(32)));
        assert!(scaled(json!(true), json!(32)));
    }

    #[test]
    fn what_differs_from_the_architecture_is_said() {
        let mut params = params_1b();
        let usual = config(&params).vision;
        params["model"]["vision_model"]["heads"] = json!(8);
        params["model"]["vision_model"]["mlp_ratio"] = json!(2.0);
        params["model"]["vision_model"]["use_ln_post"] = json!(true);
        let other = config(&params).vision;
        assert_eq!((usual.heads, other.heads), (16, 8));
        assert_eq!(other.mlp_width(), 2048);
        assert!(other.use_post_transformer_norm && !usual.use_post_transformer_norm);
    }

    #[test]
    fn the_model_may_stand_at_the_top() {
        let whole = params_1b();
        assert_eq!(config(&whole["model"]), config(&whole));
    }

    #[test]
    fn nonsense_is_named() {
        let message = |at: &str, value: Value| {
            let mut params = params_1b();
            *params.pointer_mut(at).unwrap() = value;
            let error = read(&params).unwrap_err();
            let source = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error} {}", source.unwrap_or_default())
        };
        for (at, value, expected) in [
            ("/model/n_heads", json!(0), "model.n_heads is 0"),
            (
                "/model/dim",
                json!(1_u64 << 60),
                "model.dim is 1152921504606846976",
            ),
            ("/model/dim", json!("x"), "invalid type: string \"x\""),
            ("/model/multiple_of", json!(0), "model.multiple_of is 0"),
            (
                "/model/ffn_dim_multiplier",
                json!(-1.0),
                "ffn_dim_multiplier is -1",
            ),
            (
                "/model/vision_model/pool_type",
                json!("attn"),
                "pool_type is `attn`",
            ),
            (
                "/model/vision_model/use_abs_posemb",
                json!(false),
                "use_abs_posemb is false",
            ),
            ("/model/vision_model", Value::Null, "invalid type: null"),
        ] {
            let message = message(at, value);
            assert!(message.contains(expected), "{message}");
        }
    }
}
