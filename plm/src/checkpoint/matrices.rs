//! The weight matrices of a model by their names in a checkpoint, and how they are rounded.

use half::f16;
use plm_kernels::{BLOCK, BlockFormat};
use plm_linear::Weight;

use super::Weights;
use crate::{Error, Model};

/// The matrices of a model's linear layers and embedding, with their names in a checkpoint.
pub(super) fn matrices(model: &mut Model) -> Vec<(String, &mut Weight)> {
    let mut found = Vec::new();
    for (i, block) in model.vision_tower.blocks.iter_mut().enumerate() {
        let name = format!("model.vision_tower.timm_model.blocks.{i}");
        found.extend([
            (
                format!("{name}.attn.qkv.weight"),
                &mut block.attn.qkv.weight,
            ),
            (
                format!("{name}.attn.proj.weight"),
                &mut block.attn.proj.weight,
            ),
            (format!("{name}.mlp.fc1.weight"), &mut block.mlp.fc1.weight),
            (format!("{name}.mlp.fc2.weight"), &mut block.mlp.fc2.weight),
        ]);
    }
    let projector = &mut model.multi_modal_projector;
    let name = "model.multi_modal_projector";
    found.extend([
        (
            format!("{name}.linear_1.weight"),
            &mut projector.linear_1.weight,
        ),
        (
            format!("{name}.linear_2.weight"),
            &mut projector.linear_2.weight,
        ),
    ]);
    let decoder = &mut model.language_model;
    found.push((
        super::EMBEDDING.to_owned(),
        &mut decoder.embed_tokens.weight,
    ));
    for (i, layer) in decoder.layers.iter_mut().enumerate() {
        let name = format!("{DECODER_LAYERS}{i}");
        let (attention, mlp) = (&mut layer.self_attn, &mut layer.mlp);
        found.extend([
            (
                format!("{name}.self_attn.q_proj.weight"),
                &mut attention.q_proj.weight,
            ),
            (
                format!("{name}.self_attn.k_proj.weight"),
                &mut attention.k_proj.weight,
            ),
            (
                format!("{name}.self_attn.v_proj.weight"),
                &mut attention.v_proj.weight,
            ),
            (
                format!("{name}.self_attn.o_proj.weight"),
                &mut attention.o_proj.weight,
            ),
            (
                format!("{name}.mlp.gate_proj.weight"),
                &mut mlp.gate_proj.weight,
            ),
            (
                format!("{name}.mlp.up_proj.weight"),
                &mut mlp.up_proj.weight,
            ),
            (
                format!("{name}.mlp.down_proj.weight"),
                &mut mlp.down_proj.weight,
            ),
        ]);
    }
    if let Some(head) = &mut decoder.lm_head {
        found.push((super::OUTPUT.to_owned(), &mut head.weight));
    }
    found
}

const DECODER_LAYERS: &str = "model.language_model.layers.";

/// How a matrix is rounded in a model of some format. Four bits are for the decoder's layers: what
/// they take from the few other matrices saves little and shows most.
pub(crate) fn matrix_format(name: &str, format: BlockFormat) -> BlockFormat {
    if name.starts_with(DECODER_LAYERS) {
        format
    } else {
        BlockFormat::Q8
    }
}

/// The tensor that holds the codes of a rounded matrix.
pub(crate) fn codes_name(matrix: &str) -> String {
    format!("{matrix}.codes")
}

/// The tensor that holds the scales of a rounded matrix.
pub(crate) fn scales_name(matrix: &str) -> String {
    format!("{matrix}.scales")
}

/// The format of a matrix of `columns` inputs that the files hold in blocks, by its codes.
pub(crate) fn stored_format(weights: &Weights, matrix: &str) -> Option<BlockFormat> {
    match weights.dtype_name(&codes_name(matrix)).as_str() {
        "I8" => Some(BlockFormat::Q8),
        "U8" => Some(BlockFormat::Q4),
        _ => None,
    }
}

/// Shapes of the codes and the scales of a rounded matrix `[d_output, d_input]`.
pub(crate) fn block_shapes(shape: &[usize], format: BlockFormat) -> [Vec<usize>; 2] {
    let (rows, blocks) = (shape[0], shape[1].div_ceil(BLOCK));
    [
        vec![rows, blocks * format.block_bytes()],
        vec![rows, blocks],
    ]
}

/// Reads a matrix and rounds it piece by piece, so that it never exists in full; returns codes and
/// scales.
pub(crate) fn quantize(
    weights: &Weights,
    name: &str,
    format: BlockFormat,
) -> Result<(Vec<u8>, Vec<f16>), Error> {
    let shape = weights.shape(name).unwrap_or(&[0, 0]);
    let [codes_shape, scales_shape] = block_shapes(shape, format);
    let mut codes = Vec::with_capacity(codes_shape.iter().product());
    let mut scales = Vec::with_capacity(scales_shape.iter().product());
    weights.rows(name, |matrix| {
        let (more, more_scales) = plm_kernels::quantize(matrix, format);
        codes.extend(more);
        scales.extend(more_scales);
    })?;
    Ok((codes, scales))
}
