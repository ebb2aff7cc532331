//! How kernels read each format of weights.

mod dense;
mod nf4;
mod words;

use std::marker::PhantomData;
use std::ops::Range;

use half::f16;

use crate::lanes::{self, Lanes};
use crate::matrix::BLOCK;
use crate::rounding::store_block;

pub(crate) use dense::Dense;
pub(crate) use nf4::NormalFloats;
pub(crate) use words::{round_step, step_words};

/// Rows of weights in one format.
pub(crate) trait Format: Copy {
    /// How many bytes ahead weights that are read once are fetched; where decoding was fastest with AVX2.
    const NEAR: usize;

    /// Bytes from one row of weights to the next.
    fn row_bytes(self, columns: usize) -> usize;

    /// Products of a stretch of weights with `R` rows of activations, which stand at `x` as
    /// [`place`] says.
    unsafe fn dot<L: Lanes, const R: usize>(self, weights: Stretch, x: *const f32) -> [f32; R];

    /// As [`dot`](Self::dot), of the stretch in each of `W` rows of weights.
    #[inline(always)]
    unsafe fn dots<L: Lanes, const R: usize, const W: usize>(
        self,
        weights: Stretch,
        x: *const f32,
    ) -> [[f32; R]; W] {
        let mut sums = [[0.0; R]; W];
        for w in 0..W {
            sums[w] = self.dot::<L, R>(weights.after(w), x);
        }
        sums
    }

    /// Asks for the weights `range` of a row, which are needed later.
    unsafe fn fetch(self, row: usize, columns: usize, range: Range<usize>);

    /// Writes the weights `start..end` of a row as f32. Of quantised weights, `start` begins a
    /// block and `end` is no more than the padded row's.
    unsafe fn expand<L: Lanes>(
        self,
        row: usize,
        columns: usize,
        start: usize,
        end: usize,
        out: *mut f32,
    );

    /// Writes a block of a row as 16-bit integers, weights `i` and `i + BLOCK / 2` as the halves of
    /// a word; returns their scale.
    unsafe fn integers<L: Lanes>(
        self,
        row: usize,
        columns: usize,
        block: usize,
        out: *mut i32,
    ) -> f32;
}

/// Part of a row of weights, or the first of several rows.
#[derive(Clone, Copy)]
pub(crate) struct Stretch {
    pub(crate) row: usize,
    /// Weights of a whole row.
    pub(crate) columns: usize,
    /// The first of the weights, which begins a block, and the one after the last.
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) ahead: Ahead,
}

impl Stretch {
    /// The same part of the `n`th row after.
    #[inline(always)]
    pub(crate) fn after(self, n: usize) -> Self {
        Self {
            row: self.row + n,
            ..self
        }
    }
}

/// What is fetched while weights are multiplied.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    /// How many bytes after the first weight it begins.
    pub(crate) bytes: usize,
    /// For so many lines of weights, as a power of two, one is fetched.
    pub(crate) shift: u32,
}

impl Ahead {
    /// Nothing is.
    pub(crate) const NONE: Self = Self {
        bytes: 0,
        shift: usize::BITS - 1,
    };

