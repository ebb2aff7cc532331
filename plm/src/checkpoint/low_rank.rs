//! What an adapter adds to a matrix.

use burn::tensor::DType;
use rayon::prelude::*;

use super::numbers;

/// The low-rank part of one matrix `[d_output, d_input]`, all row-major.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LowRank {
    pub(crate) rank: usize,
    pub(crate) d_input: usize,
    pub(crate) d_output: usize,
    /// `[rank, d_input]`
    pub(crate) a: Vec<f32>,
    /// `[d_output, rank]`
    pub(crate) b: Vec<f32>,
    /// The lengths of the rows, `[d_output]`, if they are set.
    pub(crate) magnitude: Option<Vec<f32>>,
    /// What `b · a` is multiplied by.
    pub(crate) scale: f64,
}

impl LowRank {
    /// Merges itself into some rows of the matrix, from `first` on, of bytes in `dtype`.
    pub(super) fn merge(&self, first: usize, rows: &mut [u8], dtype: DType) {
        let row_bytes = self.d_input * dtype.size();
        rows.par_chunks_mut(row_bytes)
            .enumerate()
            .for_each(|(i, bytes)| {
                let mut row = numbers::to_f32(bytes, dtype);
                self.merge_row(first + i, &mut row);
                bytes.copy_from_slice(&numbers::from_f32(&row, dtype));
            });
    }

    fn merge_row(&self, index: usize, row: &mut [f32]) {
        let b = &self.b[index * self.rank..][..self.rank];
        for (&b, a) in b.iter().zip(self.a.chunks(self.d_input)) {
            let factor = (f64::from(b) * self.scale) as f32;
            for (value, &a) in row.iter_mut().zip(a) {
                *value += factor * a;
            }
        }
        if let Some(magnitude) = &self.magnitude {
            let squares: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            let factor = (f64::from(magnitude[index]) / squares.sqrt()) as f32;
            row.iter_mut().for_each(|value| *value *= factor);
        }
    }
}
