//! Rounding of weights to NF4.

use super::{MAP, NF4_BLOCK, NF4_LEVELS, NF4_NESTED_BLOCK, Nf4, dynamic_map};
use crate::lanes::{Lanes, Level, Task, run};
use crate::matrix::Matrix;
use crate::product::expand_row;
use crate::threads::{Shared, for_each};

/// Weights that are widened at a time.
const STRIP: usize = 1 << 20;

/// Blocks that a thread rounds at a time.
const BLOCKS: usize = 64;

/// What no scale is divided by, so that zeros stay zeros.
const SMALLEST: f32 = 1e-38;

/// Rounds a matrix that comes piece by piece, as bitsandbytes does.
///
/// ```
/// use plm_kernels::{Matrix, Nf4Rounding, Weights, dynamic_map};
///
/// let weights = [0.5, -1.0, 0.1, 0.0];
/// let mut codes = [0; 2];
/// let mut rounding = Nf4Rounding::new(&mut codes);
/// rounding.push(&Matrix::new(2, 2, Weights::F32(&weights)));
/// let scales = rounding.finish();
/// let matrix = Matrix::new(2, 2, Weights::Nf4(scales.nf4(&codes)));
/// # let mut row = [0.0; 2];
/// # plm_kernels::expand_row(&matrix, 0, &mut row);
/// # assert_eq!(row, [0.440_709_83, -1.0]);
/// ```
#[derive(Debug)]
pub struct Nf4Rounding<'a> {
    codes: &'a mut [u8],
    /// Scales of the blocks that were rounded.
    absmax: Vec<f32>,
    /// Weights of a block that is not full.
    begun: Vec<f32>,
}

/// Scales of a matrix in NF4 that are rounded too; see [`Nf4`].
#[derive(Debug, Clone, PartialEq)]
pub struct Nf4Scales {
    /// One byte a block.
    pub absmax: Vec<u8>,
    /// One number for [`NF4_NESTED_BLOCK`] bytes.
    pub nested_absmax: Vec<f32>,
    /// The mean of the scales, by which they were lowered.
    pub offset: f32,
}

impl Nf4Scales {
    /// The matrix's numbers, with its codes.
    ///
    /// # Panics
    ///
    /// When there are not as many codes as scales.
    pub fn nf4<'a>(&'a self, codes: &'a [u8]) -> Nf4<'a> {
        let (absmax, nested) = (&self.absmax, &self.nested_absmax);
        Nf4::new(codes, absmax, nested, dynamic_map(), self.offset)
    }
}

impl<'a> Nf4Rounding<'a> {
    /// A matrix whose codes go to `codes`, half a byte a weight.
    pub fn new(codes: &'a mut [u8]) -> Self {
        Self {
            absmax: Vec::with_capacity(codes.len().div_ceil(NF4_BLOCK / 2)),
            codes,
            begun: Vec::new(),
        }
    }

    /// Rounds the next rows.
    ///
    /// # Panics
    ///
    /// When there is no room for their codes.
    pub fn push(&mut self, rows: &Matrix<'_>) {
        let step = (STRIP / rows.columns().max(1)).max(1);
        for start in (0..rows.rows()).step_by(step) {
            let strip = rows.narrow(start..(start + step).min(rows.rows()));
            let mut weights = std::mem::take(&mut self.begun);
            let begun = weights.len();
            weights.resize(begun + strip.rows() * strip.columns(), 0.0);
            widen(&strip, &mut weights[begun..]);
            let whole = weights.len() / NF4_BLOCK * NF4_BLOCK;
            self.round(&weights[..whole]);
            self.begun = weights.split_off(whole);
        }
    }

    /// Rounds what is left, and the scales.
    ///
    /// # Panics
    ///
    /// When there were fewer weights than codes.
    pub fn finish(mut self) -> Nf4Scales {
        let begun = std::mem::take(&mut self.begun);
        let weights = self.absmax.len() * NF4_BLOCK + begun.len();
        assert_eq!(self.codes.len(), weights.div_ceil(2), "codes of weights");
        if !begun.is_empty() {
            let scale = absmax(&begun).max(SMALLEST);
            let mut block = [0.0; NF4_BLOCK];
            let parts = block.iter_mut().zip(&begun);
            parts.for_each(|(part, weight)| *part = weight / scale);
            let bytes = &mut self.codes[self.absmax.len() * NF4_BLOCK / 2..];
            let codes = codes_of(&block);
            // The last half of a byte, where the number of weights is odd, is the code of zero.
            let pairs = bytes.iter_mut().zip(codes.as_chunks().0);
            pairs.for_each(|(byte, [high, low])| *byte = high << 4 | low);
            self.absmax.push(scale);
        }
        let sum: f64 = self.absmax.iter().map(|&scale| f64::from(scale)).sum();
        let offset = (sum / self.absmax.len().max(1) as f64) as f32;
        nest(&self.absmax, offset)
    }

