//! Few rows of activations: the weights are streamed once.

use std::ops::Range;

use super::{
    Activation, Blocks, Bytes, Dense, Nibbles, NormalFloats, Product, Weights, with_format,
};
use crate::activation::gelu;
use crate::format::{Ahead, Codes, Format, LINE_WORDS, Stretch, round_step, step_words};
use crate::lanes::{Lanes, Level, Task, run, run_with_dot};
use crate::matrix::BLOCK;
use crate::scratch::Aligned;
use crate::threads::{Shared, for_each, num_threads};

/// Bytes of weights that a thread takes at a time.
const PIECE_BYTES: usize = 64 << 10;

/// Rows of activations that are multiplied at a time.
const MOST_ROWS: usize = 4;

/// Rows of weights that are multiplied with [`MOST_ROWS`] rows of activations at a time. Their sums, a
/// vector of each and one of activations fill the 16 registers of AVX2.
const WEIGHT_ROWS: usize = 3;

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
    let is_words = |product: &Product<'_>| in_words && product.matrix.is_codes();
    let ways = [!list.iter().all(is_words), list.iter().any(is_words)];
    let activations = Activations::new(level, ways, x, rows, packed);
    let mut pieces = Vec::new();
    for (index, product) in list.iter().enumerate() {
        let (count, bytes) = (product.matrix.rows(), product.matrix.num_bytes());
        // Small products are cut finer, for all threads to have some.
        let num = (bytes / PIECE_BYTES).max(1).next_multiple_of(num_threads());
        let step = count.div_ceil(num).max(1);
        // So that what is multiplied together, and its rounding, is the same with any number of threads.
        let step = step.next_multiple_of(WEIGHT_ROWS);
        pieces.extend((0..count).step_by(step).map(|start| Piece {
            outputs: start..(start + step).min(count),
            y: outputs[index],
            of: product,
        }));
    }
    let x = &activations;
    for_each(pieces.len(), |i| {
        let piece = &pieces[i];
        match piece.of.matrix.weights() {
            Weights::Q8 { codes, scales } if in_words => {
                let blocks = Blocks::<Bytes>::new(codes.as_ptr().cast(), scales.as_ptr());
                run_with_dot(level, piece.task(rows, InWords { blocks, x }));
            }
            Weights::Q4 { codes, scales } if in_words => {
                let blocks = Blocks::<Nibbles>::new(codes.as_ptr(), scales.as_ptr());
                run_with_dot(level, piece.task(rows, InWords { blocks, x }));
            }
            _ => with_format!(piece.of.matrix, |format| {
                run(level, piece.task(rows, InFloats { format, x }));
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

/// Rows of activations, laid out for the kernels, in [`groups`] of them.
struct Activations {
    /// For weights that are multiplied in f32: a cache line of each row in turn.
    floats: *const f32,
    /// Numbers of a row of them.
    padded: usize,
    /// For the others: a step of each row in turn.
    words: *const i32,
    /// Words of a row of them.
    num_words: usize,
}

// SAFETY: the threads read what the pointers lead to, which stays as it is meanwhile.
unsafe impl Sync for Activations {}

impl Activations {
    /// Lays out rows in `packed`, in the ways that are asked for.
    fn new(
        level: Level,
        [in_floats, in_words]: [bool; 2],
        x: &[f32],
        rows: usize,
        packed: &mut Aligned,
    ) -> Self {
        let columns = x.len() / rows;
        // Quantised rows end at a whole block, and so must the activations.
        let padded = columns.next_multiple_of(BLOCK);
        let steps = columns.div_ceil(level.lanes() * BLOCK);
        let num_floats = if in_floats { padded } else { 0 };
        let num_words = match in_words {
            true => steps * step_words(level.lanes()),
            false => 0,
        };
        let room = packed.room(rows * (num_floats + num_words));
        let (floats, words) = room.split_at_mut(rows * num_floats);
        let (floats_to, words_to) = (Shared(floats.as_mut_ptr()), Shared(words.as_mut_ptr()));
        for_each(groups(rows).count(), |i| {
            let Some((first, rows)) = groups(rows).nth(i) else {
                return;
            };
            let x = &x[first * columns..][..rows * columns];
            if in_floats {
                // SAFETY: each group has its own part.
                let to = unsafe {
                    let to = floats_to.get().add(first * num_floats);
                    std::slice::from_raw_parts_mut(to, rows * num_floats)
                };
                interleave(x, rows, to);
            }
            if in_words {
                let to = words_to.get().wrapping_add(first * num_words).cast();
                run(level, Round { x, columns, to });
            }
        });
        Self {
            floats: floats.as_ptr(),
            padded,
            words: words.as_ptr().cast(),
            num_words,
        }
    }
}

/// Writes a cache line of each row in turn, and zeros where rows end.
fn interleave(x: &[f32], rows: usize, to: &mut [f32]) {
    for (r, x) in x.chunks((x.len() / rows).max(1)).enumerate() {
        let mut lines = x.chunks(LINE_WORDS);
        for to in to.chunks_mut(LINE_WORDS).skip(r).step_by(rows) {
            let from = lines.next().unwrap_or(&[]);
            to[..from.len()].copy_from_slice(from);
            to[from.len()..].fill(0.0);
        }
    }
}

/// Rounds a group of rows, a step of each in turn.
struct Round<'a> {
    x: &'a [f32],
    columns: usize,
    to: *mut i32,
}

impl Task for Round<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let mut to = self.to;
        for start in (0..self.columns).step_by(L::N * BLOCK) {
            for x in self.x.chunks(self.columns) {
                round_step::<L>(&x[start..], to);
                to = to.add(step_words(L::N));
            }
        }
    }
}

/// Weights and activations that are multiplied in one way.
trait Way {
    /// Inputs of a pass, of [`MOST_ROWS`] rows or more.
    const STRETCH: usize;

    /// As [`Format::NEAR`].
    const NEAR: usize;

    /// Bytes from one row of weights to the next.
    fn row_bytes(&self, columns: usize) -> usize;

    /// Products of a stretch of each of `W` rows of weights with the `R` rows from `row` on.
    unsafe fn dots<L: Lanes, const R: usize, const W: usize>(
        &self,
        weights: Stretch,
        row: usize,
    ) -> [[f32; R]; W];
}

/// In f32.
struct InFloats<'a, F> {
    format: F,
    x: &'a Activations,
}

impl<F: Format> Way for InFloats<'_, F> {
    const STRETCH: usize = NEAR_INPUTS;
    const NEAR: usize = F::NEAR;

    fn row_bytes(&self, columns: usize) -> usize {
        self.format.row_bytes(columns)
    }

    #[inline(always)]
    unsafe fn dots<L: Lanes, const R: usize, const W: usize>(
        &self,
        weights: Stretch,
        row: usize,
    ) -> [[f32; R]; W] {
        let x = self.x.floats.add(row * self.x.padded + weights.start * R);
        self.format.dots::<L, R, W>(weights, x)
    }
}

