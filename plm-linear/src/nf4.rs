use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use plm_kernels::{Matrix, NF4_BLOCK, NF4_LEVELS, NF4_NESTED_BLOCK, Nf4Rounding, dynamic_map};

use crate::host::{self, Numbers};

/// A weight matrix of 4 bits a weight in NF4, with scales that are rounded too, as QLoRA and
/// bitsandbytes have them ([`plm_kernels::Nf4`] tells how); 4.13 bits a weight with its scales.
#[derive(Module, Debug)]
pub struct Nf4 {
    pub(crate) codes: Param<Tensor<1, Int>>,
    pub(crate) absmax: Param<Tensor<1, Int>>,
    pub(crate) nested_absmax: Param<Tensor<1>>,
    pub(crate) map: Param<Tensor<1>>,
    #[module(skip)]
    pub(crate) offset: f32,
    d_output: usize,
    d_input: usize,
}

/// What keeps the numbers alive.
pub(crate) struct HeldNf4 {
    codes: Numbers,
    absmax: Numbers,
    nested_absmax: Numbers,
    map: Numbers,
    offset: f32,
}

/// The numbers of a matrix in NF4 as they are stored.
#[derive(Debug, Clone)]
pub struct Nf4Data {
    /// Two weights a byte, the first in the high half: u8.
    pub codes: TensorData,
    /// One byte for each [`NF4_BLOCK`] weights: u8.
    pub absmax: TensorData,
    /// One number for each [`NF4_NESTED_BLOCK`] bytes of `absmax`: f32.
    pub nested_absmax: TensorData,
    /// The 256 numbers that bytes of `absmax` stand for: f32.
    pub map: TensorData,
    /// What the scales were lowered by.
    pub offset: f32,
}

impl Nf4 {
    /// Rounds a matrix.
    pub fn quantize(matrix: &Matrix<'_>, device: &Device) -> Self {
        let shape = [matrix.rows(), matrix.columns()];
        let mut codes = vec![0; (shape[0] * shape[1]).div_ceil(2)];
        let mut rounding = Nf4Rounding::new(&mut codes);
        rounding.push(matrix);
        let scales = rounding.finish();
        let flat = |bytes: Vec<u8>| {
            let len = bytes.len();
            TensorData::new(bytes, [len])
        };
        let nested = scales.nested_absmax.len();
        let data = Nf4Data {
            codes: flat(codes),
            absmax: flat(scales.absmax),
            nested_absmax: TensorData::new(scales.nested_absmax, [nested]),
            map: TensorData::from(*dynamic_map()),
            offset: scales.offset,
        };
        Self::from_data(data, shape, device)
    }

    /// Takes numbers as they are stored, of whatever shapes, for a matrix `[d_output, d_input]`.
    pub fn from_data(data: Nf4Data, [d_output, d_input]: [usize; 2], device: &Device) -> Self {
        // Bytes that are shared with a file stay so.
        let flat = |data: TensorData| {
            let (len, dtype) = (data.num_elements(), data.dtype());
            TensorData::from_bytes(data.into_bytes(), [len], dtype)
        };
        let bytes = |data| {
            let tensor = Tensor::from_data(flat(data), (device, DType::U8));
            Param::initialized(ParamId::new(), tensor)
        };
        let floats = |data| {
            let tensor = Tensor::from_data(flat(data), (device, DType::F32));
            Param::initialized(ParamId::new(), tensor)
        };
        Self {
            codes: bytes(data.codes),
            absmax: bytes(data.absmax),
            nested_absmax: floats(data.nested_absmax),
            map: floats(data.map),
            offset: data.offset,
            d_output,
            d_input,
        }
    }

    /// Sizes of the matrix, `[d_output, d_input]`.
    pub fn dims(&self) -> [usize; 2] {
        [self.d_output, self.d_input]
    }

    /// Where the numbers are.
    pub fn device(&self) -> Device {
        self.nested_absmax.val().device()
    }

    /// Bytes that codes and scales take.
    pub fn num_bytes(&self) -> u64 {
        plm_kernels::Nf4::bytes_of(self.d_output * self.d_input) as u64
    }

