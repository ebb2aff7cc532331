//! The weight matrices of a model by their names in a checkpoint, and how they are rounded.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};

use burn::tensor::{AllocationProperty, Bytes, TensorData};
use half::f16;
use memmap2::MmapMut;
use plm_kernels::{BLOCK, BlockFormat};
use plm_linear::{Blocks, Linear};

use super::{Weights, is_nf4};
use crate::quantization::MatrixFormat;
use crate::{Error, Model, Quantization};

/// The linear layers of a model, with the names of their matrices in a checkpoint.
pub(crate) fn linears(model: &mut Model) -> Vec<(String, &mut Linear)> {
    let mut found = Vec::new();
    for (i, block) in model.vision_tower.blocks.iter_mut().enumerate() {
        let name = |part| format!("model.vision_tower.timm_model.blocks.{i}.{part}.weight");
        found.extend([
            (name("attn.qkv"), &mut block.attn.qkv),
            (name("attn.proj"), &mut block.attn.proj),
            (name("mlp.fc1"), &mut block.mlp.fc1),
            (name("mlp.fc2"), &mut block.mlp.fc2),
        ]);
    }
    let projector = &mut model.multi_modal_projector;
    let name = |part| format!("model.multi_modal_projector.{part}.weight");
    found.extend([
        (name("linear_1"), &mut projector.linear_1),
        (name("linear_2"), &mut projector.linear_2),
    ]);
    let decoder = &mut model.language_model;
    for (i, layer) in decoder.layers.iter_mut().enumerate() {
        let name = |part| format!("{DECODER_LAYERS}{i}.{part}.weight");
        let (attention, mlp) = (&mut layer.self_attn, &mut layer.mlp);
        found.extend([
            (name("self_attn.q_proj"), &mut attention.q_proj),
            (name("self_attn.k_proj"), &mut attention.k_proj),
            (name("self_attn.v_proj"), &mut attention.v_proj),
            (name("self_attn.o_proj"), &mut attention.o_proj),
            (name("mlp.gate_proj"), &mut mlp.gate_proj),
            (name("mlp.up_proj"), &mut mlp.up_proj),
            (name("mlp.down_proj"), &mut mlp.down_proj),
        ]);
    }
    if let Some(head) = &mut decoder.lm_head {
        found.push((super::OUTPUT.to_owned(), head));
    }
    found
}

const DECODER_LAYERS: &str = "model.language_model.layers.";

/// How a matrix is rounded in a model of some format, if it is.
pub(crate) fn matrix_format(name: &str, quantization: Quantization) -> Option<MatrixFormat> {
    match (quantization, name.starts_with(DECODER_LAYERS)) {
        (Quantization::Q8, _) | (Quantization::Q4, false) => {
            Some(MatrixFormat::Blocks(BlockFormat::Q8))
        }
        (Quantization::Q4, true) => Some(MatrixFormat::Blocks(BlockFormat::Q4)),
        (Quantization::Nf4, true) => Some(MatrixFormat::Nf4),
        (Quantization::Nf4, false) => None,
    }
}

/// What the name of a rounded matrix's codes ends with.
const CODES: &str = ".codes";

/// The tensor that holds the codes of a rounded matrix.
pub(crate) fn codes_name(matrix: &str) -> String {
    format!("{matrix}{CODES}")
}

/// Whether a tensor is the codes of a rounded matrix.
pub(crate) fn is_codes(name: &str) -> bool {
    name.ends_with(CODES)
}

/// The tensor that holds the scales of a rounded matrix.
pub(crate) fn scales_name(matrix: &str) -> String {
    format!("{matrix}.scales")
}

/// The format of a matrix that the files hold rounded, by the type of its codes.
pub(crate) fn stored_format(weights: &Weights, matrix: &str) -> Option<MatrixFormat> {
    match weights.dtype_name(&codes_name(matrix)).as_str() {
        "I8" => Some(MatrixFormat::Blocks(BlockFormat::Q8)),
        "U8" => Some(MatrixFormat::Blocks(BlockFormat::Q4)),
        _ => is_nf4(weights, matrix).then_some(MatrixFormat::Nf4),
    }
}

/// The formats in which files hold matrices rounded.
pub(crate) fn rounded_formats(weights: &Weights) -> BTreeSet<&'static str> {
    let formats = weights.names().filter_map(|name| {
        let format = match is_codes(name) {
            true => stored_format(weights, name.strip_suffix(CODES)?),
            false => is_nf4(weights, name).then_some(MatrixFormat::Nf4),
        };
        format.map(|format| match format {
            MatrixFormat::Blocks(format) => format.name(),
            MatrixFormat::Nf4 => Quantization::Nf4.name(),
        })
    });
    formats.collect()
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
pub(super) enum Room {
    Pages(MmapMut),
    Heap(Vec<u8>),
}

pub(super) fn room(len: usize) -> Room {
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
