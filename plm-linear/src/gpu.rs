//! Products and rows of half and quantised weights on GPUs, what is done with activations between them, and the
//! likeliest of many logits.
//!
//! The kernels read a weight as it is in the file, so that nothing is widened to memory for the few
//! rows of a token's step, and a device needs no type of its own for halves or bytes.

mod activations;
#[cfg(feature = "autodiff")]
mod gradient;
mod greatest;
mod kernel;
mod nf4;
mod ops;
mod words;

use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::{DType, Device, Int, Tensor};
use plm_kernels::BLOCK;

use crate::{ReadBackError, Weight, read_back_as};
use activations::ActivationOps;
use greatest::RankOps;
use kernel::VECTOR;
use nf4::Nf4Parts;
use ops::{Packed, PackedOps};

/// Cubes in a row and in a column that all devices have.
const MOST_CUBES: usize = 65_535;

/// Whether the kernels read rows of so many numbers in a dtype, or of codes in it, on a device.
pub(crate) fn reads(device: &Device, dtype: DType, d_input: usize) -> bool {
    let reads = match dtype {
        DType::BF16 | DType::F16 => d_input.is_multiple_of(VECTOR),
        DType::I8 | DType::U8 => true,
        _ => false,
    };
    reads && has_kernels(device)
}

/// Whether a device has the kernels.
fn has_kernels(device: &Device) -> bool {
    matches!(
        device.clone().without_autodiff().as_dispatch(),
        DispatchDevice::Cube(_)
    )
}

/// `x · weightᵀ` with a half or quantised weight on a GPU. A gradient is taken of the input alone, and
/// for it the weight is read a second time, so that nothing that is widened is kept.
///
/// # Shapes
///
/// - `x`: `[rows, d_input]`, f32
/// - result: `[rows, d_output]`
pub(crate) fn product(x: &Tensor<2>, weight: &Weight) -> Option<Tensor<2>> {
    let [rows, d_input] = x.dims();
    let [d_output, _] = weight.dims();
    if rows == 0 || d_output == 0 || x.dtype() != DType::F32 {
        return None;
    }
    let packed = packed(weight)?;
    let x = match weight {
        // Zeros for the numbers that a last block lacks.
        Weight::Blocks(_) if !d_input.is_multiple_of(BLOCK) => {
            let lacking = d_input.next_multiple_of(BLOCK) - d_input;
            let zeros = Tensor::zeros([rows, lacking], (&x.device(), DType::F32));
            Tensor::cat(vec![x.clone(), zeros], 1)
        }
        _ => x.clone(),
    };
    let y = Dispatch::packed_product(x.into_dispatch(), packed);
    Some(Tensor::from_dispatch(y))
}

/// Rows of a half or quantised weight on a GPU, in f32.
///
/// # Shapes
///
/// - result: `[ids.len(), d_input]`
///
/// # Panics
///
/// When there is no such row.
pub(crate) fn rows(
    weight: &Weight,
    ids: impl ExactSizeIterator<Item = usize>,
) -> Option<Tensor<2>> {
    let packed = packed(weight)?;
    let device = weight.device().without_autodiff();
    let count = weight.dims()[0];
    let ids: Vec<i32> = ids
        .inspect(|&id| assert!(id < count, "row {id} of {count}"))
        .map(|id| id as i32)
        .collect();
    let ids = Tensor::<1, Int>::from_data(ids.as_slice(), (&device, DType::I32));
    let rows = Dispatch::packed_rows(packed, ids.into_dispatch());
    Some(Tensor::from_dispatch(rows).narrow(1, 0, weight.dims()[1]))
}

/// As [`greatest`](crate::greatest()), of rows that have numbers.
pub(crate) fn greatest(x: &Tensor<2>) -> Option<Result<Vec<Option<u32>>, ReadBackError>> {
    let rows = x.dims()[0];
    if x.dtype() != DType::F32 || rows > MOST_CUBES || !has_kernels(&x.device()) {
        return None;
    }
    let found = Dispatch::ranks(x.clone().without_autodiff().into_dispatch());
    let found = read_back_as::<u32, _, _>(Tensor::<1, Int>::from_dispatch(found));
    Some(found.map(|found| {
        let each = found.chunks(found.len() / rows);
        each.map(greatest::place).collect()
    }))
}

