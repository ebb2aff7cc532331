//! Rounding of weights to blocks.

use half::f16;

use crate::lanes::{Lanes, Level, Task, run};
use crate::matrix::{BLOCK, Matrix};
use crate::product::expand_row;
use crate::threads::{Shared, for_each};

/// How weights are rounded in blocks of [`BLOCK`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockFormat {
    /// 8 bits, and a scale of 16 for each block.
    Q8,
    /// 4 bits, and a scale of 16 for each block.
    Q4,
}

impl BlockFormat {
    /// `q8` or `q4`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }

    /// Bytes of a block's codes.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Q8 => BLOCK,
            Self::Q4 => BLOCK / 2,
        }
    }
}

/// Rounds a matrix; returns the codes, row by row, and the scales.
pub fn quantize(matrix: &Matrix<'_>, format: BlockFormat) -> (Vec<u8>, Vec<f16>) {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    let blocks = columns.div_ceil(BLOCK);
    let row_bytes = blocks * format.block_bytes();
    let mut codes = vec![0; rows * row_bytes];
    let mut scales = vec![f16::ZERO; rows * blocks];
    let (to, scales_to) = (Shared(codes.as_mut_ptr()), Shared(scales.as_mut_ptr()));
    const ROWS: usize = 16;
    for_each(rows.div_ceil(ROWS), |i| {
        let mut weights = vec![0.0; columns];
        for row in i * ROWS..rows.min((i + 1) * ROWS) {
            expand_row(matrix, row, &mut weights);
            // SAFETY: each row has its own part of codes and scales.
            let (codes, scales) = unsafe {
                (
                    std::slice::from_raw_parts_mut(to.get().add(row * row_bytes), row_bytes),
                    std::slice::from_raw_parts_mut(scales_to.get().add(row * blocks), blocks),
                )
            };
            let row = Row {
                weights: &weights,
                format,
                codes,
                scales,
            };
            run(Level::best(), row);
        }
    });
    (codes, scales)
}

/// One row to round.
struct Row<'a> {
    weights: &'a [f32],
    format: BlockFormat,
    codes: &'a mut [u8],
    scales: &'a mut [f16],
}

impl Task for Row<'_> {
    type Output = ();

    /// Vectors are left to the compiler, which has the instruction set's at hand here.
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        match self.format {
            BlockFormat::Q8 => {
                let codes = self.codes.as_mut_ptr().cast();
                let codes = std::slice::from_raw_parts_mut(codes, self.codes.len());
                quantize_q8(self.weights, codes, self.scales);
            }
            BlockFormat::Q4 => quantize_q4(self.weights, self.codes, self.scales),
        }
    }
}

