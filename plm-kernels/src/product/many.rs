//! Many rows of activations: panels of weights are widened and multiplied from the cache.
//!
//! Vectors run along the rows of activations, which are packed so that their neighbours stand
//! together; a weight is one number that is spread over a vector. So a row of weights is widened as
//! it is stored, in whatever format, and nothing of it is transposed. Panels are multiplied in f32
//! ([`floats`]) or, where a processor is faster so, as integers of 16 bits ([`integers`]), as numbers of
//! bf16 ([`halves`]) or as sums of them ([`parts`]).

mod floats;
#[cfg(target_arch = "x86_64")]
mod halves;
mod integers;
#[cfg(target_arch = "x86_64")]
mod parts;

use super::{
    Activation, Blocks, Bytes, Dense, MatmulPrecision, Nibbles, NormalFloats, Product, Weights,
    with_format,
};
use crate::activation::gelu_lanes;
use crate::format::Format;
use crate::lanes::{Lanes, Level, Task};
use crate::matrix::Matrix;
use crate::scratch::{Aligned, with_scratch};
use crate::threads::{Shared, for_each, num_threads};

pub(super) use floats::Floats;
#[cfg(target_arch = "x86_64")]
pub(super) use halves::Halves;
pub(super) use integers::Integers;
#[cfg(target_arch = "x86_64")]
pub(super) use parts::Parts;

/// Outputs of a panel, a multiple of every tile: its weights stay in the second-level cache.
const OUTPUTS: usize = 96;

/// Rows that go through the panels together; it bounds the working memory.
const ROWS: usize = 1088;

/// How activations and weights are written side by side, and multiplied.
pub(super) trait Arithmetic: Copy + Sync {
    /// Inputs of a panel: two vectors of rows by so many inputs stay in the first-level cache.
    const DEPTH: usize;
    /// Outputs that every tile divides, a divisor of [`OUTPUTS`].
    const TILE: usize;

    /// Runs a task of this arithmetic.
    fn run<T: Task>(level: Level, task: T) -> T::Output;

    /// Inputs that rows of so many are filled up to.
    fn padded(columns: usize) -> usize;

    /// Words of 32 bits that so many inputs of a row of activations take, and of weights at most.
    fn words(self, inputs: usize) -> usize;

    /// Packs `depth` inputs from `start` on of the rows of a vector, whose words go to `out` and
    /// then each `width` words further.
    unsafe fn pack<L: Lanes>(
        self,
        x: Rows,
        start: usize,
        depth: usize,
        out: *mut f32,
        width: usize,
    );

    /// Widens the inputs of a row of weights from `start` on, a panel's depth of them, to where
    /// output `o` of the panel stands.
    unsafe fn expand<L: Lanes, F: Format>(
        self,
        format: F,
        matrix: &Matrix<'_>,
        row: usize,
        start: usize,
        panel: *mut f32,
        o: usize,
    );

    /// Multiplies a group of `V` vectors of rows with the outputs of a panel; what stands at
    /// `ahead` is fetched meanwhile.
    unsafe fn multiply<L: Lanes, const V: usize>(
        self,
        panel: Panel,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
        ahead: *const f32,
    );
}

/// Rows of activations that make a vector.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    /// The first of them.
    x: *const f32,
    /// How many there are; the others of the vector are zeros.
    count: usize,
    columns: usize,
}

impl Rows {
    /// The inputs of a square of `L::N` rows and inputs from `k` on, inputs by rows.
    #[inline(always)]
    unsafe fn square<L: Lanes>(self, k: usize) -> [L::V; 16] {
        let mut square = [L::splat(0.0); 16];
        let there = self.columns.saturating_sub(k).min(L::N);
        for i in 0..self.count {
            let row = self.x.add(i * self.columns + k);
            square[i] = if there == L::N {
                L::load(row)
            } else {
                let mut end = [0.0; 16];
                std::ptr::copy_nonoverlapping(row, end.as_mut_ptr(), there);
                L::load(end.as_ptr())
            };
        }
        L::transpose(&mut square);
        square
    }
}