/// `x / √(mean(x²) + eps) · weight` of each row on a GPU, where no gradient is taken.
///
/// # Shapes
///
/// - `x` and result: `[..., width]`
pub(crate) fn rms_normalized<const D: usize>(
    x: &Tensor<D>,
    weight: &Tensor<1>,
    eps: f64,
) -> Option<Tensor<D>> {
    let rows = rows_of(x)?;
    if !is_read(weight) || weight.dims() != [x.dims()[D - 1]] {
        return None;
    }
    let weight = weight.clone().into_dispatch();
    let y = Dispatch::rms_normalized(rows.into_dispatch(), weight, eps as f32);
    Some(Tensor::<3>::from_dispatch(y).reshape(x.dims()))
}

/// The softmax of each row on a GPU, where no gradient is taken.
///
/// # Shapes
///
/// - `x` and result: `[..., width]`
pub(crate) fn softmaxed<const D: usize>(x: &Tensor<D>) -> Option<Tensor<D>> {
    let y = Dispatch::softmaxed(rows_of(x)?.into_dispatch());
    Some(Tensor::<3>::from_dispatch(y).reshape(x.dims()))
}

/// Rows of f32 that kernels go through, `[groups, rows, width]`, of a tensor of which no gradient is taken.
fn rows_of<const D: usize>(x: &Tensor<D>) -> Option<Tensor<3>> {
    let (dims, numbers) = (x.dims(), x.shape().num_elements());
    if numbers == 0 || !is_read(x) {
        return None;
    }
    let (width, rows) = (dims[D - 1], if D > 1 { dims[D - 2] } else { 1 });
    let groups = numbers / (width * rows);
    let fits = rows.max(groups) <= MOST_CUBES;
    fits.then(|| x.clone().reshape([groups, rows, width]))
}

/// As [`rotate_heads`](crate::rotate_heads()), where no gradient is taken.
pub(crate) fn rotated_heads(x: &Tensor<4>, cos: &Tensor<4>, sin: &Tensor<4>) -> Option<Tensor<4>> {
    let [batch, seq, heads, head_dim] = x.dims();
    let angles = [batch, 1, seq, head_dim / 2];
    let is_pairs = head_dim.is_multiple_of(2) && [cos, sin].map(Tensor::dims) == [angles; 2];
    if !is_pairs || seq * heads * head_dim == 0 || ![x, cos, sin].into_iter().all(is_read) {
        return None;
    }
    let [x, cos, sin] = [x, cos, sin].map(|x| x.clone().into_dispatch());
    Some(Tensor::from_dispatch(Dispatch::rotated_heads(x, cos, sin)))
}

/// Whether kernels read a tensor of activations: in f32, on a GPU, without gradients.
fn is_read<const D: usize>(x: &Tensor<D>) -> bool {
    let device = x.device();
    x.dtype() == DType::F32 && !device.is_autodiff() && has_kernels(&device)
}

/// What the kernels read of a weight; of one that gradients are taken of, they read nothing.
fn packed(weight: &Weight) -> Option<Packed<Dispatch>> {
    if !has_kernels(&weight.device()) {
        return None;
    }
    match weight {
        Weight::Float(weight) => {
            let weight = weight.val();
            let is_read = matches!(weight.dtype(), DType::BF16 | DType::F16)
                && weight.dims()[1].is_multiple_of(VECTOR)
                && !is_tracked(&weight);
            is_read.then(|| Packed::Halves(weight.without_autodiff().into_dispatch()))
        }
        Weight::Blocks(blocks) => {
            let scales = blocks.scales().without_autodiff();
            let codes = blocks.codes().without_autodiff();
            Some(Packed::Blocks(
                codes.into_dispatch(),
                scales.into_dispatch(),
            ))
        }
        Weight::Nf4(nf4) if nf4.dims()[1].is_multiple_of(VECTOR) => {
            let bytes = [&nf4.codes, &nf4.absmax];
            let [codes, absmax] = bytes.map(|x| x.val().without_autodiff().into_dispatch());
            let numbers = [&nf4.nested_absmax, &nf4.map];
            let [nested_absmax, map] = numbers.map(|x| x.val().without_autodiff().into_dispatch());
            Some(Packed::Nf4(Nf4Parts {
                codes,
                absmax,
                nested_absmax,
                map,
                offset: nf4.offset,
                dims: nf4.dims(),
            }))
        }
        Weight::Nf4(_) => None,
    }
}

/// Whether a gradient is taken of a tensor.
fn is_tracked(tensor: &Tensor<2>) -> bool {
    #[cfg(feature = "autodiff")]
    return tensor.is_tracked() || tensor.is_require_grad();
    #[cfg(not(feature = "autodiff"))]
    {
        let _ = tensor;
        false
    }
}