/// Rounds a row of weights to 8 bits: the greatest magnitude of a block becomes 127.
///
/// `codes` has room for whole blocks, `scales` for one number a block.
///
/// # Panics
///
/// When they have not.
#[inline(always)]
pub(crate) fn quantize_q8(row: &[f32], codes: &mut [i8], scales: &mut [f16]) {
    let blocks = row.len().div_ceil(BLOCK);
    assert_eq!([codes.len(), scales.len()], [blocks * BLOCK, blocks]);
    let blocks = row.chunks(BLOCK).zip(codes.chunks_mut(BLOCK));
    for ((weights, codes), scale) in blocks.zip(scales) {
        *scale = f16::from_f32(greatest(weights).abs() / 127.0);
        let inverse = inverse(*scale);
        codes.fill(0);
        for (code, weight) in codes.iter_mut().zip(weights) {
            *code = (weight * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
        }
    }
}

/// Rounds a row of weights to 4 bits.
///
/// Of the sixteen codes, -8 has no counterpart: the weight of the greatest magnitude gets it,
/// whatever its sign. From there the scale is drawn in step by step, and the one that leaves the
/// smallest squared error is taken.
///
/// # Panics
///
/// When `codes` has not half a byte a weight of whole blocks, or `scales` not a number a block.
#[inline(always)]
pub(crate) fn quantize_q4(row: &[f32], codes: &mut [u8], scales: &mut [f16]) {
    let blocks = row.len().div_ceil(BLOCK);
    assert_eq!([codes.len(), scales.len()], [blocks * BLOCK / 2, blocks]);
    let blocks = row.chunks(BLOCK).zip(codes.chunks_mut(BLOCK / 2));
    for ((weights, codes), scale) in blocks.zip(scales) {
        let widest = greatest(weights) / -8.0;
        let mut best = (f32::INFINITY, f16::ZERO);
        for step in 0..SCALE_STEPS {
            let scale = f16::from_f32(widest * (1.0 - step as f32 * SCALE_STEP));
            let inverse = inverse(scale);
            let error: f32 = weights
                .iter()
                .map(|weight| (weight - code(*weight, inverse) * scale.to_f32()).powi(2))
                .sum();
            if error < best.0 {
                best = (error, scale);
            }
        }
        *scale = best.1;
        let inverse = inverse(*scale);
        let nibble = |i: usize| {
            let weight = weights.get(i).copied().unwrap_or(0.0);
            (code(weight, inverse) + 8.0) as u8
        };
        for (i, byte) in codes.iter_mut().enumerate() {
            *byte = nibble(i) | nibble(i + BLOCK / 2) << 4;
        }
    }
}

/// Scales that are tried for a block of 4 bits, and how far apart they are.
const SCALE_STEPS: usize = 8;
const SCALE_STEP: f32 = 0.03;

#[inline(always)]
fn code(weight: f32, inverse: f32) -> f32 {
    (weight * inverse).round_ties_even().clamp(-8.0, 7.0)
}

/// The weight of the greatest magnitude.
#[inline(always)]
fn greatest(weights: &[f32]) -> f32 {
    weights.iter().fold(
        0.0,
        |most: f32, &w| if w.abs() > most.abs() { w } else { most },
    )
}

#[inline(always)]
fn inverse(scale: f16) -> f32 {
    if scale == f16::ZERO {
        0.0
    } else {
        1.0 / scale.to_f32()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Weights;

    /// Numbers of a normal distribution, as weights are.
    fn normal(count: usize) -> Vec<f32> {
        let mut state = 1u64;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        (0..count)
            .map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0)
            .collect()
    }

    fn relative_error(weights: &[f32], found: &[f32]) -> f32 {
        let difference: f32 = weights
            .iter()
            .zip(found)
            .map(|(a, b)| (a - b).powi(2))
            .sum();
        let size: f32 = weights.iter().map(|a| a * a).sum();
        (difference / size).sqrt()
    }

    #[test]
    fn eight_bits_keep_normal_weights_to_half_a_percent() {
        let weights = normal(32 * 300 + 5);
        let blocks = weights.len().div_ceil(BLOCK);
        let (mut codes, mut scales) = (vec![0; blocks * BLOCK], vec![f16::ZERO; blocks]);
        quantize_q8(&weights, &mut codes, &mut scales);
        let mut found = vec![0.0; weights.len()];
        let q8 = Weights::Q8 {
            codes: &codes,
            scales: &scales,
        };
        expand_row(&Matrix::new(1, weights.len(), q8), 0, &mut found);
        let error = relative_error(&weights, &found);
        assert!((0.003..0.0062).contains(&error), "{error}");
    }

    #[test]
    fn four_bits_keep_normal_weights_to_a_tenth() {
        let weights = normal(32 * 300 + 5);
        let blocks = weights.len().div_ceil(BLOCK);
        let (mut codes, mut scales) = (vec![0; blocks * BLOCK / 2], vec![f16::ZERO; blocks]);
        quantize_q4(&weights, &mut codes, &mut scales);
        let mut found = vec![0.0; weights.len()];
        let q4 = Weights::Q4 {
            codes: &codes,
            scales: &scales,
        };
        expand_row(&Matrix::new(1, weights.len(), q4), 0, &mut found);
        let error = relative_error(&weights, &found);
        assert!((0.05..0.088).contains(&error), "{error}");
    }

    #[test]
    fn zeros_stay_zeros_and_huge_weights_finite() {
        let (mut codes, mut scales) = (vec![1; 32], vec![f16::ONE; 1]);
        quantize_q8(&[0.0; 32], &mut codes, &mut scales);
        assert!(codes.iter().all(|&code| code == 0));
        let (mut codes, mut scales) = (vec![1; 16], vec![f16::ONE; 1]);
        quantize_q4(&[0.0; 7], &mut codes, &mut scales);
        assert!(codes.iter().all(|&code| code == 0x88));
        quantize_q4(&[4e5; 32], &mut codes, &mut scales);
        assert!(scales[0].is_finite());
    }
}
