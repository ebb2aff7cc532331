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
use crate::threads::{Shared, for_each};
use crate::tile::tiles;

/// Inputs of a panel: two vectors of rows by so many inputs stay in the first-level cache.
const DEPTH: usize = 192;

/// Outputs of a panel, a multiple of every tile: its weights stay in the second-level cache.
const OUTPUTS: usize = 96;

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
    let total: usize = list.iter().map(|p| p.matrix.rows()).sum();
    // Several pieces for each thread, so that none waits long for another at the end.
    let share = total.div_ceil(rayon::current_num_threads() * 12);
    let step = share.next_multiple_of(12).clamp(12, OUTPUTS);
    let mut pieces = Vec::new();
    for (product, p) in list.iter().enumerate() {
        let count = p.matrix.rows();
        pieces.extend((0..count).step_by(step).map(|first| Piece {
            product,
            first,
            count: step.min(count - first),
        }));
    }
    let lanes = level.lanes();
    for start in (0..rows).step_by(ROWS) {
        let rows = ROWS.min(rows - start);
        let padded = rows.next_multiple_of(lanes);
        let x = &x[start * columns..][..rows * columns];
        let packed = packed.room(padded * columns);
        pack(x, rows, columns, padded, packed, lanes);
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
fn pack(x: &[f32], rows: usize, columns: usize, padded: usize, packed: &mut [f32], lanes: usize) {
    let group = 2 * lanes;
    let out = Shared(packed.as_mut_ptr());
    let groups = padded.div_ceil(group);
    for_each(groups, |g| {
        let first = g * group;
        let width = group.min(padded - first);
        for start in (0..columns).step_by(DEPTH) {
            let depth = DEPTH.min(columns - start);
            // SAFETY: each group writes its own part of each stretch.
            let part = unsafe {
                let part = out.get().add(start * padded + first * depth);
                std::slice::from_raw_parts_mut(part, width * depth)
            };
            for lane in 0..width {
                if first + lane < rows {
                    let row = &x[(first + lane) * columns + start..][..depth];
                    for (k, &value) in row.iter().enumerate() {
                        part[k * width + lane] = value;
                    }
                } else {
                    for k in 0..depth {
                        part[k * width + lane] = 0.0;
                    }
                }
            }
        }
    });
}

struct ManyRows<'a, F> {
    format: F,
    product: &'a Product<'a>,
    piece: &'a Piece,
    packed: &'a [f32],
    rows: usize,
    padded: usize,
    weights: &'a mut [f32],
    /// `[outputs, padded]`.
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
            }
            let stretch = self.packed.as_ptr().add(start * self.padded);
            for first in (0..self.padded).step_by(group) {
                let a = stretch.add(first * depth);
                let c = self.sums.as_mut_ptr().add(first);
                let (count, b) = (self.piece.count, self.weights.as_ptr());
                if self.padded - first >= group {
                    tiles::<L, 2>(count, depth, a, b, DEPTH, 1, c, self.padded, start > 0);
                } else {
                    tiles::<L, 1>(count, depth, a, b, DEPTH, 1, c, self.padded, start > 0);
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
        let outputs = self.product.matrix.rows();
        let gelu = self.product.activation == Activation::Gelu;
        let mut block = [0.0f32; OUTPUTS * 16];
        for first in (0..self.rows).step_by(L::N) {
            for o in 0..self.piece.count {
                let bias = match self.product.bias {
                    Some(bias) => *bias.get_unchecked(self.piece.first + o),
                    None => 0.0,
                };
                let sums = L::load(self.sums.as_ptr().add(o * self.padded + first));
                let mut y = L::add(sums, L::splat(bias));
                if gelu {
                    y = gelu_lanes::<L>(y);
                }
                L::store(block.as_mut_ptr().add(o * L::N), y);
            }
            for lane in 0..L::N.min(self.rows - first) {
                let y = self
                    .y
                    .get()
                    .add((first + lane) * outputs + self.piece.first);
                for o in 0..self.piece.count {
                    *y.add(o) = *block.get_unchecked(o * L::N + lane);
                }
            }
        }
    }
}
