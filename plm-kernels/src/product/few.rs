//! Few rows of activations: the weights are streamed once.

use std::ops::Range;

use super::{
    Activation, Blocks, Bytes, Dense, Nibbles, NormalFloats, Product, Weights, with_format,
};
use crate::activation::gelu;
use crate::format::{Ahead, Codes, Format, LINE_WORDS, Stretch, Words};
use crate::lanes::{Lanes, Level, Task, run, run_with_dot};
use crate::matrix::BLOCK;
use crate::rounding::{PAIRS, round_in_order};
use crate::scratch::Aligned;
use crate::threads::{Shared, for_each, num_threads};

/// Bytes of weights that a thread takes at a time.
const PIECE_BYTES: usize = 64 << 10;

/// Rows of activations that are multiplied at a time.
const MOST_ROWS: usize = 4;

/// Inputs of which [`MOST_ROWS`] rows of f32 stay in the first-level cache, beside weights that pass
/// through it.
const NEAR_INPUTS: usize = 1024;

/// Some outputs of one product.
struct Piece<'a> {
    outputs: Range<usize>,
    y: Shared<f32>,
    of: &'a Product<'a>,
}

/// Computes products of `rows` rows of activations, with codes of 8 and 4 bits as integers of 16 bits
/// (`in_words`) or in f32.
pub(super) fn products(
    level: Level,
    in_words: bool,
    x: &[f32],
    rows: usize,
    list: &mut [Product<'_>],
    packed: &mut Aligned,
) {
    let outputs: Vec<Shared<f32>> = list.iter_mut().map(|p| Shared(p.y.as_mut_ptr())).collect();
    let in_words = in_words && list.iter().any(|product| product.matrix.is_codes());
    let activations = Activations::new(level, in_words, x, rows, packed);
    let mut pieces = Vec::new();
    for (index, product) in list.iter().enumerate() {
        let (count, bytes) = (product.matrix.rows(), product.matrix.num_bytes());
        // Small products are cut finer, for all threads to have some.
        let num = (bytes / PIECE_BYTES).max(1).next_multiple_of(num_threads());
        let step = count.div_ceil(num).max(1).next_multiple_of(4);
        pieces.extend((0..count).step_by(step).map(|start| Piece {
            outputs: start..(start + step).min(count),
            y: outputs[index],
            of: product,
        }));
    }
    let activations = &activations;
    for_each(pieces.len(), |i| {
        let piece = &pieces[i];
        match (piece.of.matrix.weights(), activations.words) {
            (Weights::Q8 { codes, scales }, Some(x)) => {
                let blocks = Blocks::<Bytes>::new(codes.as_ptr().cast(), scales.as_ptr());
                run_with_dot(level, piece.task(rows, InWords { blocks, x }));
            }
            (Weights::Q4 { codes, scales }, Some(x)) => {
                let blocks = Blocks::<Nibbles>::new(codes.as_ptr(), scales.as_ptr());
                run_with_dot(level, piece.task(rows, InWords { blocks, x }));
            }
            _ => with_format!(piece.of.matrix, |format| {
                let Activations { values, padded, .. } = *activations;
                let way = InFloats {
                    format,
                    x: values,
                    padded,
                };
                run(level, piece.task(rows, way));
            }),
        }
    });
}

/// Rows in groups of [`MOST_ROWS`], and of 2 and 1 what is left: the first row of each and how many
/// there are.
fn groups(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut row = 0;
    std::iter::from_fn(move || {
        let count = match rows - row {
            0 => return None,
            MOST_ROWS.. => MOST_ROWS,
            2.. => 2,
            _ => 1,
        };
        row += count;
        Some((row - count, count))
    })
}

/// Rows of activations, laid out for the kernels: [`groups`] of them, in which a cache line of each row
/// stands in turn.
struct Activations {
    values: *const f32,
    /// Numbers of a row.
    padded: usize,
    /// The same rounded, where some weights are multiplied so.
    words: Option<Words>,
}

// SAFETY: the threads read what the pointers lead to, which stays as it is meanwhile.
unsafe impl Sync for Activations {}

impl Activations {
    fn new(level: Level, in_words: bool, x: &[f32], rows: usize, packed: &mut Aligned) -> Self {
        let columns = x.len() / rows;
        // Quantised rows end at a whole block, and so must the activations.
        let padded = columns.next_multiple_of(BLOCK);
        let blocks = if in_words { padded / BLOCK } else { 0 };
        let (num_words, ld_scales) = (blocks * PAIRS, blocks.next_multiple_of(LINE_WORDS));
        let room = packed.room(rows * (padded + num_words + ld_scales));
        let (values, rest) = room.split_at_mut(rows * padded);
        let (words, scales) = rest.split_at_mut(rows * num_words);
        for (first, count) in groups(rows) {
            let group = &mut values[first * padded..][..count * padded];
            for r in 0..count {
                let mut lines = x[(first + r) * columns..][..columns].chunks(LINE_WORDS);
                for to in group.chunks_mut(LINE_WORDS).skip(r).step_by(count) {
                    let from = lines.next().unwrap_or(&[]);
                    to[..from.len()].copy_from_slice(from);
                    to[from.len()..].fill(0.0);
                }
            }
            if in_words {
                let group = Round {
                    values: group.as_ptr(),
                    rows: count,
                    blocks,
                    words: words[first * num_words..].as_mut_ptr().cast(),
                    scales: scales[first * ld_scales..].as_mut_ptr(),
                    ld_scales,
                };
                run(level, group);
            }
        }
        Self {
            values: values.as_ptr(),
            padded,
            words: in_words.then_some(Words {
                words: words.as_ptr().cast(),
                padded,
                scales: scales.as_ptr(),
                ld_scales,
            }),
        }
    }
}

/// Rounds a group of rows.
struct Round {
    values: *const f32,
    rows: usize,
    blocks: usize,
    words: *mut i16,
    scales: *mut f32,
    ld_scales: usize,
}

impl Task for Round {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for block in 0..self.blocks {
            for r in 0..self.rows {
                let line = 2 * block * self.rows + r;
                let halves =
                    [line, line + self.rows].map(|line| self.values.add(line * LINE_WORDS));
                let to = self.words.add((block * self.rows + r) * BLOCK);
                *self.scales.add(r * self.ld_scales + block) = round_in_order::<L>(halves, to);
            }
        }
    }
}

