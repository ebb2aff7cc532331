//! How kernels read NF4.

use std::ops::Range;

use super::{Ahead, Format, Stretch, place, prefetch};
use crate::lanes::{Lanes, Table};
use crate::matrix::BLOCK;
use crate::nf4::{NF4_BLOCK, NF4_LEVELS, NF4_NESTED_BLOCK, Nf4};
use crate::rounding::{LONGEST, round_block, store_block};

/// What levels are multiplied by to be integers: the largest for which no block of them is longer
/// than [`LONGEST`], which is `LEVEL_ONE · √32`.
const LEVEL_ONE: f32 = 8190.0;
const _: () = assert!(LEVEL_ONE * 5.657 < LONGEST);

/// Weights of a row that are widened at a time, where rows do not begin with a block.
const STRETCH: usize = 4 * NF4_BLOCK;

/// Weights in NF4; see [`Nf4`].
#[derive(Clone, Copy)]
pub(crate) struct NormalFloats {
    codes: *const u8,
    absmax: *const u8,
    nested_absmax: *const f32,
    map: *const f32,
    offset: f32,
    first: usize,
}

impl From<Nf4<'_>> for NormalFloats {
    fn from(nf4: Nf4<'_>) -> Self {
        Self {
            codes: nf4.codes.as_ptr(),
            absmax: nf4.absmax.as_ptr(),
            nested_absmax: nf4.nested_absmax.as_ptr(),
            map: nf4.map.as_ptr(),
            offset: nf4.offset,
            first: nf4.first,
        }
    }
}

impl NormalFloats {
    /// The scale of a block. Two roundings, as in bitsandbytes.
    #[inline(always)]
    unsafe fn scale(self, block: usize) -> f32 {
        let level = *self.map.add(usize::from(*self.absmax.add(block)));
        level * *self.nested_absmax.add(block / NF4_NESTED_BLOCK) + self.offset
    }

    /// The level of a weight.
    #[inline(always)]
    unsafe fn level(self, at: usize) -> f32 {
        let byte = *self.codes.add(at / 2);
        NF4_LEVELS[usize::from(if at.is_multiple_of(2) {
            byte >> 4
        } else {
            byte & 15
        })]
    }

    /// The levels of [`BLOCK`] weights, of which the first has an even number, `L::N` in each of the
    /// first vectors.
    #[inline(always)]
    unsafe fn levels<L: Lanes>(self, at: usize) -> [L::V; BLOCK / 4] {
        const LEVELS: Table = Table::new(NF4_LEVELS);
        let mut levels = [L::splat(0.0); BLOCK / 4];
        L::look_up(self.codes.add(at / 2), &LEVELS, &mut levels);
        levels
    }

    /// Writes the weights `at..end`.
    #[inline(always)]
    unsafe fn widen<L: Lanes>(self, mut at: usize, end: usize, mut out: *mut f32) {
        while at < end {
            let block = at / NF4_BLOCK;
            let stop = end.min((block + 1) * NF4_BLOCK);
            let scale = self.scale(block);
            if at.is_multiple_of(2) {
                while at + BLOCK <= stop {
                    for &level in &self.levels::<L>(at)[..BLOCK / L::N] {
                        L::store(out, L::mul(level, L::splat(scale)));
                        out = out.add(L::N);
                    }
                    at += BLOCK;
                }
            }
            for at in at..stop {
                *out = self.level(at) * scale;
                out = out.add(1);
            }
            at = stop;
        }
    }