/// What is multiplied at a time.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    outputs: usize,
    /// Inputs.
    depth: usize,
    /// Whether the products are added to what there is.
    add: bool,
}

/// Some outputs of one product.
struct Piece {
    product: usize,
    first: usize,
    count: usize,
}

/// Computes products of many rows of activations.
pub(super) fn products<A: Arithmetic>(
    arithmetic: A,
    level: Level,
    x: &[f32],
    rows: usize,
    list: &mut [Product<'_>],
    packed: &mut Aligned,
) {
    let columns = list[0].matrix.columns();
    let outputs: Vec<Shared<f32>> = list.iter_mut().map(|p| Shared(p.y.as_mut_ptr())).collect();
    let mut pieces = Vec::new();
    for (product, p) in list.iter().enumerate() {
        // As large as panels may be, as many for each thread, and of whole tiles.
        let count = p.matrix.rows();
        let tiles = count.div_ceil(A::TILE);
        let num = count.div_ceil(OUTPUTS).next_multiple_of(num_threads());
        let num = num.clamp(1, tiles.max(1));
        let starts = |i: usize| (i * tiles / num * A::TILE).min(count);
        pieces.extend((0..num).map(|i| Piece {
            product,
            first: starts(i),
            count: starts(i + 1) - starts(i),
        }));
    }
    let lanes = level.lanes();
    for start in (0..rows).step_by(ROWS) {
        let rows = ROWS.min(rows - start);
        let padded = rows.next_multiple_of(lanes);
        let x = &x[start * columns..][..rows * columns];
        let packed = packed.room(padded * arithmetic.words(A::padded(columns)));
        pack(arithmetic, level, x, rows, columns, padded, packed);
        let packed = &*packed;
        for_each(pieces.len(), |i| {
            let piece = &pieces[i];
            let product = &list[piece.product];
            let y = Shared(
                outputs[piece.product]
                    .get()
                    .wrapping_add(start * product.matrix.rows()),
            );
            let words = arithmetic.words(A::DEPTH);
            with_scratch(OUTPUTS * (words + padded), |scratch| {
                let (weights, sums) = scratch.split_at_mut(OUTPUTS * words);
                with_format!(product.matrix, |format| {
                    let task = ManyRows {
                        format,
                        product,
                        piece,
                        packed,
                        rows,
                        padded,
                        weights,
                        sums,
                        y,
                        arithmetic,
                    };
                    A::run(level, task)
                });
            });
        });
    }
}

/// Packs activations `[rows, columns]`: stretches of a panel's depth of inputs; in each, groups of
/// two vectors of rows (the last may be of one); in a group, the rows' words of one input together.
fn pack<A: Arithmetic>(
    arithmetic: A,
    level: Level,
    x: &[f32],
    rows: usize,
    columns: usize,
    padded: usize,
    packed: &mut [f32],
) {
    let group = 2 * level.lanes();
    let out = Shared(packed.as_mut_ptr());
    for_each(padded.div_ceil(group), |g| {
        let first = g * group;
        let task = Pack {
            x: &x[first * columns..],
            rows: rows - first.min(rows),
            columns,
            first,
            padded,
            out,
            arithmetic,
        };
        A::run(level, task);
    });
}

/// One group of rows to pack.
struct Pack<'a, A> {
    /// From the group's first row on.
    x: &'a [f32],
    /// Rows that there are from there on.
    rows: usize,
    columns: usize,
    first: usize,
    padded: usize,
    out: Shared<f32>,
    arithmetic: A,
}

impl<A: Arithmetic> Task for Pack<'_, A> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let width = (2 * L::N).min(self.padded - self.first);
        let inputs = A::padded(self.columns);
        for start in (0..inputs).step_by(A::DEPTH) {
            let depth = A::DEPTH.min(inputs - start);
            // Each group writes its own part of each stretch.
            let words = |inputs| self.arithmetic.words(inputs);
            let part = words(start) * self.padded + self.first * words(depth);
            for lane in (0..width).step_by(L::N) {
                let rows = Rows {
                    x: self.x.as_ptr().wrapping_add(lane * self.columns),
                    count: self.rows.saturating_sub(lane).min(L::N),
                    columns: self.columns,
                };
                let out = self.out.get().add(part + lane);
                self.arithmetic.pack::<L>(rows, start, depth, out, width);
            }
        }
    }
}

