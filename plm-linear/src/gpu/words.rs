//! Weights whose rows the kernels read as words of 32 bits.

use burn::cubecl::{CubeCount, CubeDim, calculate_cube_count_elemwise};
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use plm_kernels::BLOCK;

use super::MOST_CUBES;
use super::kernel::{OUTPUTS, Packing, RowsLaunch, VECTOR, few_rows, widened};

/// Units of a cube that computes few rows.
const UNITS: usize = 64;

/// Rows of the input that a cube takes at most.
const INPUTS: usize = 8;

/// Outputs for which there are cubes.
pub(super) const MOST_OUTPUTS: usize = MOST_CUBES * OUTPUTS;

/// A weight `[d_output, d_input]` as the kernels read it.
pub(super) struct Words {
    words: CubeTensor,
    scales: CubeTensor,
    packing: Packing,
    /// Words and scales from a row to the next.
    strides: [usize; 2],
    d_output: usize,
    d_input: usize,
}

impl Words {
    /// Numbers of bf16 or f16.
    pub(super) fn halves(weight: CubeTensor) -> Self {
        let packing = match weight.dtype {
            DType::BF16 => Packing::Bf16,
            _ => Packing::F16,
        };
        let [d_output, d_input] = weight.meta.shape().dims();
        let (words, stride) = as_words(weight);
        Self {
            scales: words.clone(),
            words,
            packing,
            strides: [stride / 2, 0],
            d_output,
            d_input,
        }
    }

    /// Codes, and the scales of their blocks.
    pub(super) fn blocks(codes: CubeTensor, scales: CubeTensor) -> Self {
        let packing = match codes.dtype {
            DType::I8 => Packing::Q8,
            _ => Packing::Q4,
        };
        let [d_output, blocks] = scales.meta.shape().dims();
        let (words, stride) = as_words(codes);
        let (scales, scales_stride) = as_words(scales);
        Self {
            words,
            scales,
            packing,
            strides: [stride / 4, scales_stride],
            d_output,
            d_input: blocks * BLOCK,
        }
    }

    /// `x · weightᵀ`.
    pub(super) fn product(self, x: CubeTensor) -> CubeTensor {
        let x = into_contiguous(x);
        let [rows, _] = x.meta.shape().dims();
        let client = x.client.clone();
        let shape = Shape::new([rows, self.d_output]);
        let y = empty_device_contiguous_dtype(client.clone(), x.device.clone(), shape, x.dtype);
        if rows == 0 || self.d_output == 0 {
            return y;
        }
        let layout = self.layout();
        let inputs = rows.next_power_of_two().min(INPUTS);
        let cubes = [self.d_output.div_ceil(OUTPUTS), rows.div_ceil(inputs)].map(|n| n as u32);
        // SAFETY: the kernel reads rows of the weight and of `x`, and writes what is in `y`.
        #[allow(unsafe_code, reason = "checks would be made for each number")]
        unsafe {
            few_rows::launch_unchecked(
                &client,
                CubeCount::Static(cubes[0], cubes[1], 1),
                CubeDim::new_1d(UNITS as u32),
                VECTOR,
                x.into_tensor_arg(),
                self.words.into_tensor_arg(),
                self.scales.into_tensor_arg(),
                y.clone().into_tensor_arg(),
                layout,
                inputs,
                UNITS,
                self.packing,
            );
        }
        y
    }

    /// Rows in f32.
    pub(super) fn rows(self, rows: CubeTensor) -> CubeTensor {
        let rows = into_contiguous(rows);
        let count = rows.meta.shape()[0];
        let client = rows.client.clone();
        let shape = Shape::new([count, self.d_input]);
        let y =
            empty_device_contiguous_dtype(client.clone(), rows.device.clone(), shape, DType::F32);
        let units = count * self.chunks();
        if units == 0 {
            return y;
        }
        let layout = self.layout();
        let cube_dim = CubeDim::new(&client, units);
        // SAFETY: the kernel reads rows of the weight and of `x`, and writes what is in `y`.
        #[allow(unsafe_code, reason = "checks would be made for each number")]
        unsafe {
            widened::launch_unchecked(
                &client,
                calculate_cube_count_elemwise(&client, units, cube_dim),
                cube_dim,
                VECTOR,
                self.words.into_tensor_arg(),
                self.scales.into_tensor_arg(),
                rows.into_tensor_arg(),
                y.clone().into_tensor_arg(),
                layout,
                self.packing,
            );
        }
        y
    }

    /// Parts of a row that a unit takes at a time.
    fn chunks(&self) -> usize {
        self.d_input / (VECTOR * self.packing.vectors())
    }

    fn layout(&self) -> RowsLaunch {
        RowsLaunch::new(self.strides[0], self.strides[1], self.chunks())
    }
}

/// The same memory as words of 32 bits, and the numbers from a row to the next. Devices may leave room
/// between rows.
fn as_words(tensor: CubeTensor) -> (CubeTensor, usize) {
    let tensor = match tensor.meta.strides()[1] {
        1 => tensor,
        _ => into_contiguous(tensor),
    };
    let stride = tensor.meta.strides()[0];
    let [rows, columns] = tensor.meta.shape().dims();
    (
        words(tensor, rows.saturating_sub(1) * stride + columns),
        stride,
    )
}

/// The first numbers of a tensor's memory as words.
pub(super) fn words(tensor: CubeTensor, numbers: usize) -> CubeTensor {
    let words = (numbers * tensor.dtype.size()).div_ceil(4);
    CubeTensor::new_contiguous(
        tensor.client,
        tensor.device,
        Shape::new([words]),
        tensor.handle,
        DType::U32,
    )
}
