//! Weights in NF4, which are widened to be multiplied.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, ExtensionType};
use burn::cubecl;
use burn::cubecl::calculate_cube_count_elemwise;
use burn::cubecl::prelude::*;
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use plm_kernels::{NF4_BLOCK, NF4_LEVELS, NF4_NESTED_BLOCK};

use super::kernel::VECTOR;
use super::words::words;

/// The parts of a weight, as [`Nf4Data`](crate::Nf4Data) has them.
#[derive(ExtensionType, Debug, Clone)]
#[extension_type(fusion)]
pub(crate) struct Nf4Parts<B: Backend> {
    pub(super) codes: IntTensor<B>,
    pub(super) absmax: IntTensor<B>,
    pub(super) nested_absmax: FloatTensor<B>,
    pub(super) map: FloatTensor<B>,
    pub(super) offset: f32,
    pub(super) dims: [usize; 2],
}

impl Nf4Parts<CubeBackend> {
    /// Rows in f32.
    pub(super) fn rows(self, rows: CubeTensor) -> CubeTensor {
        let rows = into_contiguous(rows);
        let (count, [_, d_input]) = (rows.meta.shape()[0], self.dims);
        let client = rows.client.clone();
        let y = empty_device_contiguous_dtype(
            client.clone(),
            rows.device.clone(),
            Shape::new([count, d_input]),
            DType::F32,
        );
        let units = count * d_input / VECTOR;
        if units == 0 {
            return y;
        }
        let [codes, absmax] = [self.codes, self.absmax].map(|bytes| {
            let len = bytes.meta.shape()[0];
            words(bytes, len)
        });
        let cube_dim = CubeDim::new(&client, units);
        // SAFETY: the kernel reads rows of the weight, and writes what is in `y`.
        #[allow(unsafe_code, reason = "checks would be made for each number")]
        unsafe {
            widened_nf4::launch_unchecked(
                &client,
                calculate_cube_count_elemwise(&client, units, cube_dim),
                cube_dim,
                VECTOR,
                codes.into_tensor_arg(),
                absmax.into_tensor_arg(),
                self.nested_absmax.into_tensor_arg(),
                self.map.into_tensor_arg(),
                rows.into_tensor_arg(),
                y.clone().into_tensor_arg(),
                self.offset,
            );
        }
        y
    }
}

/// Rows of the weight as numbers: a unit writes a vector, whose numbers share a scale.
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel takes its buffers one by one"
)]
#[cube(launch_unchecked)]
fn widened_nf4<N: Size>(
    codes: &Tensor<u32>,
    absmax: &Tensor<u32>,
    nested_absmax: &Tensor<f32>,
    map: &Tensor<f32>,
    rows: &Tensor<i32>,
    y: &mut Tensor<Vector<f32, N>>,
    offset: f32,
) {
    let vectors = y.shape(1) / VECTOR;
    let row = ABSOLUTE_POS / vectors;
    if row < y.shape(0) {
        let at = usize::cast_from(rows[row]) * y.shape(1) + ABSOLUTE_POS % vectors * VECTOR;
        let block = at / NF4_BLOCK;
        let rounded = (absmax[block / 4] >> (u32::cast_from(block % 4) * 8u32)) & 0xffu32;
        let nested = nested_absmax[block / NF4_NESTED_BLOCK];
        let scale = map[usize::cast_from(rounded)] * nested + offset;
        let word = codes[at / 8] >> (u32::cast_from(at % 8) * 4u32);
        let mut numbers = Vector::<f32, N>::empty();
        #[unroll]
        for i in 0..4usize {
            // The first of a byte's two is in its high half.
            let code = (word >> comptime!((i as u32 ^ 1) * 4)) & 0xfu32;
            numbers.insert(i, level(code) * scale);
        }
        y[ABSOLUTE_POS] = numbers;
    }
}

#[allow(clippy::needless_range_loop, reason = "what is unrolled is a range")]
#[cube]
fn level(code: u32) -> f32 {
    let mut level = 0.0f32;
    #[unroll]
    for i in 0..16usize {
        level = select(code == comptime!(i as u32), comptime!(NF4_LEVELS[i]), level);
    }
    level
}
