//! The Hugging Face files that say the same.

use plm_vision::PerceptionEncoderConfig;
use serde_json::{Map, Value, json};

use super::{Params, intermediate_size};

impl Params {
    /// `config.json`; special tokens follow the `num_tokens` tokens of text.
    pub(in super::super) fn config(&self, num_tokens: usize) -> Value {
        let model = &self.model;
        let vision = &model.vision_model;
        let vocab_size = match model.vocab_size {
            Some(size @ 1..) => json!(size),
            _ => json!(num_tokens + plm_processor::NUM_SPECIAL_TOKENS),
        };
        let dtype = match self.dtype.as_deref() {
            Some("fp32") => "float32",
            Some("fp16") => "float16",
            _ => "bfloat16",
        };
        json!({
            "architectures": ["PerceptionLMForConditionalGeneration"],
            "model_type": "perception_lm",
            "torch_dtype": dtype,
            "image_token_id": num_tokens + 2,
            "video_token_id": num_tokens + 3,
            "projector_pooling_ratio": self.pooling_ratio(),
            "vision_use_cls_token": self.class_token(),
            "text_config": {
                "model_type": "llama",
                "torch_dtype": dtype,
                "hidden_size": model.dim,
                "intermediate_size":
                    intermediate_size(model.dim, self.ffn_dim_multiplier(), self.multiple_of()),
                "num_hidden_layers": model.n_layers,
                "num_attention_heads": model.n_heads,
                "num_key_value_heads": self.num_kv_heads(),
                "head_dim": self.head_dim(),
                "hidden_act": "silu",
                "attention_bias": false,
                "mlp_bias": false,
                "vocab_size": vocab_size,
                "max_position_embeddings": self.max_positions(),
                "rms_norm_eps": model.norm_eps.unwrap_or(1e-5),
                "rope_theta": model.rope_theta.unwrap_or(10_000.0),
                "rope_scaling": self.rope_scaling(),
                "tie_word_embeddings": model.weight_tying.unwrap_or(false),
                "bos_token_id": num_tokens,
                "eos_token_id": [num_tokens + 1, num_tokens + 9],
            },
            "vision_config": {
                "model_type": "timm_wrapper",
                "torch_dtype": dtype,
                "architecture": self.architecture(),
                "model_args": self.model_args(),
                "initializer_range": 0.02,
                "do_pooling": true,
                "global_pool": "map",
                "num_classes": 2,
                "label_names": ["LABEL_0", "LABEL_1"],
                "pretrained_cfg": {"input_size": [3, vision.image_size, vision.image_size]},
            },
        })
    }

    /// Hugging Face's conversion scales where `use_scaled_rope` says so, Meta's code where the
    /// factor is not 1; the latter decides where the former is silent.
    fn rope_scaling(&self) -> Option<Value> {
        let model = &self.model;
        let factor = model.rope_scale_factor.unwrap_or(1.0);
        model.use_scaled_rope.unwrap_or(factor != 1.0).then(|| {
            json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": model.low_freq_factor.unwrap_or(1.0),
                "high_freq_factor": model.high_freq_factor.unwrap_or(4.0),
                "original_max_position_embeddings": model.old_context_len.unwrap_or(8192),
            })
        })
    }

    /// Only a tower with a cls token counts its patches from 1, so the token tells the towers.
    fn architecture(&self) -> &'static str {
        let [large, gigantic, ..] = PerceptionEncoderConfig::ARCHITECTURES;
        if self.class_token() { large } else { gigantic }
    }

    /// What the released files say, and whatever differs from the architecture's values.
    fn model_args(&self) -> Map<String, Value> {
        let vision = &self.model.vision_model;
        let mut args = Map::new();
        let mut set = |name: &str, value| args.insert(name.to_owned(), value);
        set("embed_dim", json!(vision.width));
        set("depth", json!(vision.layers));
        set("img_size", json!([vision.image_size, vision.image_size]));
        set("global_pool", json!(""));
        let use_ln_post = vision.use_ln_post.unwrap_or(true);
        set("use_post_transformer_norm", json!(use_ln_post));
        set("ref_feat_shape", json!([self.grid(), self.grid()]));
        if let Some(value) = vision.ls_init_value {
            set("init_values", json!(value));
        }
        if let Some(usual) = PerceptionEncoderConfig::architecture(self.architecture()) {
            if vision.heads != usual.heads {
                set("num_heads", json!(vision.heads));
            }
            if vision.patch_size != usual.patch_size {
                set("patch_size", json!(vision.patch_size));
            }
            let hidden = |ratio: f64| (vision.width as f64 * ratio) as usize;
            let ratio = vision.mlp_ratio.unwrap_or(4.0);
            if hidden(ratio) != hidden(usual.mlp_ratio) {
                set("mlp_ratio", json!(ratio));
            }
        }
        args
    }

    /// `processor_config.json`.
    pub(in super::super) fn processor_config(&self) -> Value {
        json!({
            "patch_size": self.model.vision_model.patch_size,
            "pooling_ratio": self.pooling_ratio(),
            "processor_class": "PerceptionLMProcessor",
        })
    }

    /// `preprocessor_config.json`.
    pub(in super::super) fn image_processor(&self) -> Value {
        let vision_input_type = self.data.vision_input_type.as_deref();
        let mut json = self.pixels();
        json["image_processor_type"] = json!("PerceptionLMImageProcessorFast");
        json["tile_size"] = json!(self.model.vision_model.image_size);
        json["max_num_tiles"] = json!(self.data.max_num_tiles.unwrap_or(36));
        json["max_frame_tiles"] = json!(1);
        json["vision_input_type"] = json!(vision_input_type.unwrap_or("thumb+tile"));
        json
    }

    /// `video_preprocessor_config.json`.
    pub(in super::super) fn video_processor(&self) -> Value {
        let mut json = self.pixels();
        json["video_processor_type"] = json!("PerceptionLMVideoProcessor");
        json
    }

    fn pixels(&self) -> Value {
        let side = self.model.vision_model.image_size;
        json!({
            "processor_class": "PerceptionLMProcessor",
            "size": {"height": side, "width": side},
            "do_convert_rgb": true,
            "do_resize": true,
            "do_rescale": true,
            "do_normalize": true,
            "do_center_crop": false,
            "default_to_square": true,
            "resample": 3,
            "rescale_factor": 1.0 / 255.0,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        })
    }

    /// `tokenizer_config.json`.
    pub(in super::super) fn tokenizer_config(&self) -> Value {
        json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": "PerceptionLMProcessor",
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|eot_id|>",
            "pad_token": "<|end_of_text|>",
            "extra_special_tokens": {
                "image_token": "<|image|>",
                "video_token": "<|video|>",
                "pad_token": "<|end_of_text|>",
            },
            "clean_up_tokenization_spaces": true,
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": self.max_positions(),
        })
    }
}
