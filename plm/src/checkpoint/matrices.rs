//! The weight matrices of a model by their names in a checkpoint, and how they are rounded.

use std::ops::{Deref, DerefMut};

use burn::tensor::{AllocationProperty, Bytes, TensorData};
use half::f16;
use memmap2::MmapMut;
use plm_kernels::{BLOCK, BlockFormat};
use plm_linear::{Blocks, Weight};

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

/// Whether a tensor is the codes of a rounded matrix.
pub(crate) fn is_codes(name: &str) -> bool {
    name.ends_with(".codes")
}

/// The tensor that holds the scales of a rounded matrix.
pub(crate) fn scales_name(matrix: &str) -> String {
    format!("{matrix}.scales")
}

/// The format of a matrix that the files hold in blocks, by the type of its codes.
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

/// A matrix in blocks, as it is in memory.
pub(crate) struct Rounded {
    pub(crate) codes: TensorData,
    pub(crate) scales: TensorData,
}

/// Reads a matrix and rounds it piece by piece, so that it never exists in full.
pub(crate) fn quantize(
    weights: &Weights,
    name: &str,
    format: BlockFormat,
) -> Result<Rounded, Error> {
    let shape = weights.shape(name).unwrap_or(&[0, 0]);
    let [codes_shape, scales_shape] = block_shapes(shape, format);
    let mut codes = room(codes_shape.iter().product());
    let mut scales = vec![f16::ZERO; scales_shape.iter().product()];
    let (mut codes_left, mut scales_left) = (&mut codes[..], &mut scales[..]);
    weights.rows(name, |matrix| {
        let blocks = matrix.rows() * scales_shape[1];
        let (codes, scales);
        (codes, codes_left) =
            std::mem::take(&mut codes_left).split_at_mut(blocks * format.block_bytes());
        (scales, scales_left) = std::mem::take(&mut scales_left).split_at_mut(blocks);
        plm_kernels::quantize(matrix, format, codes, scales);
    })?;
    let codes = Bytes::from_shared(codes.into(), AllocationProperty::Native);
    Ok(Rounded {
        codes: TensorData::from_bytes(codes, codes_shape, Blocks::codes_dtype(format)),
        scales: TensorData::new(scales, scales_shape),
    })
}

/// Memory for codes, in large pages where the system has them: they are had and read faster.
enum Room {
    Pages(MmapMut),
    Heap(Vec<u8>),
}

fn room(len: usize) -> Room {
    match MmapMut::map_anon(len) {
        Ok(pages) => {
            // Only a hint.
            #[cfg(target_os = "linux")]
            let _ = pages.advise(memmap2::Advice::HugePage);
            Room::Pages(pages)
        }
        Err(_) => Room::Heap(vec![0; len]),
    }
}

impl Deref for Room {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Pages(pages) => pages,
            Self::Heap(bytes) => bytes,
        }
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Pages(pages) => pages,
            Self::Heap(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Room {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Room> for bytes::Bytes {
    fn from(room: Room) -> Self {
        Self::from_owner(room)
    }
}
