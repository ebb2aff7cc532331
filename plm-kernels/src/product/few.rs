//! Few rows of activations: the weights are streamed once.

use std::ops::Range;

use super::{
    Activation, Blocks, Bytes, Dense, Nibbles, NormalFloats, Product, Weights, with_format,
};
use crate::activation::gelu;
use crate::format::{Codes, Format, Words};
use crate::lanes::{Lanes, Level, Task, run, run_with_dot};
use crate::matrix::BLOCK;
use crate::rounding::{PAIRS, round_in_order};
use crate::scratch::Aligned;
use crate::threads::{Shared, for_each, num_threads};

/// Bytes of weights that a thread takes at a time.
const PIECE_BYTES: usize = 64 << 10;

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
    let x = Activations::new(level, in_words, x, rows, list, packed);
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
    for_each(pieces.len(), |i| {
        let piece = &pieces[i];
        match (piece.of.matrix.weights(), x.words()) {
            (Weights::Q8 { codes, scales }, Some(x)) => {
                let blocks = Blocks::<Bytes>::new(codes.as_ptr().cast(), scales.as_ptr());
                run_with_dot(level, piece.task(rows, InWords { blocks, x }));
            }
            (Weights::Q4 { codes, scales }, Some(x)) => {
                let blocks = Blocks::<Nibbles>::new(codes.as_ptr(), scales.as_ptr());
                run_with_dot(level, piece.task(rows, InWords { blocks, x }));
            }
            _ => with_format!(piece.of.matrix, |format| {
                let (x, ldx) = x.floats();
                run(level, piece.task(rows, InFloats { format, x, ldx }));
            }),
        }
    });
}

/// Rows of activations, laid out for the kernels.
struct Activations {
    values: *const f32,
    ldx: usize,
    /// The same rounded, where some weights are multiplied so.
    words: Option<Words>,
}

// SAFETY: the threads read what the pointers lead to, which stays as it is meanwhile.
unsafe impl Sync for Activations {}

impl Activations {
    fn new(
        level: Level,
        in_words: bool,
        x: &[f32],
        rows: usize,
        list: &[Product<'_>],
        packed: &mut Aligned,
    ) -> Self {
        let columns = x.len() / rows;
        // Quantised rows end at a whole block, and so must the activations; rows that begin at a
        // cache line load faster, and at different places of it do not evict each other.
        let padded = list.iter().map(|p| p.matrix.padded_columns()).max();
        let ldx = padded.unwrap_or(columns).next_multiple_of(16) + 16;
        let blocks = if in_words { columns.div_ceil(BLOCK) } else { 0 };
        let (ld_words, ld_scales) = (blocks * PAIRS + 16, blocks.next_multiple_of(16));
        let room = packed.room(rows * (ldx + ld_words + ld_scales));
        let (values, rest) = room.split_at_mut(rows * ldx);
        let (words, scales) = rest.split_at_mut(rows * ld_words);
        for (to, from) in values.chunks_mut(ldx).zip(x.chunks(columns)) {
            to[..columns].copy_from_slice(from);
            to[columns..].fill(0.0);
        }
        let words = in_words.then(|| Words {
            words: words.as_mut_ptr().cast(),
            ld_words,
            scales: scales.as_mut_ptr(),
            ld_scales,
        });
        let values = values.as_ptr();
        if let Some(words) = words {
            for row in 0..rows {
                // SAFETY: each row has room for its blocks.
                let (values, to) = unsafe { (values.add(row * ldx), words.rows_from(row)) };
                run(level, Round { values, blocks, to });
            }
        }
        Self { values, ldx, words }
    }

    /// The first row's numbers, and how many lie from one row to the next.
    fn floats(&self) -> (*const f32, usize) {
        (self.values, self.ldx)
    }

    fn words(&self) -> Option<Words> {
        self.words
    }
}

/// Rounds a row.
struct Round {
    values: *const f32,
    blocks: usize,
    to: Words,
}

impl Task for Round {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (words, scales) = (self.to.words.cast_mut(), self.to.scales.cast_mut());
        round_in_order::<L>(self.values, self.blocks, words.cast(), scales);
    }
}

/// Weights and activations that are multiplied in one way.
trait Way {
    /// Products of weights `output` with the `R` rows from `row` on.
    unsafe fn dot<L: Lanes, const R: usize>(
        &self,
        output: usize,
        columns: usize,
        row: usize,
    ) -> [f32; R];
}

/// In f32.
struct InFloats<F> {
    format: F,
    x: *const f32,
    ldx: usize,
}

impl<F: Format> Way for InFloats<F> {
    #[inline(always)]
    unsafe fn dot<L: Lanes, const R: usize>(
        &self,
        output: usize,
        columns: usize,
        row: usize,
    ) -> [f32; R] {
        let x = self.x.add(row * self.ldx);
        self.format.dot::<L, R>(output, columns, x, self.ldx)
    }
}

/// In integers of 16 bits.
struct InWords<C> {
    blocks: Blocks<C>,
    x: Words,
}

impl<C: Codes> Way for InWords<C> {
    #[inline(always)]
    unsafe fn dot<L: Lanes, const R: usize>(
        &self,
        output: usize,
        columns: usize,
        row: usize,
    ) -> [f32; R] {
        let x = self.x.rows_from(row);
        self.blocks.dot_words::<L, R>(output, columns, x)
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
        let mut row = 0;
        while row < self.rows {
            // One output at a time: rows of weights come in one after the other, as memory likes.
            row += match self.rows - row {
                4.. => self.pass::<L, 4>(row),
                2.. => self.pass::<L, 2>(row),
                _ => self.pass::<L, 1>(row),
            };
        }
    }
}

impl<W: Way> FewRows<'_, W> {
    /// Computes `R` rows from `row` on; returns `R`.
    #[inline(always)]
    unsafe fn pass<L: Lanes, const R: usize>(&self, row: usize) -> usize {
        let product = self.piece.of;
        let (outputs, columns) = (product.matrix.rows(), product.matrix.columns());
        for output in self.piece.outputs.clone() {
            let sums = self.way.dot::<L, R>(output, columns, row);
            let bias = match product.bias {
                Some(bias) => *bias.get_unchecked(output),
                None => 0.0,
            };
            for r in 0..R {
                let mut y = sums[r] + bias;
                if product.activation == Activation::Gelu {
                    y = gelu::<L>(y);
                }
                *self.piece.y.get().add((row + r) * outputs + output) = y;
            }
        }
        R
    }
}