/// In integers of 16 bits.
struct InWords<'a, C> {
    blocks: Blocks<C>,
    x: &'a Activations,
}

impl<C: Codes> Way for InWords<'_, C> {
    // They take little more than half the room.
    const STRETCH: usize = 2 * NEAR_INPUTS;
    const NEAR: usize = C::NEAR;

    fn row_bytes(&self, columns: usize) -> usize {
        self.blocks.row_bytes(columns)
    }

    #[inline(always)]
    unsafe fn dots<L: Lanes, const R: usize, const W: usize>(
        &self,
        weights: Stretch,
        row: usize,
    ) -> [[f32; R]; W] {
        const { assert!(Self::STRETCH.is_multiple_of(L::N * BLOCK)) };
        let start = weights.start / (L::N * BLOCK) * step_words(L::N);
        let x = self.x.words.add(row * self.x.num_words + start * R);
        let mut sums = [[0.0; R]; W];
        for w in 0..W {
            sums[w] = self.blocks.dot_words::<L, R>(weights.after(w), x);
        }
        sums
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
        let outputs = self.piece.outputs.clone();
        let ahead = self.ahead::<R>(row, stretch);
        let mut output = outputs.start;
        if R == MOST_ROWS {
            while output + WEIGHT_ROWS <= outputs.end {
                self.step::<L, R, WEIGHT_ROWS>(row, output, stretch, ahead);
                output += WEIGHT_ROWS;
            }
        }
        while output < outputs.end {
            self.step::<L, R, 1>(row, output, stretch, ahead);
            output += 1;
        }
    }

    /// What is fetched during the pass of `R` rows from `row` on.
    #[inline(always)]
    fn ahead<const R: usize>(&self, row: usize, stretch: &Range<usize>) -> Ahead {
        let columns = self.piece.of.matrix.columns();
        if stretch.len() == columns && self.rows <= MOST_ROWS {
            return Ahead {
                bytes: W::NEAR,
                shift: 0,
            };
        }
        // The next piece is fetched meanwhile, so that memory has the time of two passes: a stretch in
        // the only pass over it, or half of it in each of the first two.
        let next = self.piece.outputs.len() * self.way.row_bytes(columns);
        let half = self.way.row_bytes(stretch.len()) / 2;
        let shift = u32::from(R != self.rows);
        match row {
            0 => Ahead { bytes: next, shift },
            MOST_ROWS => Ahead {
                bytes: next + half,
                shift,
            },
            _ => Ahead::NONE,
        }
    }

    /// Adds the products with the stretch of `N` rows of weights from `output` on.
    #[inline(always)]
    unsafe fn step<L: Lanes, const R: usize, const N: usize>(
        &self,
        row: usize,
        output: usize,
        stretch: &Range<usize>,
        ahead: Ahead,
    ) {
        let product = self.piece.of;
        let (outputs, columns) = (product.matrix.rows(), product.matrix.columns());
        let weights = Stretch {
            row: output,
            columns,
            start: stretch.start,
            end: stretch.end,
            ahead,
        };
        let sums = self.way.dots::<L, R, N>(weights, row);
        for (output, sums) in (output..).zip(sums) {
            for r in 0..R {
                let y = self.piece.y.get().add((row + r) * outputs + output);
                let mut sum = sums[r];
                if stretch.start > 0 {
                    sum += *y;
                }
                if stretch.end == columns {
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
