//! Many rows of activations: panels of weights are widened to f32 and multiplied from the cache.
//!
//! Vectors run along the rows of activations, which are packed so that their neighbours stand
//! together; a weight is one number that is spread over a vector. So a row of weights is widened as
//! it is stored, in whatever format, and nothing of it is transposed.

use super::{
    Activation, Blocks, Bytes, Dense, Nibbles, PhantomData, Product, Weights, with_format,
};
use crate::activation::gelu_lanes;
use crate::format::Format;
use crate::lanes::{Lanes, Level, Task, run};
use crate::scratch::{Aligned, with_scratch};
use crate::threads::{Shared, for_each, num_threads};
use crate::tile::{Shape, tiles};

/// Inputs of a panel: two vectors of rows by so many inputs stay in the first-level cache.
const DEPTH: usize = 192;

/// Outputs of a panel, a multiple of every tile: its weights stay in the second-level cache.
const OUTPUTS: usize = 96;

/// Outputs that every tile divides.
const TILE: usize = 12;

/// Rows that go through the panels together; it bounds the working memory.
const ROWS: usize = 1088;

/// Some outputs of one product.
struct Piece {
    product: usize,
    first: usize,
    count: usize,
}

/// Computes products of many rows of activations.
pub(super) fn products(
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
        let tiles = count.div_ceil(TILE);
        let num = count.div_ceil(OUTPUTS).next_multiple_of(num_threads());
        let num = num.clamp(1, tiles.max(1));
        let starts = |i: usize| (i * tiles / num * TILE).min(count);
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
        let packed = packed.room(padded * columns);
        pack(level, x, rows, columns, padded, packed);
        let packed = &*packed;
        for_each(pieces.len(), |i| {
            let piece = &pieces[i];
            let product = &list[piece.product];
            let y = Shared(
                outputs[piece.product]
                    .get()
                    .wrapping_add(start * product.matrix.rows()),
            );
            with_scratch(OUTPUTS * (DEPTH + padded), |scratch| {
                let (weights, sums) = scratch.split_at_mut(OUTPUTS * DEPTH);
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
                    };
                    run(level, task)
                });
            });
        });
    }
}

/// Packs activations `[rows, columns]`: stretches of [`DEPTH`] inputs; in each, groups of two
/// vectors of rows (the last may be of one); in a group, the rows' numbers of one input together.
fn pack(level: Level, x: &[f32], rows: usize, columns: usize, padded: usize, packed: &mut [f32]) {
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
        };
        run(level, task);
    });
}

/// One group of rows to pack.
struct Pack<'a> {
    /// From the group's first row on.
    x: &'a [f32],
    /// Rows that there are from there on.
    rows: usize,
    columns: usize,
    first: usize,
    padded: usize,
    out: Shared<f32>,
}

impl Task for Pack<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let width = (2 * L::N).min(self.padded - self.first);
        for start in (0..self.columns).step_by(DEPTH) {
            let depth = DEPTH.min(self.columns - start);
            // Each group writes its own part of each stretch.
            let part = self.out.get().add(start * self.padded + self.first * depth);
            for lane in (0..width).step_by(L::N) {
                let there = self.rows.saturating_sub(lane).min(L::N);
                let row = |i: usize| {
                    self.x
                        .as_ptr()
                        .wrapping_add((lane + i) * self.columns + start)
                };
                let whole = depth / L::N * L::N;
                for k in (0..whole).step_by(L::N) {
                    let mut square = [L::splat(0.0); 16];
                    for i in 0..there {
                        square[i] = L::load(row(i).add(k));
                    }
                    L::transpose(&mut square);
                    for i in 0..L::N {
                        L::store(part.add((k + i) * width + lane), square[i]);
                    }
                }
                for k in whole..depth {
                    for i in 0..L::N {
                        let value = if i < there { *row(i).add(k) } else { 0.0 };
                        *part.add(k * width + lane + i) = value;
                    }
                }
            }
        }
    }
}

struct ManyRows<'a, F> {
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
}

impl<F: Format> Task for ManyRows<'_, F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let columns = self.product.matrix.columns();
        let padded_columns = self.product.matrix.padded_columns();
        let group = 2 * L::N;
        for start in (0..columns).step_by(DEPTH) {
            let depth = DEPTH.min(columns - start);
            let end = (start + DEPTH).min(padded_columns);
            for o in 0..self.piece.count {
                let row = self.piece.first + o;
                let out = self.weights.as_mut_ptr().add(o * DEPTH);
                self.format.expand::<L>(row, columns, start, end, out);
                // What is expanded next is far from here; it comes meanwhile.
                let next = end..(end + DEPTH).min(padded_columns);
                self.format.fetch(row, columns, next);
            }
            let stretch = self.packed.as_ptr().add(start * self.padded);
            for first in (0..self.padded).step_by(group) {
                let a = stretch.add(first * depth);
                let next = a.wrapping_add(group * depth);
                let c = self.sums.as_mut_ptr().add(first * OUTPUTS);
                let (count, b) = (self.piece.count, self.weights.as_ptr());
                let width = group.min(self.padded - first);
                let shape = Shape {
                    depth,
                    os: DEPTH,
                    ks: 1,
                    ldc: width,
                    add: start > 0,
                };
                if width == group {
                    tiles::<L, 2>(count, shape, a, b, c, next);
                } else {
                    tiles::<L, 1>(count, shape, a, b, c, next);
                }
            }
        }
        self.finish::<L>();
    }
}

impl<F: Format> ManyRows<'_, F> {
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
