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

/// Rounds a matrix into codes and scales, row by row.
///
/// # Panics
///
/// When `codes` has not [`BlockFormat::block_bytes`], or `scales` not one number, for each block.
pub fn quantize(matrix: &Matrix<'_>, format: BlockFormat, codes: &mut [u8], scales: &mut [f16]) {
    quantize_at(Level::best(), matrix, format, codes, scales);
}

fn quantize_at(
    level: Level,
    matrix: &Matrix<'_>,
    format: BlockFormat,
    codes: &mut [u8],
    scales: &mut [f16],
) {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    let blocks = columns.div_ceil(BLOCK);
    let row_bytes = blocks * format.block_bytes();
    let found = [codes.len(), scales.len()];
    assert_eq!(found, [rows * row_bytes, rows * blocks], "codes and scales");
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
            run(level, row);
        }
    });
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

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let codes = self.codes.chunks_exact_mut(self.format.block_bytes());
        let weights = self.weights.chunks(BLOCK);
        for ((weights, codes), scale) in weights.zip(codes).zip(self.scales) {
            let mut block = [0.0; BLOCK];
            block[..weights.len()].copy_from_slice(weights);
            *scale = match self.format {
                BlockFormat::Q8 => round_q8::<L>(&block, codes),
                BlockFormat::Q4 => round_q4::<L>(&block, codes),
            };
        }
    }
}

/// Rounds a block to 8 bits: its greatest magnitude becomes 127.
#[inline(always)]
unsafe fn round_q8<L: Lanes>(block: &[f32; BLOCK], codes: &mut [u8]) -> f16 {
    let scale = f16::from_f32(greatest::<L>(block).abs() / 127.0);
    let rounded = round::<L>(block, inverse(scale), -127.0, 127.0);
    for (code, rounded) in codes.iter_mut().zip(rounded) {
        *code = rounded as i32 as u8;
    }
    scale
}

/// Rounds a block to 4 bits.
///
/// Of the sixteen codes, -8 has no counterpart: the weight of the greatest magnitude gets it,
/// whatever its sign. From there the scale is drawn in step by step, and the one that leaves the
/// smallest squared error is taken.
#[inline(always)]
unsafe fn round_q4<L: Lanes>(block: &[f32; BLOCK], codes: &mut [u8]) -> f16 {
    let widest = greatest::<L>(block) / -8.0;
    let mut best = (f32::INFINITY, f16::ZERO);
    for step in 0..SCALE_STEPS {
        let scale = f16::from_f32(widest * (1.0 - step as f32 * SCALE_STEP));
        let rounded = round::<L>(block, inverse(scale), -8.0, 7.0);
        let mut error = L::splat(0.0);
        for i in (0..BLOCK).step_by(L::N) {
            let rounded = L::load(rounded.as_ptr().add(i));
            let back = L::mul(rounded, L::splat(scale.to_f32()));
            let lost = L::sub(L::load(block.as_ptr().add(i)), back);
            error = L::fma(lost, lost, error);
        }
        let error = L::sum(error);
        if error < best.0 {
            best = (error, scale);
        }
    }
    let rounded = round::<L>(block, inverse(best.1), -8.0, 7.0);
    for (i, byte) in codes.iter_mut().enumerate() {
        let nibble = |i: usize| (rounded[i] as i32 + 8) as u8;
        *byte = nibble(i) | nibble(i + BLOCK / 2) << 4;
    }
    best.1
}

/// Weights over their scale, rounded to the codes that there are.
#[inline(always)]
unsafe fn round<L: Lanes>(
    block: &[f32; BLOCK],
    inverse: f32,
    least: f32,
    most: f32,
) -> [f32; BLOCK] {
    let mut rounded = [0.0; BLOCK];
    for i in (0..BLOCK).step_by(L::N) {
        let code = L::mul(L::load(block.as_ptr().add(i)), L::splat(inverse));
        let code = L::min(L::max(code, L::splat(least)), L::splat(most));
        L::store(rounded.as_mut_ptr().add(i), L::round(code));
    }
    rounded
}

