use super::{Blocks, Codes, SCALES, Stretch};
use crate::lanes::Lanes;
use crate::matrix::BLOCK;
use crate::rounding::PAIRS;

/// Rows of activations as blocks of 16-bit integers in their order, two a word, with a scale each.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    /// In groups of rows, a block of each in turn.
    pub(crate) words: *const i32,
    /// Numbers of a row.
    pub(crate) padded: usize,
    /// The first row's scales.
    pub(crate) scales: *const f32,
    /// Scales from one row to the next.
    pub(crate) ld_scales: usize,
}

/// Blocks of a step.
const STEP: usize = 4;

impl Words {
    /// The group of `R` rows from `row` on, from number `start` on.
    #[inline(always)]
    pub(crate) unsafe fn rows_from<const R: usize>(self, row: usize, start: usize) -> Self {
        let scale = row * self.ld_scales + start / BLOCK;
        Self {
            words: self.words.add((row * self.padded + start * R) / 2),
            scales: self.scales.add(scale),
            ..self
        }
    }
}

impl<C: Codes> Blocks<C> {
    /// Products of a stretch of weights with `R` rows of activations, whose blocks begin with that of
    /// the first weight. Sums of a block are exact.
    #[inline(always)]
    pub(crate) unsafe fn dot_words<L: Lanes, const R: usize>(
        self,
        weights: Stretch,
        x: Words,
    ) -> [f32; R] {
        let (start, blocks) = self.blocks_of(weights);
        let codes = self.codes.add(start * C::BYTES);
        let mut sums = [[L::splat(0.0); 2]; R];
        let mut scales = [[0.0; SCALES]; R];
        let mut own = [0.0; SCALES];
        for first in (0..blocks).step_by(SCALES) {
            let count = SCALES.min(blocks - first);
            let block = start + first;
            self.widen_scales::<L>(block, count, &mut own);
            for r in 0..R {
                let other = x.scales.add(r * x.ld_scales + first);
                // Up to a whole vector; there is room on both sides.
                for i in (0..count).step_by(L::N) {
                    let product = L::mul(L::load(own.as_ptr().add(i)), L::load(other.add(i)));
                    L::store(scales[r].as_mut_ptr().add(i), product);
                }
            }
            let mut i = 0;
            while i + STEP <= count {
                let at = codes.add((first + i) * C::BYTES);
                weights.ahead.fetch(codes, at, STEP * C::BYTES);
                for u in 0..STEP {
                    let x = x.words.add((first + i + u) * R * PAIRS);
                    // Sums that do not wait for each other.
                    self.add_block::<L, R>(block + i + u, x, &scales, i + u, &mut sums, u % 2);
                }
                i += STEP;
            }
            for i in i..count {
                let x = x.words.add((first + i) * R * PAIRS);
                self.add_block::<L, R>(block + i, x, &scales, i, &mut sums, 0);
            }
        }
        let mut totals = [0.0; R];
        for r in 0..R {
            totals[r] = L::sum(L::add(sums[r][0], sums[r][1]));
        }
        totals
    }

    /// Adds the products of one block of weights with the first block of `R` rows, whose scales together
    /// are number `i` of `scales`, to sum `to` of each row.
    #[inline(always)]
    unsafe fn add_block<L: Lanes, const R: usize>(
        self,
        block: usize,
        x: *const i32,
        scales: &[[f32; SCALES]; R],
        i: usize,
        sums: &mut [[L::V; 2]; R],
        to: usize,
    ) {
        let codes = self.codes.add(block * C::BYTES);
        let mut w = [L::splat_pair(0); 4];
        C::widen::<L>(codes, &mut w);
        for r in 0..R {
            let mut dot = L::splat_pair(0);
            for v in 0..PAIRS / L::N {
                dot = L::dot(w[v], L::load_pairs(x.add(r * PAIRS + v * L::N)), dot);
            }
            let scale = L::splat(*scales[r].get_unchecked(i));
            sums[r][to] = L::fma(L::to_float(dot), scale, sums[r][to]);
        }
    }
}