    /// Fetches what belongs to `bytes` bytes of weights from `at` on.
    #[inline(always)]
    fn fetch<T>(self, first: *const T, at: *const T, bytes: usize) {
        let done = (at as usize - first as usize) >> self.shift;
        let from = first.wrapping_byte_add(self.bytes + done);
        prefetch(from.cast::<u8>(), bytes >> self.shift);
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Words of 32 bits in a cache line.
pub(crate) const LINE_WORDS: usize = LINE / 4;

/// Where number `k` of row `r` stands among `R` rows of activations: a cache line of each row in turn.
#[inline(always)]
pub(crate) const fn place<const R: usize>(k: usize, r: usize) -> usize {
    (k / LINE_WORDS * R + r) * LINE_WORDS + k % LINE_WORDS
}

/// Fetches `count` numbers, line by line.
#[inline(always)]
fn prefetch<T>(p: *const T, count: usize) {
    for line in (0..count * size_of::<T>()).step_by(LINE) {
        lanes::prefetch(p.wrapping_byte_add(line));
    }
}

/// The codes of a block-quantised format.
pub(crate) trait Codes: Copy {
    /// Bytes of a block.
    const BYTES: usize;
    /// As [`Format::NEAR`].
    const NEAR: usize;
    /// The codes of a block, `L::N` at a time in the order of the weights, of which there are
    /// `BLOCK / L::N`.
    unsafe fn load<L: Lanes>(block: *const u8, out: &mut [L::V; BLOCK / 4]);
    /// Whether [`spread`](Self::spread) gives integers that are 8 more than what they stand for.
    const IS_OFFSET: bool;
    /// The codes of `L::N / 4` blocks as 16-bit integers, spread as [`lanes::spread`] says.
    unsafe fn spread<L: Lanes>(blocks: *const u8) -> [L::I; 4];
}

/// Eight bits a weight.
#[derive(Clone, Copy)]
pub(crate) struct Bytes;

impl Codes for Bytes {
    const BYTES: usize = BLOCK;
    const NEAR: usize = 1536;
    const IS_OFFSET: bool = false;
    #[inline(always)]
    unsafe fn load<L: Lanes>(block: *const u8, out: &mut [L::V; BLOCK / 4]) {
        for i in 0..BLOCK / L::N {
            out[i] = L::load_i8(block.add(i * L::N).cast());
        }
    }
    #[inline(always)]
    unsafe fn spread<L: Lanes>(blocks: *const u8) -> [L::I; 4] {
        L::spread_bytes(blocks.cast())
    }
}

/// Four bits a weight.
#[derive(Clone, Copy)]
pub(crate) struct Nibbles;

impl Codes for Nibbles {
    const BYTES: usize = BLOCK / 2;
    const NEAR: usize = 4096;
    const IS_OFFSET: bool = true;
    #[inline(always)]
    unsafe fn load<L: Lanes>(block: *const u8, out: &mut [L::V; BLOCK / 4]) {
        let half = BLOCK / 2 / L::N;
        for i in 0..half {
            let (low, high) = L::load_nibbles(block.add(i * L::N));
            out[i] = low;
            out[half + i] = high;
        }
    }
    #[inline(always)]
    unsafe fn spread<L: Lanes>(blocks: *const u8) -> [L::I; 4] {
        L::spread_nibbles(blocks)
    }
}

/// Weights in blocks that share a scale.
#[derive(Clone, Copy)]
pub(crate) struct Blocks<C> {
    codes: *const u8,
    scales: *const f16,
    kind: PhantomData<C>,
}

impl<C> Blocks<C> {
    pub(crate) fn new(codes: *const u8, scales: *const f16) -> Self {
        Self {
            codes,
            scales,
            kind: PhantomData,
        }
    }
}

/// Scales that are widened at a time.
const SCALES: usize = 64;

impl<C: Codes> Blocks<C> {
    /// Adds the products of one block of weights with `R` rows of activations.
    #[inline(always)]
    unsafe fn block<L: Lanes, const R: usize>(
        self,
        block: usize,
        scale: L::V,
        x: *const f32,
        parity: usize,
        sums: &mut [[L::V; 2]; R],
    ) {
        let mut w = [L::splat(0.0); BLOCK / 4];
        C::load::<L>(self.codes.add(block * C::BYTES), &mut w);
        if R == 1 {
            // One scale for the sum costs less than one for each vector.
            let mut sum = L::mul(w[0], L::load(x));
            for v in 1..BLOCK / L::N {
                sum = L::fma(w[v], L::load(x.add(v * L::N)), sum);
            }
            sums[0][parity] = L::fma(sum, scale, sums[0][parity]);
        } else {
            for v in 0..BLOCK / L::N {
                let w = L::mul(w[v], scale);
                for r in 0..R {
                    let x = L::load(x.add(place::<R>(v * L::N, r)));
                    sums[r][v % 2] = L::fma(w, x, sums[r][v % 2]);
                }
            }
        }
    }

    /// The number of the first block of a stretch, and how many there are.
    #[inline(always)]
    fn blocks_of(self, weights: Stretch) -> (usize, usize) {
        let row = weights.row * weights.columns.div_ceil(BLOCK);
        let start = weights.start / BLOCK;
        (row + start, weights.end.div_ceil(BLOCK) - start)
    }

    /// Widens the scales of up to [`SCALES`] blocks.
    #[inline(always)]
    unsafe fn widen_scales<L: Lanes>(self, first: usize, count: usize, out: &mut [f32; SCALES]) {
        let scales = self.scales.add(first);
        let mut i = 0;
        while i + L::N <= count {
            L::store(out.as_mut_ptr().add(i), L::load_f16(scales.add(i).cast()));
            i += L::N;
        }
        for i in i..count {
            out[i] = (*scales.add(i)).to_f32();
        }
    }
}

impl<C: Codes> Format for Blocks<C> {
    const NEAR: usize = C::NEAR;

    fn row_bytes(self, columns: usize) -> usize {
        columns.div_ceil(BLOCK) * C::BYTES
    }

    #[inline(always)]
    unsafe fn dot<L: Lanes, const R: usize>(self, weights: Stretch, x: *const f32) -> [f32; R] {
        let (start, blocks) = self.blocks_of(weights);
        let codes = self.codes.add(start * C::BYTES);
        let mut sums = [[L::splat(0.0); 2]; R];
        let mut scales = [0.0; SCALES];
        for first in (0..blocks).step_by(SCALES) {
            let count = SCALES.min(blocks - first);
            let block = start + first;
            self.widen_scales::<L>(block, count, &mut scales);
            let x = x.add(first * BLOCK * R);
            // Two blocks a step, so that sums do not wait for each other.
            let mut i = 0;
            while i + 2 <= count {
                let at = codes.add((first + i) * C::BYTES);
                weights.ahead.fetch(codes, at, 2 * C::BYTES);
                for u in 0..2 {
                    let scale = L::splat(scales[i + u]);
                    let x = x.add((i + u) * BLOCK * R);
                    self.block::<L, R>(block + i + u, scale, x, u, &mut sums);
                }
                i += 2;
            }
            if i < count {
                let (scale, x) = (L::splat(scales[i]), x.add(i * BLOCK * R));
                self.block::<L, R>(block + i, scale, x, 0, &mut sums);
            }
        }
        let mut totals = [0.0; R];
        for r in 0..R {
            totals[r] = L::sum(L::add(sums[r][0], sums[r][1]));
        }
        totals
    }

    #[inline(always)]
    unsafe fn fetch(self, row: usize, columns: usize, range: Range<usize>) {
        let block = row * columns.div_ceil(BLOCK) + range.start / BLOCK;
        let bytes = range.len() / BLOCK * C::BYTES;
        prefetch(self.codes.wrapping_add(block * C::BYTES), bytes);
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
        let blocks = columns.div_ceil(BLOCK);
        let mut w = [L::splat(0.0); BLOCK / 4];
        for block in start / BLOCK..end / BLOCK {
            let at = row * blocks + block;
            C::load::<L>(self.codes.add(at * C::BYTES), &mut w);
            let scale = L::splat((*self.scales.add(at)).to_f32());
            for v in 0..BLOCK / L::N {
                L::store(
                    out.add(block * BLOCK - start + v * L::N),
                    L::mul(w[v], scale),
                );
            }
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
        let at = row * columns.div_ceil(BLOCK) + block;
        let mut codes = [L::splat(0.0); BLOCK / 4];
        C::load::<L>(self.codes.add(at * C::BYTES), &mut codes);
        store_block::<L>(&codes, out);
        (*self.scales.add(at)).to_f32()
    }
}
