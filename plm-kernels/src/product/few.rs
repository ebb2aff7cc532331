//! Few rows of activations: the weights are streamed once.

use std::ops::Range;

use super::{
    Activation, Blocks, Bytes, Dense, Nibbles, NormalFloats, PhantomData, Product, Weights,
    with_format,
};
use crate::activation::gelu;
use crate::format::Format;
use crate::lanes::{Lanes, Level, Task, run};
use crate::threads::{Shared, for_each, num_threads};

/// Bytes of weights that a thread takes at a time.
const PIECE_BYTES: usize = 64 << 10;

/// Some outputs of one product.
struct Piece<'a> {
    outputs: Range<usize>,
    y: Shared<f32>,
    of: &'a Product<'a>,
}

/// Computes products of `rows` rows of activations, `ldx` apart.
pub(super) fn products(level: Level, x: &[f32], ldx: usize, rows: usize, list: &mut [Product<'_>]) {
    let outputs: Vec<Shared<f32>> = list.iter_mut().map(|p| Shared(p.y.as_mut_ptr())).collect();
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
        with_format!(piece.of.matrix, |format| {
            let task = FewRows {
                format,
                x: x.as_ptr(),
                ldx,
                rows,
                piece,
            };
            run(level, task)
        });
    });
}

struct FewRows<'a, F> {
    format: F,
    x: *const f32,
    ldx: usize,
    rows: usize,
    piece: &'a Piece<'a>,
}

impl<F: Format> Task for FewRows<'_, F> {
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

impl<F: Format> FewRows<'_, F> {
    /// Computes `R` rows from `row` on; returns `R`.
    #[inline(always)]
    unsafe fn pass<L: Lanes, const R: usize>(&self, row: usize) -> usize {
        let product = self.piece.of;
        let (outputs, columns) = (product.matrix.rows(), product.matrix.columns());
        let x = self.x.add(row * self.ldx);
        for output in self.piece.outputs.clone() {
            let sums = self.format.dot::<L, R>(output, columns, x, self.ldx);
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