/// Weights and activations that are multiplied in one way.
trait Way {
    /// Inputs of a pass, of [`MOST_ROWS`] rows or more.
    const STRETCH: usize;

    /// Bytes from one row of weights to the next.
    fn row_bytes(&self, columns: usize) -> usize;

    /// Products of a stretch of weights with the `R` rows from `row` on.
    unsafe fn dot<L: Lanes, const R: usize>(&self, weights: Stretch, row: usize) -> [f32; R];
}

/// In f32.
struct InFloats<F> {
    format: F,
    x: *const f32,
    /// Numbers of a row of activations.
    padded: usize,
}

impl<F: Format> Way for InFloats<F> {
    const STRETCH: usize = NEAR_INPUTS;

    fn row_bytes(&self, columns: usize) -> usize {
        self.format.row_bytes(columns)
    }

    #[inline(always)]
    unsafe fn dot<L: Lanes, const R: usize>(&self, weights: Stretch, row: usize) -> [f32; R] {
        let x = self.x.add(row * self.padded + weights.start * R);
        self.format.dot::<L, R>(weights, x)
    }
}

/// In integers of 16 bits.
struct InWords<C> {
    blocks: Blocks<C>,
    x: Words,
}

impl<C: Codes> Way for InWords<C> {
    // They take half the room, and no longer from the next cache.
    const STRETCH: usize = usize::MAX;

    fn row_bytes(&self, columns: usize) -> usize {
        self.blocks.row_bytes(columns)
    }

    #[inline(always)]
    unsafe fn dot<L: Lanes, const R: usize>(&self, weights: Stretch, row: usize) -> [f32; R] {
        let x = self.x.rows_from::<R>(row, weights.start);
        self.blocks.dot_words::<L, R>(weights, x)
    }
}

impl<'a> Piece<'a> {
    fn task<W: Way>(&'a self, rows: usize, way: W) -> FewRows<'a, W> {
        FewRows {
            way,
            rows,
            piece: self,
        }
    }
}

struct FewRows<'a, W> {
    way: W,
    rows: usize,
    piece: &'a Piece<'a>,
}

impl<W: Way> Task for FewRows<'_, W> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let columns = self.piece.of.matrix.columns();
        // Fewer rows take no longer than memory does, which likes whole rows of weights.
        let most = if self.rows >= MOST_ROWS {
            W::STRETCH
        } else {
            columns
        };
        let step = most.clamp(1, columns.max(1));
        for start in (0..columns.max(1)).step_by(step) {
            let stretch = start..columns.min(start + step);
            for (row, count) in groups(self.rows) {
                match count {
                    MOST_ROWS => self.pass::<L, MOST_ROWS>(row, &stretch),
                    2 => self.pass::<L, 2>(row, &stretch),
                    _ => self.pass::<L, 1>(row, &stretch),
                }
            }
        }
    }
}

impl<W: Way> FewRows<'_, W> {
    /// Adds the products of a stretch of inputs with `R` rows from `row` on.
    #[inline(always)]
    unsafe fn pass<L: Lanes, const R: usize>(&self, row: usize, stretch: &Range<usize>) {
        let product = self.piece.of;
        let (outputs, columns) = (product.matrix.rows(), product.matrix.columns());
        let (is_first, is_last) = (stretch.start == 0, stretch.end == columns);
        let ahead = if is_first && is_last {
            Ahead::NEAR
        } else {
            // The next piece is fetched meanwhile, so that memory has the time of all passes: a stretch in
            // the only pass over it, or half of it in the first and half in the others.
            let next = self.piece.outputs.len() * self.way.row_bytes(columns);
            let half = self.way.row_bytes(stretch.len()) / 2;
            Ahead {
                bytes: if row == 0 { next } else { next + half },
                shift: u32::from(R != self.rows),
            }
        };
        for output in self.piece.outputs.clone() {
            let weights = Stretch {
                row: output,
                columns,
                start: stretch.start,
                end: stretch.end,
                ahead,
            };
            let sums = self.way.dot::<L, R>(weights, row);
            for r in 0..R {
                let y = self.piece.y.get().add((row + r) * outputs + output);
                let mut sum = sums[r];
                if !is_first {
                    sum += *y;
                }
                if is_last {
                    sum += product.bias.map_or(0.0, |bias| *bias.get_unchecked(output));
                    if product.activation == Activation::Gelu {
                        sum = gelu::<L>(sum);
                    }
                }
                *y = sum;
            }
        }
    }
}