    /// Some rows in f32, with burn's operations.
    pub(crate) fn select(&self, rows: Tensor<1, Int>) -> Tensor<2> {
        let device = rows.device();
        let columns = Tensor::<1, Int>::arange(0..self.d_input as i64, &device);
        let [count] = rows.dims();
        let rows = rows.mul_scalar(self.d_input as i64).unsqueeze_dim::<2>(1);
        let at = rows + columns.unsqueeze_dim::<2>(0);
        self.weights(at.reshape([count * self.d_input]))
            .reshape([count, self.d_input])
    }

    /// The rows `start..end` in f32, with burn's operations.
    pub(crate) fn narrow(&self, start: usize, end: usize) -> Tensor<2> {
        let [start, end] = [start, end].map(|row| (row * self.d_input) as i64);
        let at = Tensor::<1, Int>::arange(start..end, &self.device());
        self.weights(at)
            .reshape([(end - start) as usize / self.d_input.max(1), self.d_input])
    }

    /// The weights of these numbers, row-major.
    fn weights(&self, at: Tensor<1, Int>) -> Tensor<1> {
        let device = self.device();
        let dtype = at.dtype();
        let bytes = self.codes.val().select(0, at.clone().div_scalar(2));
        let bytes = bytes.cast(dtype);
        let high = bytes.clone().div_scalar(16);
        let low = bytes - high.clone().mul_scalar(16);
        let odd = at.clone() - at.clone().div_scalar(2).mul_scalar(2);
        let code = high.clone() + odd * (low - high);
        let levels = Tensor::<1>::from_data(NF4_LEVELS, (&device, DType::F32));
        let block = at.div_scalar(NF4_BLOCK as i64);
        let absmax = self.absmax.val().select(0, block.clone()).cast(dtype);
        let nested = block.div_scalar(NF4_NESTED_BLOCK as i64);
        let nested = self.nested_absmax.val().select(0, nested);
        let scale = self.map.val().select(0, absmax) * nested + self.offset;
        levels.select(0, code) * scale
    }

    /// The numbers, where they are in this process's memory.
    pub(crate) fn held(&self) -> Option<HeldNf4> {
        Some(HeldNf4 {
            codes: host::integers(&self.codes.val())?,
            absmax: host::integers(&self.absmax.val())?,
            nested_absmax: host::floats(&self.nested_absmax.val())?,
            map: host::floats(&self.map.val())?,
            offset: self.offset,
        })
    }
}

impl HeldNf4 {
    /// The numbers for the kernels.
    pub(crate) fn numbers(&self) -> plm_kernels::Nf4<'_> {
        let bytes = [&self.codes, &self.absmax];
        let [codes, absmax] = bytes.map(|numbers| numbers.u8().expect("they are bytes"));
        let floats = [&self.nested_absmax, &self.map];
        let [nested, map] = floats.map(|numbers| numbers.f32().expect("they are f32"));
        plm_kernels::Nf4::new(codes, absmax, nested, map, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use plm_kernels::Weights;
    use proptest::prelude::*;

    use super::*;
    use crate::Weight;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn burns_operations_and_the_kernels_agree_on_the_numbers(
            rows in 1usize..6, columns in 1usize..200,
        ) {
            let device = Device::flex();
            let values: Vec<f32> = (0..rows * columns).map(|i| (i as f32 * 1.7).sin()).collect();
            let matrix = Matrix::new(rows, columns, Weights::F32(&values));
            let nf4 = Nf4::quantize(&matrix, &device);
            let float = nf4.narrow(0, rows).into_data();
            let last = nf4.narrow(rows - 1, rows).into_data();
            let ids = Tensor::<1, Int>::from_data([rows as i64 - 1], &device);
            nf4.select(ids).into_data().assert_eq(&last, true);
            let weight = Weight::Nf4(nf4);
            let ids: Vec<u32> = (0..rows as u32).collect();
            weight.rows(&ids, &device).into_data().assert_eq(&float, true);
            let found: Vec<f32> = float.try_into_vec().unwrap();
            // Half of the widest step between levels, and the scale's own rounding.
            let most = found.iter().zip(&values).map(|(a, b)| (a - b).abs());
            prop_assert!(most.fold(0.0, f32::max) < 0.17);
        }
    }
}
