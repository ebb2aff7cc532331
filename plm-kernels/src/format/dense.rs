//! How kernels read weights that are numbers of their own.

use std::ops::Range;

use half::f16;

use super::{Format, LINE, Stretch, place, prefetch};
use crate::lanes::Lanes;
use crate::matrix::BLOCK;
use crate::rounding::round_block;

/// A number that widens to f32.
pub(crate) trait Float: Copy {
    unsafe fn load<L: Lanes>(p: *const Self) -> L::V;
    unsafe fn scalar(p: *const Self) -> f32;
}

impl Float for f32 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(p: *const Self) -> L::V {
        L::load(p)
    }
    #[inline(always)]
    unsafe fn scalar(p: *const Self) -> f32 {
        *p
    }
}

impl Float for half::bf16 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(p: *const Self) -> L::V {
        L::load_bf16(p.cast())
    }
    #[inline(always)]
    unsafe fn scalar(p: *const Self) -> f32 {
        (*p).to_f32()
    }
}

impl Float for f16 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(p: *const Self) -> L::V {
        L::load_f16(p.cast())
    }
    #[inline(always)]
    unsafe fn scalar(p: *const Self) -> f32 {
        (*p).to_f32()
    }
}

/// Weights that are numbers of their own.
#[derive(Clone, Copy)]
pub(crate) struct Dense<T>(pub(crate) *const T);

impl<T: Float> Dense<T> {
    /// As [`Format::dots`], each product in `U` sums that do not wait for each other.
    #[inline(always)]
    unsafe fn sums<L: Lanes, const R: usize, const W: usize, const U: usize>(
        self,
        weights: Stretch,
        x: *const f32,
    ) -> [[f32; R]; W] {
        let mut sums = [[[L::splat(0.0); U]; R]; W];
        // Whole lines of weights, each of which is fetched once where it is read once.
        let step = U.max(LINE / (L::N * size_of::<T>()));
        let (columns, stride) = (weights.end - weights.start, weights.columns);
        let first = self.0.add(weights.row * stride + weights.start);
        let mut k = 0;
        while k + step * L::N <= columns {
            for w in 0..W {
                let row = first.add(w * stride);
                let bytes = step * L::N * size_of::<T>();
                weights.ahead.fetch(row, row.add(k), bytes);
            }
            for v in 0..step {
                let mut values = [L::splat(0.0); W];
                for w in 0..W {
                    values[w] = T::load::<L>(first.add(w * stride + k + v * L::N));
                }
                for r in 0..R {
                    let x = L::load(x.add(k * R + place::<R>(v * L::N, r)));
                    for w in 0..W {
                        sums[w][r][v % U] = L::fma(values[w], x, sums[w][r][v % U]);
                    }
                }
            }
            k += step * L::N;
        }
        let mut totals = [[0.0; R]; W];
        for w in 0..W {
            for r in 0..R {
                let mut sum = sums[w][r][0];
                for u in 1..U {
                    sum = L::add(sum, sums[w][r][u]);
                }
                totals[w][r] = L::sum(sum);
                for k in k..columns {
                    let weight = T::scalar(first.add(w * stride + k));
                    totals[w][r] += weight * *x.add(place::<R>(k, r));
                }
            }
        }
        totals
    }
}

impl<T: Float> Format for Dense<T> {
    const NEAR: usize = 1024;

    fn row_bytes(self, columns: usize) -> usize {
        columns * size_of::<T>()
    }

    #[inline(always)]
    unsafe fn dot<L: Lanes, const R: usize>(self, weights: Stretch, x: *const f32) -> [f32; R] {
        let [sums] = self.dots::<L, R, 1>(weights, x);
        sums
    }

    #[inline(always)]
    unsafe fn dots<L: Lanes, const R: usize, const W: usize>(
        self,
        weights: Stretch,
        x: *const f32,
    ) -> [[f32; R]; W] {
        // Few products make few sums.
        match R * W {
            1 => self.sums::<L, R, W, 8>(weights, x),
            2 => self.sums::<L, R, W, 4>(weights, x),
            4 => self.sums::<L, R, W, 2>(weights, x),
            _ => self.sums::<L, R, W, 1>(weights, x),
        }
    }

    #[inline(always)]
    unsafe fn fetch(self, row: usize, columns: usize, range: Range<usize>) {
        prefetch(
            self.0.wrapping_add(row * columns + range.start),
            range.len(),
        );
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
        let weights = self.0.add(row * columns);
        let mut k = start;
        while k + L::N <= end {
            L::store(out.add(k - start), T::load::<L>(weights.add(k)));
            k += L::N;
        }
        for k in k..end {
            *out.add(k - start) = T::scalar(weights.add(k));
        }
    }

    #[inline(always)]
    unsafe fn integers<L: Lanes>(
        self,
        row: usize,
        columns: usize,
        block: usize,
        out: *mut i32,
    ) -> f32 {
        let (start, end) = (block * BLOCK, (block + 1) * BLOCK);
        let mut values = [L::splat(0.0); BLOCK / 4];
        if end <= columns {
            for v in 0..BLOCK / L::N {
                values[v] = T::load::<L>(self.0.add(row * columns + start + v * L::N));
            }
        } else {
            let mut last = [0.0f32; BLOCK];
            self.expand::<L>(row, columns, start, columns, last.as_mut_ptr());
            for v in 0..BLOCK / L::N {
                values[v] = L::load(last.as_ptr().add(v * L::N));
            }
        }
        round_block::<L>(&mut values, out)
    }
}
