use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use half::f16;
use plm_kernels::{BLOCK, Matrix};

pub use plm_kernels::BlockFormat;

/// A weight matrix whose rows are rounded in blocks of [`BLOCK`] numbers that share a scale.
///
/// A code times the scale of its block is the weight. Eight bits take 8.5 bits a weight with their
/// scale, four bits 4.5; there is no offset, since weights are spread about zero.
#[derive(Module, Debug)]
pub struct Blocks {
    codes: Param<Tensor<2, Int>>,
    scales: Param<Tensor<2>>,
    #[module(skip)]
    format: BlockFormat,
    d_input: usize,
}

impl Blocks {
    /// Rounds a matrix.
    pub fn quantize(matrix: &Matrix<'_>, format: BlockFormat, device: &Device) -> Self {
        let (rows, blocks) = (matrix.rows(), matrix.columns().div_ceil(BLOCK));
        let shape = [rows, format.block_bytes() * blocks];
        let mut codes = vec![0; shape[0] * shape[1]];
        let mut scales = vec![f16::ZERO; rows * blocks];
        plm_kernels::quantize(matrix, format, &mut codes, &mut scales);
        let codes = TensorData::from_bytes_vec(codes, shape, Self::codes_dtype(format));
        let scales = TensorData::new(scales, [rows, blocks]);
        Self::from_data(codes, scales, matrix.columns(), format, device)
    }

    /// The type of a format's codes.
    pub fn codes_dtype(format: BlockFormat) -> DType {
        match format {
            BlockFormat::Q8 => DType::I8,
            BlockFormat::Q4 => DType::U8,
        }
    }

    /// Takes codes and scales as they are stored.
    ///
    /// # Shapes
    ///
    /// - `codes`: `[d_output, blocks · 32]` of i8, or `[d_output, blocks · 16]` of u8 for 4 bits,
    ///   with `blocks = ⌈d_input / 32⌉`
    /// - `scales`: `[d_output, blocks]` of f16
    pub fn from_data(
        codes: TensorData,
        scales: TensorData,
        d_input: usize,
        format: BlockFormat,
        device: &Device,
    ) -> Self {
        let dtype = Self::codes_dtype(format);
        Self {
            codes: Param::initialized(ParamId::new(), Tensor::from_data(codes, (device, dtype))),
            scales: Param::initialized(
                ParamId::new(),
                Tensor::from_data(scales, (device, DType::F16)),
            ),
            format,
            d_input,
        }
    }

    /// Sizes of the matrix, `[d_output, d_input]`.
    pub fn dims(&self) -> [usize; 2] {
        [self.scales.shape()[0], self.d_input]
    }

    /// How the numbers are rounded.
    pub fn format(&self) -> BlockFormat {
        self.format
    }

    /// Bytes that codes and scales take.
    pub fn num_bytes(&self) -> u64 {
        let scales = self.scales.shape().num_elements() * size_of::<f16>();
        (self.codes.shape().num_elements() + scales) as u64
    }

    /// The codes.
    pub fn codes(&self) -> Tensor<2, Int> {
        self.codes.val()
    }

    /// The scales.
    pub fn scales(&self) -> Tensor<2> {
        self.scales.val()
    }

    /// Some rows in f32, with burn's operations.
    pub(crate) fn select(&self, rows: Tensor<1, Int>) -> Tensor<2> {
        let codes = self.codes.val().select(0, rows.clone());
        self.to_float(codes, self.scales.val().select(0, rows))
    }

    /// The rows `start..end` in f32, with burn's operations.
    pub(crate) fn narrow(&self, start: usize, end: usize) -> Tensor<2> {
        let count = end - start;
        let codes = self.codes.val().narrow(0, start, count);
        self.to_float(codes, self.scales.val().narrow(0, start, count))
    }

    fn to_float(&self, codes: Tensor<2, Int>, scales: Tensor<2>) -> Tensor<2> {
        let [rows, blocks] = scales.dims();
        let codes = codes.cast(DType::I32);
        let codes = match self.format {
            BlockFormat::Q8 => codes.reshape([rows, blocks, BLOCK]),
            BlockFormat::Q4 => {
                let bytes = codes.reshape([rows, blocks, BLOCK / 2]);
                let high = bytes.clone().div_scalar(16);
                let low = bytes - high.clone().mul_scalar(16);
                Tensor::cat(vec![low, high], 2).sub_scalar(8)
            }
        };
        let scales = scales.cast(DType::F32).unsqueeze_dim(2);
        (codes.float().cast(DType::F32) * scales)
            .reshape([rows, blocks * BLOCK])
            .narrow(1, 0, self.d_input)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tolerance;
    use plm_kernels::Weights;
    use proptest::prelude::*;

    use super::*;
    use crate::Weight;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn burns_operations_and_the_kernels_agree_on_the_numbers(
            rows in 1usize..6, columns in 1usize..100, four in any::<bool>(),
        ) {
            let device = Device::flex();
            let format = if four { BlockFormat::Q4 } else { BlockFormat::Q8 };
            let values: Vec<f32> = (0..rows * columns).map(|i| (i as f32 * 1.7).sin()).collect();
            let matrix = Matrix::new(rows, columns, Weights::F32(&values));
            let blocks = Blocks::quantize(&matrix, format, &device);
            let float = blocks.narrow(0, rows).into_data();
            let weight = Weight::Blocks(blocks);
            let ids: Vec<u32> = (0..rows as u32).collect();
            weight.rows(&ids, &device).into_data().assert_eq(&float, true);
            let expected = TensorData::new(values, [rows, columns]);
            // Half a step of the widest block's codes, and the scale's own rounding.
            let step = if four { 0.15 } else { 0.005 };
            float.assert_approx_eq::<f32>(&expected, Tolerance::absolute(step));
        }
    }
}
