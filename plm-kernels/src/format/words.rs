use half::f16;

use super::{Blocks, Codes, Stretch};
use crate::lanes::{Lanes, quad_of, spread};
use crate::matrix::BLOCK;
use crate::rounding::{PAIRS, round_in_order};

/// The most blocks of a step.
const MOST_BLOCKS: usize = 16;

/// Words of a step of one row, with vectors of `n` numbers.
///
/// Rows of activations are multiplied in steps of `n` blocks: four times `n / 4`, so that the sums of
/// all blocks of a step are one vector, for the scales to be multiplied with at once. A step of a row is
/// `n` blocks of 16-bit integers, spread as [`spread`] says, and then, in the order of [`quad_of`], their
/// scales and what codes that are 8 more than they stand for add to their sums.
pub(crate) const fn step_words(n: usize) -> usize {
    assert!(n <= MOST_BLOCKS);
    n * (PAIRS + 2)
}

/// Rounds the step of one row that `x` begins with, with zeros where it ends, to [`step_words`] words.
#[inline(always)]
pub(crate) unsafe fn round_step<L: Lanes>(x: &[f32], to: *mut i32) {
    let integers = to.cast::<i16>();
    let scales = to.add(L::N * PAIRS).cast::<f32>();
    let offsets = to.add(L::N * (PAIRS + 1));
    let mut rounded = [0.0; BLOCK];
    for block in 0..L::N {
        let mut padded = [0.0; BLOCK];
        let values = match x.get(block * BLOCK..) {
            Some(values) if values.len() >= BLOCK => values.as_ptr(),
            values => {
                let values = values.unwrap_or(&[]);
                padded[..values.len()].copy_from_slice(values);
                padded.as_ptr()
            }
        };
        let (scale, sum) = round_in_order::<L>(values, &mut rounded);
        let at = quad_of(block, L::N);
        *scales.add(at) = scale;
        *offsets.add(at) = (8.0 * sum) as i32;
        let (lane, quarter) = (at / 4, at % 4);
        for v in 0..4 {
            let to = integers.add((4 * quarter + v) * 2 * L::N + 8 * lane);
            for i in 0..8 {
                *to.add(i) = rounded[spread(v, i)].to_bits() as i16;
            }
        }
    }
}

impl<C: Codes> Blocks<C> {
    /// Products of a stretch of weights with `R` rows of activations, a step of each in turn, from that
    /// of the first weight on. Sums of a block are exact.
    #[inline(always)]
    pub(crate) unsafe fn dot_words<L: Lanes, const R: usize>(
        self,
        weights: Stretch,
        x: *const i32,
    ) -> [f32; R] {
        let (start, blocks) = self.blocks_of(weights);
        let (first, scales) = (self.codes.add(start * C::BYTES), self.scales.add(start));
        let mut sums = [L::splat(0.0); R];
        let whole = blocks / L::N;
        for step in 0..whole {
            let block = step * L::N;
            let codes = first.add(block * C::BYTES);
            weights.ahead.fetch(first, codes, L::N * C::BYTES);
            let x = x.add(step * R * step_words(L::N));
            add_step::<L, C, R>(codes, scales.add(block), x, &mut sums);
        }
        let (done, rest) = (whole * L::N, blocks % L::N);
        if rest > 0 {
            let mut last = ([0; MOST_BLOCKS * BLOCK], [f16::ZERO; MOST_BLOCKS]);
            let codes = first.add(done * C::BYTES);
            codes.copy_to_nonoverlapping(last.0.as_mut_ptr(), rest * C::BYTES);
            let scales = scales.add(done);
            scales.copy_to_nonoverlapping(last.1.as_mut_ptr(), rest);
            let x = x.add(whole * R * step_words(L::N));
            add_step::<L, C, R>(last.0.as_ptr(), last.1.as_ptr(), x, &mut sums);
        }
        let mut totals = [0.0; R];
        for r in 0..R {
            totals[r] = L::sum(sums[r]);
        }
        totals
    }
}

/// Adds the products of a step of weights with a step of each of `R` rows.
#[inline(always)]
unsafe fn add_step<L: Lanes, C: Codes, const R: usize>(
    codes: *const u8,
    scales: *const f16,
    x: *const i32,
    sums: &mut [L::V; R],
) {
    let zero = L::splat_pair(0);
    let mut dots = [[zero; 4]; R];
    for quarter in 0..4 {
        let w = C::spread::<L>(codes.add(quarter * L::N / 4 * C::BYTES));
        for r in 0..R {
            let x = x.add(r * step_words(L::N) + 4 * quarter * L::N);
            let mut dot = zero;
            for v in 0..4 {
                dot = L::dot(w[v], L::load_pairs(x.add(v * L::N)), dot);
            }
            dots[r][quarter] = dot;
        }
    }
    let scales = L::by_quads(L::load_f16(scales.cast()));
    for r in 0..R {
        let x = x.add(r * step_words(L::N) + L::N * PAIRS);
        let mut dot = L::sum_quads(dots[r]);
        if C::IS_OFFSET {
            dot = L::sub_words(dot, L::load_pairs(x.add(L::N)));
        }
        let scale = L::mul(scales, L::load(x.cast()));
        sums[r] = L::fma(L::to_float(dot), scale, sums[r]);
    }
}