/// Scales that are tried for a block of 4 bits, and how far apart they are.
const SCALE_STEPS: usize = 8;
const SCALE_STEP: f32 = 0.03;

/// The weight of the greatest magnitude.
#[inline(always)]
unsafe fn greatest<L: Lanes>(block: &[f32; BLOCK]) -> f32 {
    let (mut most, mut least) = (L::splat(0.0), L::splat(0.0));
    for i in (0..BLOCK).step_by(L::N) {
        let weights = L::load(block.as_ptr().add(i));
        most = L::max(most, weights);
        least = L::min(least, weights);
    }
    let (mut tops, mut bottoms) = ([0.0f32; 16], [0.0f32; 16]);
    L::store(tops.as_mut_ptr(), most);
    L::store(bottoms.as_mut_ptr(), least);
    let most = tops.into_iter().fold(0.0, f32::max);
    let least = bottoms.into_iter().fold(0.0, f32::min);
    if most >= -least { most } else { least }
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
pub(crate) mod tests {
    use super::*;
    use crate::Weights;

    /// Numbers of a normal distribution, as weights are.
    pub(crate) fn normal(count: usize) -> Vec<f32> {
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
        let (mut codes, mut scales) = (vec![0u8; blocks * BLOCK], vec![f16::ZERO; blocks]);
        let matrix = Matrix::new(1, weights.len(), Weights::F32(&weights));
        quantize(&matrix, BlockFormat::Q8, &mut codes, &mut scales);
        let mut found = vec![0.0; weights.len()];
        let codes: Vec<i8> = codes.into_iter().map(|code| code as i8).collect();
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
        let matrix = Matrix::new(1, weights.len(), Weights::F32(&weights));
        quantize(&matrix, BlockFormat::Q4, &mut codes, &mut scales);
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
        let round = |weights: &[f32], format: BlockFormat| {
            let (mut codes, mut scales) = (vec![1; format.block_bytes()], vec![f16::ONE; 1]);
            let matrix = Matrix::new(1, weights.len(), Weights::F32(weights));
            quantize(&matrix, format, &mut codes, &mut scales);
            (codes, scales[0])
        };
        let (codes, _) = round(&[0.0; 32], BlockFormat::Q8);
        assert!(codes.iter().all(|&code| code == 0));
        let (codes, _) = round(&[0.0; 7], BlockFormat::Q4);
        assert!(codes.iter().all(|&code| code == 0x88));
        let (_, scale) = round(&[4e5; 32], BlockFormat::Q4);
        assert!(scale.is_finite());
    }

    #[test]
    fn every_instruction_set_rounds_alike() {
        let weights = normal(32 * 50 + 5);
        let matrix = Matrix::new(1, weights.len(), Weights::F32(&weights));
        let blocks = weights.len().div_ceil(BLOCK);
        for format in [BlockFormat::Q8, BlockFormat::Q4] {
            let rounded = |level| {
                let mut codes = vec![0; blocks * format.block_bytes()];
                let mut scales = vec![f16::ZERO; blocks];
                quantize_at(level, &matrix, format, &mut codes, &mut scales);
                let mut found = vec![0.0; weights.len()];
                let signed: Vec<i8> = codes.iter().map(|&code| code as i8).collect();
                let (codes, scales) = (&codes[..], &scales[..]);
                let weights = match format {
                    BlockFormat::Q8 => Weights::Q8 {
                        codes: &signed,
                        scales,
                    },
                    BlockFormat::Q4 => Weights::Q4 { codes, scales },
                };
                expand_row(&Matrix::new(1, found.len(), weights), 0, &mut found);
                relative_error(&matrix_row(&matrix), &found)
            };
            // Two scales that are as good may be told apart by the last place of their errors.
            let expected = rounded(Level::Portable);
            for level in Level::available() {
                assert!((rounded(level) - expected).abs() < 1e-4, "{level:?}");
            }
        }
    }

    fn matrix_row(matrix: &Matrix<'_>) -> Vec<f32> {
        let mut row = vec![0.0; matrix.columns()];
        expand_row(matrix, 0, &mut row);
        row
    }
}