    /// Products of a row that begins with a block and ends with one.
    #[inline(always)]
    unsafe fn dot_blocks<L: Lanes, const R: usize>(
        self,
        at: usize,
        columns: usize,
        ahead: Ahead,
        x: *const f32,
    ) -> [[L::V; 2]; R] {
        let first = self.codes.add(at / 2);
        let mut sums = [[L::splat(0.0); 2]; R];
        for k in (0..columns).step_by(NF4_BLOCK) {
            let scale = L::splat(self.scale((at + k) / NF4_BLOCK));
            let codes = self.codes.add((at + k) / 2);
            ahead.fetch(first, codes, NF4_BLOCK / 2);
            let x = x.add(k * R);
            // One scale for the sums of a row costs less than one for each vector.
            let mut parts = [L::splat(0.0); 2];
            for half in 0..NF4_BLOCK / BLOCK {
                let levels = self.levels::<L>(at + k + half * BLOCK);
                for v in 0..BLOCK / L::N {
                    let number = half * BLOCK + v * L::N;
                    if R == 1 {
                        parts[v % 2] = L::fma(levels[v], L::load(x.add(number)), parts[v % 2]);
                        continue;
                    }
                    let w = L::mul(levels[v], scale);
                    for r in 0..R {
                        let x = L::load(x.add(place::<R>(number, r)));
                        sums[r][v % 2] = L::fma(w, x, sums[r][v % 2]);
                    }
                }
            }
            if R == 1 {
                for (sum, part) in sums[0].iter_mut().zip(parts) {
                    *sum = L::fma(part, scale, *sum);
                }
            }
        }
        sums
    }
}

impl Format for NormalFloats {
    const NEAR: usize = 4096;

    fn row_bytes(self, columns: usize) -> usize {
        columns / 2
    }

    #[inline(always)]
    unsafe fn dot<L: Lanes, const R: usize>(self, weights: Stretch, x: *const f32) -> [f32; R] {
        let at = self.first + weights.row * weights.columns + weights.start;
        let columns = weights.end - weights.start;
        let sums = if at.is_multiple_of(NF4_BLOCK) && columns.is_multiple_of(NF4_BLOCK) {
            self.dot_blocks::<L, R>(at, columns, weights.ahead, x)
        } else {
            let mut sums = [[L::splat(0.0); 2]; R];
            for start in (0..columns).step_by(STRETCH) {
                let count = STRETCH.min(columns - start);
                // The activations go on with zeros, as these do.
                let mut weights = [0.0f32; STRETCH];
                self.widen::<L>(at + start, at + start + count, weights.as_mut_ptr());
                for k in (0..count).step_by(L::N) {
                    let w = L::load(weights.as_ptr().add(k));
                    for r in 0..R {
                        let x = L::load(x.add(place::<R>(start + k, r)));
                        sums[r][0] = L::fma(w, x, sums[r][0]);
                    }
                }
            }
            sums
        };
        let mut totals = [0.0; R];
        for r in 0..R {
            totals[r] = L::sum(L::add(sums[r][0], sums[r][1]));
        }
        totals
    }

    #[inline(always)]
    unsafe fn fetch(self, row: usize, columns: usize, range: Range<usize>) {
        let at = self.first + row * columns + range.start;
        prefetch(self.codes.wrapping_add(at / 2), range.len() / 2);
    }

    #[inline(always)]
    unsafe fn expand<L: Lanes>(
        self,
        row: usize,
        columns: usize,
        start: usize,
        end: usize,
        out: *mut f32,
    ) {
        let at = self.first + row * columns;
        self.widen::<L>(at + start, at + end, out);
    }

    #[inline(always)]
    unsafe fn integers<L: Lanes>(
        self,
        row: usize,
        columns: usize,
        block: usize,
        out: *mut i32,
    ) -> f32 {
        let (start, end) = (block * BLOCK, columns.min((block + 1) * BLOCK));
        let at = self.first + row * columns + start;
        let mut values = [L::splat(0.0); BLOCK / 4];
        if at.is_multiple_of(BLOCK) && end - start == BLOCK {
            let levels = self.levels::<L>(at);
            for v in 0..BLOCK / L::N {
                values[v] = L::mul(levels[v], L::splat(LEVEL_ONE));
            }
            store_block::<L>(&values, out);
            return self.scale(at / NF4_BLOCK) / LEVEL_ONE;
        }
        // Two scales, or a row's end.
        let mut numbers = [0.0f32; BLOCK];
        self.widen::<L>(at, at + end - start, numbers.as_mut_ptr());
        for v in 0..BLOCK / L::N {
            values[v] = L::load(numbers.as_ptr().add(v * L::N));
        }
        round_block::<L>(&mut values, out)
    }
}