struct ManyRows<'a, F, A> {
    format: F,
    product: &'a Product<'a>,
    piece: &'a Piece,
    packed: &'a [f32],
    rows: usize,
    padded: usize,
    weights: &'a mut [f32],
    /// Group by group of rows, `[outputs, rows of the group]`.
    sums: &'a mut [f32],
    y: Shared<f32>,
    arithmetic: A,
}

impl<F: Format, A: Arithmetic> Task for ManyRows<'_, F, A> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let matrix = &self.product.matrix;
        let inputs = A::padded(matrix.columns());
        let group = 2 * L::N;
        let arithmetic = self.arithmetic;
        for start in (0..inputs).step_by(A::DEPTH) {
            let depth = A::DEPTH.min(inputs - start);
            for o in 0..self.piece.count {
                let row = self.piece.first + o;
                let panel = self.weights.as_mut_ptr();
                arithmetic.expand::<L, F>(self.format, matrix, row, start, panel, o);
                // What is expanded next is far from here; it comes meanwhile.
                let next = start + depth..(start + depth + A::DEPTH).min(matrix.padded_columns());
                self.format.fetch(row, matrix.columns(), next);
            }
            let stretch = self.packed.as_ptr();
            let stretch = stretch.add(arithmetic.words(start) * self.padded);
            let panel = Panel {
                outputs: self.piece.count,
                depth,
                add: start > 0,
            };
            for first in (0..self.padded).step_by(group) {
                let a = stretch.add(first * arithmetic.words(depth));
                let next = a.wrapping_add(group * arithmetic.words(depth));
                let b = self.weights.as_ptr();
                let c = self.sums.as_mut_ptr().add(first * OUTPUTS);
                if self.padded - first >= group {
                    arithmetic.multiply::<L, 2>(panel, a, b, c, next);
                } else {
                    arithmetic.multiply::<L, 1>(panel, a, b, c, next);
                }
            }
        }
        self.finish::<L>();
    }
}

impl<F: Format, A: Arithmetic> ManyRows<'_, F, A> {
    /// Adds biases, applies the activation and writes the sums where they belong, transposed.
    #[inline(always)]
    unsafe fn finish<L: Lanes>(&self) {
        for first in (0..self.rows).step_by(L::N) {
            let group = first / (2 * L::N) * (2 * L::N);
            let width = (2 * L::N).min(self.padded - group);
            let sums = self.sums.as_ptr().add(group * OUTPUTS + first - group);
            for o in (0..self.piece.count).step_by(L::N) {
                self.finish_square::<L>(first, o, sums, width);
            }
        }
    }

    /// Finishes the outputs of a vector of rows from `first` on and as many outputs from `o` on.
    #[inline(always)]
    unsafe fn finish_square<L: Lanes>(
        &self,
        first: usize,
        o: usize,
        sums: *const f32,
        width: usize,
    ) {
        let outputs = self.product.matrix.rows();
        let count = L::N.min(self.piece.count - o);
        let mut square = [L::splat(0.0); 16];
        for i in 0..count {
            let bias = match self.product.bias {
                Some(bias) => *bias.get_unchecked(self.piece.first + o + i),
                None => 0.0,
            };
            square[i] = L::add(L::load(sums.add((o + i) * width)), L::splat(bias));
            if self.product.activation == Activation::Gelu {
                square[i] = gelu_lanes::<L>(square[i]);
            }
        }
        L::transpose(&mut square);
        for i in 0..L::N.min(self.rows - first) {
            let y = self.y.get();
            let y = y.add((first + i) * outputs + self.piece.first + o);
            if count == L::N {
                L::store(y, square[i]);
            } else {
                let mut row = [0.0f32; 16];
                L::store(row.as_mut_ptr(), square[i]);
                std::ptr::copy_nonoverlapping(row.as_ptr(), y, count);
            }
        }
    }
}
