//! Panels of 16-bit integers, which some processors multiply and add two at a time, twice as many
//! in one instruction as f32.
//!
//! The codes of 8 and 4 bits are such integers; other weights are rounded to them, and
//! activations always, block by block with a scale for each. The products of a block are summed
//! exactly, and the sums of blocks in f32.

use super::{Arithmetic, Panel, Product, Rows};
use crate::format::Format;
use crate::lanes::{self, Lanes, Level, Task, prefetch};
use crate::matrix::{BLOCK, Matrix};
use crate::rounding::{ANY_LENGTH, LONGEST, PAIRS, round_rows};

/// A block is the words of its integers and one word with its scale.
#[derive(Clone, Copy)]
pub(in crate::product) struct Integers {
    /// The longest that a block of activations may be, as a vector of integers.
    longest: f32,
}

impl Integers {
    /// For the weights of some products.
    pub(in crate::product) fn new(list: &[Product<'_>]) -> Self {
        let codes = list.iter().all(|product| product.matrix.is_codes());
        Self {
            longest: if codes { ANY_LENGTH } else { LONGEST },
        }
    }
}

/// Words of a block and its scale.
const WORDS: usize = PAIRS + 1;

/// Inputs of a panel.
const PANEL: usize = 256;

/// Words of a panel's row.
const ROW: usize = PANEL / BLOCK * WORDS;

/// Numbers in a cache line.
const LINE: usize = 16;

impl Arithmetic for Integers {
    const DEPTH: usize = PANEL;
    const TILE: usize = 12;

    fn run<T: Task>(level: Level, task: T) -> T::Output {
        lanes::run_with_dot(level, task)
    }

    fn padded(columns: usize) -> usize {
        columns.next_multiple_of(BLOCK)
    }

    fn words(self, inputs: usize) -> usize {
        inputs / BLOCK * WORDS
    }

    #[inline(always)]
    unsafe fn pack<L: Lanes>(
        self,
        x: Rows,
        start: usize,
        depth: usize,
        out: *mut f32,
        width: usize,
    ) {
        for block in 0..depth / BLOCK {
            let out = out.add(block * WORDS * width);
            let mut values = [L::splat(0.0); BLOCK];
            for k in (0..BLOCK).step_by(L::N) {
                let square = x.square::<L>(start + block * BLOCK + k);
                values[k..k + L::N].copy_from_slice(&square[..L::N]);
            }
            let scales = round_rows::<L>(&values, self.longest, out.cast(), width);
            L::store(out.add(PAIRS * width), scales);
        }
    }

    #[inline(always)]
    unsafe fn expand<L: Lanes, F: Format>(
        self,
        format: F,
        matrix: &Matrix<'_>,
        row: usize,
        start: usize,
        panel: *mut f32,
        o: usize,
    ) {
        let out = panel.add(o * self.words(Self::DEPTH));
        let end = (start + Self::DEPTH).min(Self::padded(matrix.columns()));
        for (i, block) in (start / BLOCK..end / BLOCK).enumerate() {
            let out = out.add(i * WORDS);
            let scale = format.integers::<L>(row, matrix.columns(), block, out.cast());
            *out.add(PAIRS) = scale;
        }
    }

    #[inline(always)]
    unsafe fn multiply<L: Lanes, const V: usize>(
        self,
        panel: Panel,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
        ahead: *const f32,
    ) {
        // With AVX-512 VNNI a word is spread by the instruction that multiplies it, if it does so for one vector
        // alone, and there are registers for the sums of blocks too.
        if V == 2 && L::N < 16 {
            tiles::<L, V, 2>(panel, a, b, c, ahead);
        } else {
            for v in 0..V {
                let ahead = ahead.wrapping_add(v * panel.depth / BLOCK * WORDS * LINE);
                tiles::<L, V, 1>(panel, a.add(v * L::N), b, c.add(v * L::N), ahead);
            }
        }
    }
}

/// Steps of `w` vectors for each line that is fetched ahead.
const fn steps(w: usize) -> usize {
    8 / w
}

/// Computes the outputs of a panel for the first `W` of `V` vectors.
#[inline(always)]
unsafe fn tiles<L: Lanes, const V: usize, const W: usize>(
    panel: Panel,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    ahead: *const f32,
) {
    let lines = panel.depth / BLOCK * (PAIRS / steps(W)) * LINE;
    let (mut o, mut ahead) = (0, ahead);
    while o < panel.outputs {
        let b = b.add(o * ROW);
        let c = c.add(o * V * L::N);
        let left = panel.outputs - o;
        o += if left >= L::TILE {
            match L::TILE {
                12 => tile::<L, V, W, 12>(panel, a, b, c, ahead),
                6 => tile::<L, V, W, 6>(panel, a, b, c, ahead),
                _ => tile::<L, V, W, 4>(panel, a, b, c, ahead),
            }
            L::TILE
        } else if left >= 4 {
            tile::<L, V, W, 4>(panel, a, b, c, ahead);
            4
        } else {
            tile::<L, V, W, 1>(panel, a, b, c, ahead);
            1
        };
        ahead = ahead.wrapping_add(lines);
    }
}

/// Computes `T` outputs for `W` of `V` vectors.
#[inline(always)]
unsafe fn tile<L: Lanes, const V: usize, const W: usize, const T: usize>(
    panel: Panel,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    ahead: *const f32,
) {
    let mut ahead = ahead;
    // In registers, if there are any left.
    let mut totals = [L::splat(0.0); T];
    if W == 1 && panel.add {
        for o in 0..T {
            totals[o] = L::load(c.add(o * V * L::N));
        }
    }
    for block in 0..panel.depth / BLOCK {
        let a = a.add(block * WORDS * V * L::N);
        let b = b.add(block * WORDS);
        let mut sums = [[L::splat_pair(0); W]; T];
        for i in 0..PAIRS {
            if i % steps(W) == 0 {
                prefetch(ahead);
                ahead = ahead.wrapping_add(LINE);
            }
            let mut x = [L::splat_pair(0); W];
            for v in 0..W {
                x[v] = L::load_pairs(a.add((i * V + v) * L::N).cast());
            }
            for o in 0..T {
                let w = L::splat_pair(*b.add(o * ROW + i).cast());
                for v in 0..W {
                    sums[o][v] = L::dot(x[v], w, sums[o][v]);
                }
            }
        }
        let mut scales = [L::splat(0.0); W];
        for v in 0..W {
            scales[v] = L::load(a.add((PAIRS * V + v) * L::N));
        }
        for o in 0..T {
            let w = L::splat(*b.add(o * ROW + PAIRS));
            for v in 0..W {
                let at = c.add((o * V + v) * L::N);
                let total = if W == 1 {
                    totals[o]
                } else if block > 0 || panel.add {
                    L::load(at)
                } else {
                    L::splat(0.0)
                };
                let sum = L::mul(L::to_float(sums[o][v]), scales[v]);
                let total = L::fma(sum, w, total);
                if W == 1 {
                    totals[o] = total;
                } else {
                    L::store(at, total);
                }
            }
        }
    }
    if W == 1 {
        for o in 0..T {
            L::store(c.add(o * V * L::N), totals[o]);
        }
    }
}
