//! Meta's names of the tensors, and Hugging Face's.

/// A part of the model: where its names begin in Meta's files and in Hugging Face's, whether a
/// layer's number follows, and what its modules are called.
struct Part {
    meta: &'static str,
    hugging_face: &'static str,
    numbered: bool,
    modules: &'static [(&'static str, &'static str)],
}

/// All parts; the first match counts.
const PARTS: [Part; 5] = [
    Part {
        meta: "layers.",
        hugging_face: "model.language_model.layers.",
        numbered: true,
        modules: &[
            ("attention.wq", "self_attn.q_proj"),
            ("attention.wk", "self_attn.k_proj"),
            ("attention.wv", "self_attn.v_proj"),
            ("attention.wo", "self_attn.o_proj"),
            ("feed_forward.w1", "mlp.gate_proj"),
            ("feed_forward.w2", "mlp.down_proj"),
            ("feed_forward.w3", "mlp.up_proj"),
            ("attention_norm", "input_layernorm"),
            ("ffn_norm", "post_attention_layernorm"),
        ],
    },
    Part {
        meta: "vision_model.transformer.resblocks.",
        hugging_face: "model.vision_tower.timm_model.blocks.",
        numbered: true,
        modules: &[
            ("attn.in_proj_weight", "attn.qkv.weight"),
            ("attn.in_proj_bias", "attn.qkv.bias"),
            ("attn.out_proj", "attn.proj"),
            ("ln_1", "norm1"),
            ("ln_2", "norm2"),
            ("mlp.c_fc", "mlp.fc1"),
            ("mlp.c_proj", "mlp.fc2"),
            ("ls_1.gamma", "gamma_1"),
            ("ls_2.gamma", "gamma_2"),
        ],
    },
    Part {
        meta: "vision_model.",
        hugging_face: "model.vision_tower.timm_model.",
        numbered: false,
        modules: &[
            ("class_embedding", "cls_token"),
            ("positional_embedding", "pos_embed"),
            ("conv1", "patch_embed.proj"),
            ("ln_pre", "norm_pre"),
            ("ln_post", "norm"),
        ],
    },
    Part {
        meta: "vision_projector.projector.",
        hugging_face: "model.multi_modal_projector.",
        numbered: false,
        modules: &[("0", "linear_1"), ("2", "linear_2")],
    },
    Part {
        meta: "",
        hugging_face: "",
        numbered: false,
        modules: &[
            ("tok_embeddings", "model.language_model.embed_tokens"),
            ("norm", "model.language_model.norm"),
            ("output.tied_module", "lm_head"),
            ("output", "lm_head"),
        ],
    },
];

/// Hugging Face's name of a tensor of Meta's.
pub(crate) fn hugging_face_name(meta: &str) -> Option<String> {
    PARTS.iter().find_map(|part| {
        let rest = meta.strip_prefix(part.meta)?;
        translate(part.hugging_face, part, rest, |&(from, to)| (from, to))
    })
}

/// Meta's name of a tensor of Hugging Face's.
pub(crate) fn meta_name(hugging_face: &str) -> Option<String> {
    PARTS.iter().find_map(|part| {
        let rest = hugging_face.strip_prefix(part.hugging_face)?;
        // Of the two names of an output projection, the untied one.
        if rest == "lm_head.weight" {
            return Some("output.weight".to_owned());
        }
        translate(part.meta, part, rest, |&(to, from)| (from, to))
    })
}

fn translate(
    prefix: &str,
    part: &Part,
    rest: &str,
    direction: impl Fn(&(&'static str, &'static str)) -> (&'static str, &'static str),
) -> Option<String> {
    let (number, rest) = match part.numbered {
        true => rest.split_at(rest.find('.')? + 1),
        false => ("", rest),
    };
    part.modules.iter().map(direction).find_map(|(from, to)| {
        let parameter = rest.strip_prefix(from)?;
        let whole = parameter.is_empty() || parameter.starts_with('.');
        whole.then(|| format!("{prefix}{number}{to}{parameter}"))
    })
}

/// Whether a tensor's rows, by Hugging Face's name, stand in another order in Meta's files: those
/// of queries and keys, where Meta rotates neighbours and Hugging Face the halves of a head.
pub(crate) fn is_rotated(hugging_face: &str) -> bool {
    let rotated = ["self_attn.q_proj.weight", "self_attn.k_proj.weight"];
    rotated.iter().any(|name| hugging_face.ends_with(name))
}

/// Leading dimensions of length 1 that Hugging Face's tensor has and Meta's has not.
pub(crate) fn leading_ones(hugging_face: &str) -> usize {
    match hugging_face.strip_prefix("model.vision_tower.timm_model.") {
        Some("cls_token") => 2,
        Some("pos_embed") => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_translated_and_return() {
        for (meta, hugging_face) in [
            (
                "tok_embeddings.weight",
                "model.language_model.embed_tokens.weight",
            ),
            ("norm.weight", "model.language_model.norm.weight"),
            ("output.weight", "lm_head.weight"),
            (
                "layers.13.attention.wq.weight",
                "model.language_model.layers.13.self_attn.q_proj.weight",
            ),
            (
                "layers.0.feed_forward.w2.weight",
                "model.language_model.layers.0.mlp.down_proj.weight",
            ),
            (
                "vision_projector.projector.2.bias",
                "model.multi_modal_projector.linear_2.bias",
            ),
            (
                "vision_model.positional_embedding",
                "model.vision_tower.timm_model.pos_embed",
            ),
            (
                "vision_model.ln_pre.bias",
                "model.vision_tower.timm_model.norm_pre.bias",
            ),
            (
                "vision_model.ln_post.bias",
                "model.vision_tower.timm_model.norm.bias",
            ),
            (
                "vision_model.transformer.resblocks.22.attn.in_proj_bias",
                "model.vision_tower.timm_model.blocks.22.attn.qkv.bias",
            ),
            (
                "vision_model.transformer.resblocks.1.mlp.c_proj.weight",
                "model.vision_tower.timm_model.blocks.1.mlp.fc2.weight",
            ),
            (
                "vision_model.transformer.resblocks.1.ls_2.gamma",
                "model.vision_tower.timm_model.blocks.1.gamma_2",
            ),
        ] {
            assert_eq!(hugging_face_name(meta).as_deref(), Some(hugging_face));
            assert_eq!(meta_name(hugging_face).as_deref(), Some(meta));
        }
        let tied = hugging_face_name("output.tied_module.weight");
        assert_eq!(tied.as_deref(), Some("lm_head.weight"));
        for other in [
            "",
            "layers.",
            "layers.3",
            "layers.3.attention.wqx.weight",
            "ema.norm.weight",
        ] {
            assert_eq!(hugging_face_name(other), None, "{other}");
        }
    }

    #[test]
    fn differences_are_known_by_name() {
        assert!(is_rotated(
            "model.language_model.layers.1.self_attn.k_proj.weight"
        ));
        assert!(!is_rotated(
            "model.language_model.layers.1.self_attn.v_proj.weight"
        ));
        assert!(!is_rotated(
            "model.vision_tower.timm_model.blocks.0.attn.qkv.weight"
        ));
        assert_eq!(leading_ones("model.vision_tower.timm_model.cls_token"), 2);
        assert_eq!(leading_ones("lm_head.weight"), 0);
    }
}
