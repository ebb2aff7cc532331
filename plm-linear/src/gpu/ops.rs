//! The kernels as operations of burn's backend for GPUs, and of the layer over it that fuses.

#![allow(
    clippy::large_enum_variant,
    reason = "a packed weight, and what is derived of it, lives as long as a product takes"
)]

use std::ops::Range;

use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, ExtensionType, backend_extension};
use burn::tensor::{DType, IntDType, Shape, Slice};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use plm_kernels::BLOCK;

use super::nf4::Nf4Parts;
use super::words::{MOST_OUTPUTS, Words};
use crate::product::FEW_ROWS;

/// Numbers of a weight that are widened at a time at most (256 MiB of f32): a GPU is slow at many small
/// products.
const PANEL_NUMBERS: usize = 1 << 26;

/// A weight `[d_output, d_input]` that is kept as a file has it.
#[derive(ExtensionType, Debug, Clone)]
#[extension_type(fusion)]
pub(crate) enum Packed<B: Backend> {
    /// Numbers of bf16 or f16.
    Halves(FloatTensor<B>),
    /// Codes, and the scales of their blocks; `d_input` is of whole blocks.
    Blocks(IntTensor<B>, FloatTensor<B>),
    /// Levels and scales of NF4.
    Nf4(#[extension_type] Nf4Parts<B>),
}

/// Operations on weights of which no gradient is taken.
#[backend_extension(Cube, Fusion, Autodiff: cfg(feature = "autodiff"))]
#[cfg_attr(
    not(feature = "autodiff"),
    allow(dead_code, reason = "without gradients none is computed")
)]
pub(crate) trait PackedOps: Backend {
    /// `x · weightᵀ`, `[rows, d_output]`.
    #[fusion(dtype = x, shape = Shape::new([x[0], weight.dims()[0]]))]
    fn packed_product(
        x: FloatTensor<Self>,
        #[extension_type] weight: Packed<Self>,
    ) -> FloatTensor<Self>;

    /// `y · weight`, `[rows, d_input]`: the gradient of the product's input.
    #[fusion(dtype = y, shape = Shape::new([y[0], weight.dims()[1]]))]
    fn packed_input_gradient(
        y: FloatTensor<Self>,
        #[extension_type] weight: Packed<Self>,
    ) -> FloatTensor<Self>;

    /// Rows of the weight in f32, `[rows.len(), d_input]`.
    #[fusion(dtype = DType::F32, shape = Shape::new([rows[0], weight.dims()[1]]))]
    fn packed_rows(
        #[extension_type] weight: Packed<Self>,
        rows: IntTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl PackedMetadata {
    fn dims(&self) -> [usize; 2] {
        match self {
            Self::Halves(weight) => [weight.shape[0], weight.shape[1]],
            Self::Blocks(_, scales) => [scales.shape[0], scales.shape[1] * BLOCK],
            Self::Nf4(parts) => parts.dims,
        }
    }
}

impl PackedOps for CubeBackend {
    fn packed_product(x: CubeTensor, weight: Packed<Self>) -> CubeTensor {
        let (rows, [d_output, _]) = (x.meta.shape()[0], dims(&weight));
        if rows <= FEW_ROWS && d_output <= MOST_OUTPUTS {
            match weight {
                Packed::Halves(weight) => return Words::halves(weight).product(x),
                Packed::Blocks(codes, scales) => return Words::blocks(codes, scales).product(x),
                Packed::Nf4(_) => {}
            }
        }
        let products = panels(weight, &x)
            .map(|(_, panel)| Self::float_matmul(x.clone(), Self::float_swap_dims(panel, 0, 1)));
        let mut products: Vec<CubeTensor> = products.collect();
        match products.len() {
            1 => products.remove(0),
            _ => Self::float_cat(products, 1),
        }
    }

    fn packed_input_gradient(y: CubeTensor, weight: Packed<Self>) -> CubeTensor {
        let products = panels(weight, &y).map(|(rows, panel)| {
            let columns = [Slice::full(), Slice::from(rows)];
            Self::float_matmul(Self::float_slice(y.clone(), &columns), panel)
        });
        products.reduce(Self::float_add).expect("a weight has rows")
    }

    fn packed_rows(weight: Packed<Self>, rows: CubeTensor) -> CubeTensor {
        match weight {
            Packed::Halves(weight) => Words::halves(weight).rows(rows),
            Packed::Blocks(codes, scales) => Words::blocks(codes, scales).rows(rows),
            Packed::Nf4(parts) => parts.rows(rows),
        }
    }
}

/// Sizes of a weight, `[d_output, d_input]`.
fn dims(weight: &Packed<CubeBackend>) -> [usize; 2] {
    match weight {
        Packed::Halves(weight) => weight.meta.shape().dims(),
        Packed::Blocks(_, scales) => {
            let [d_output, blocks] = scales.meta.shape().dims();
            [d_output, blocks * BLOCK]
        }
        Packed::Nf4(parts) => parts.dims,
    }
}

/// A weight in f32, on the device of `x`, so many rows at a time that the memory is bounded.
fn panels(
    weight: Packed<CubeBackend>,
    x: &CubeTensor,
) -> impl Iterator<Item = (Range<usize>, CubeTensor)> {
    let [d_output, d_input] = dims(&weight);
    let piece = x.client.properties().memory.max_page_size / size_of::<f32>() as u64;
    let numbers = usize::try_from(piece).map_or(PANEL_NUMBERS, |piece| piece.min(PANEL_NUMBERS));
    let step = (numbers / d_input.max(1)).max(1);
    (0..d_output).step_by(step).map(move |start| {
        let rows = start..(start + step).min(d_output);
        let ids = rows.start as i64..rows.end as i64;
        let ids = CubeBackend::int_arange(ids, &x.device, IntDType::I32);
        (rows, CubeBackend::packed_rows(weight.clone(), ids))
    })
}