    /// Rounds whole blocks.
    fn round(&mut self, weights: &[f32]) {
        let blocks = weights.len() / NF4_BLOCK;
        let done = self.absmax.len();
        self.absmax.resize(done + blocks, 0.0);
        let codes = &mut self.codes[done * NF4_BLOCK / 2..][..weights.len() / 2];
        let to = Shared(codes.as_mut_ptr());
        let scales = Shared(self.absmax[done..].as_mut_ptr());
        for_each(blocks.div_ceil(BLOCKS), |i| {
            let (first, end) = (i * BLOCKS, blocks.min((i + 1) * BLOCKS));
            // SAFETY: each group of blocks has its own part of codes and scales.
            let (codes, absmax) = unsafe {
                (
                    std::slice::from_raw_parts_mut(
                        to.get().add(first * NF4_BLOCK / 2),
                        (end - first) * NF4_BLOCK / 2,
                    ),
                    std::slice::from_raw_parts_mut(scales.get().add(first), end - first),
                )
            };
            let weights = &weights[first * NF4_BLOCK..end * NF4_BLOCK];
            run(
                Level::best(),
                RoundBlocks {
                    weights,
                    codes,
                    absmax,
                },
            );
        });
    }
}

/// Writes all rows of a matrix as f32.
fn widen(matrix: &Matrix<'_>, out: &mut [f32]) {
    let columns = matrix.columns();
    let to = Shared(out.as_mut_ptr());
    for_each(matrix.rows(), |row| {
        // SAFETY: each row has its own part of the numbers.
        let row_out =
            unsafe { std::slice::from_raw_parts_mut(to.get().add(row * columns), columns) };
        expand_row(matrix, row, row_out);
    });
}

/// Some whole blocks.
struct RoundBlocks<'a> {
    weights: &'a [f32],
    codes: &'a mut [u8],
    absmax: &'a mut [f32],
}

impl Task for RoundBlocks<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // Plain Rust, which the compiler turns into the instructions of this task.
        let (weights, _) = self.weights.as_chunks::<NF4_BLOCK>();
        let (codes, _) = self.codes.as_chunks_mut::<{ NF4_BLOCK / 2 }>();
        for ((weights, bytes), scale) in weights.iter().zip(codes).zip(self.absmax) {
            *scale = absmax(weights);
            let inverse = 1.0 / scale.max(SMALLEST);
            let codes = codes_of(&weights.map(|weight| weight * inverse));
            for (byte, [high, low]) in bytes.iter_mut().zip(codes.as_chunks().0) {
                *byte = high << 4 | low;
            }
        }
    }
}

/// The greatest magnitude.
#[inline(always)]
fn absmax(numbers: &[f32]) -> f32 {
    numbers.iter().fold(0.0, |most, x| most.max(x.abs()))
}

/// The nearest levels; of two that are as near, the lower.
#[inline(always)]
fn codes_of(block: &[f32; NF4_BLOCK]) -> [u8; NF4_BLOCK] {
    let mut codes = [0i32; NF4_BLOCK];
    for pair in NF4_LEVELS.windows(2) {
        let middle = (pair[0] + pair[1]) / 2.0;
        for (code, &number) in codes.iter_mut().zip(block) {
            *code += i32::from(number > middle);
        }
    }
    codes.map(|code| code as u8)
}

/// Rounds scales that are lowered by `offset`.
fn nest(absmax_of_blocks: &[f32], offset: f32) -> Nf4Scales {
    let map = dynamic_map();
    let middles: [f32; MAP - 1] = std::array::from_fn(|i| (map[i] + map[i + 1]) / 2.0);
    let mut rounded = Nf4Scales {
        absmax: Vec::with_capacity(absmax_of_blocks.len()),
        nested_absmax: Vec::new(),
        offset,
    };
    for scales in absmax_of_blocks.chunks(NF4_NESTED_BLOCK) {
        let lowered: Vec<f32> = scales.iter().map(|scale| scale - offset).collect();
        let (most, whole) = (absmax(&lowered), lowered.len() == NF4_NESTED_BLOCK);
        let divisor = most.max(SMALLEST);
        let inverse = 1.0 / divisor;
        rounded.absmax.extend(lowered.iter().map(|&scale| {
            let part = if whole {
                scale * inverse
            } else {
                scale / divisor
            };
            middles.partition_point(|&middle| middle < part) as u8
        }));
        rounded
            .nested_absmax
            .push(if whole { most } else { divisor });
    }
    rounded
}
