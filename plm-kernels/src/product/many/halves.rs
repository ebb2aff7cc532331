//! Panels of bf16, which some processors multiply and add two at a time, twice as many in one
//! instruction as f32: activations and weights are rounded to it, as Python's models in bf16 round them.

use super::parts::{BLOCK, expand_block, pack_pair};
use super::{Arithmetic, MatmulPrecision, Panel, Product, Rows};
use crate::avx512_bf16::{self, STEPS, Words};
use crate::format::Format;
use crate::lanes::{self, Lanes, Level, Task};
use crate::matrix::Matrix;

/// Inputs of a panel.
const PANEL: usize = 256;

/// Words of two numbers in a panel's row.
const ROW: usize = PANEL / 2;

/// Numbers in a cache line.
const LINE: usize = 16;

/// Pairs of bf16, on a processor that multiplies them.
#[derive(Clone, Copy)]
pub(in crate::product) struct Halves(());

impl Halves {
    /// For some products, if this processor multiplies so and they ask for no more. Codes of 8 and 4 bits
    /// are integers already, whose products are as fast and more exact.
    pub(in crate::product) fn new(level: Level, list: &[Product<'_>]) -> Option<Self> {
        let is_enough = |product: &Product<'_>| {
            product.precision == MatmulPrecision::Medium && !product.matrix.is_codes()
        };
        (level.has_halves() && list.iter().all(is_enough)).then_some(Self(()))
    }
}

impl Arithmetic for Halves {
    const DEPTH: usize = PANEL;
    const TILE: usize = 12;

    fn run<T: Task>(level: Level, task: T) -> T::Output {
        lanes::run(level, task)
    }

    fn padded(columns: usize) -> usize {
        columns.next_multiple_of(LINE)
    }

    fn words(self, inputs: usize) -> usize {
        inputs / 2
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
        for k in (0..depth).step_by(L::N) {
            let square = x.square::<L>(start + k);
            for i in 0..L::N / 2 {
                let out = out.add((k / 2 + i) * width).cast();
                // One part of a number is the number, rounded.
                pack_pair::<L, 1>([square[2 * i], square[2 * i + 1]], out, 0);
            }
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
        let end = (start + PANEL).min(matrix.padded_columns());
        let mut numbers = [0.0; PANEL];
        format.expand::<L>(row, matrix.columns(), start, end, numbers.as_mut_ptr());
        let out: *mut u16 = panel.add(o * ROW).cast();
        for (block, numbers) in numbers.as_chunks::<BLOCK>().0.iter().enumerate() {
            expand_block::<1>(numbers, out.add(block * BLOCK));
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
        let count = self.words(panel.depth);
        let mut ahead = ahead;
        for v in 0..V {
            let mut o = 0;
            while o < panel.outputs {
                let words = Words {
                    a: a.add(v * L::N).cast(),
                    stride: V * L::N,
                    b: b.add(o * ROW).cast(),
                    count,
                    ahead,
                };
                let c = c.add((o * V + v) * L::N);
                o += match panel.outputs - o {
                    12.. => {
                        avx512_bf16::multiply::<12, ROW>(words, c, panel.add);
                        12
                    }
                    4.. => {
                        avx512_bf16::multiply::<4, ROW>(words, c, panel.add);
                        4
                    }
                    _ => {
                        avx512_bf16::multiply::<1, ROW>(words, c, panel.add);
                        1
                    }
                };
                ahead = ahead.wrapping_add(count / STEPS * LINE);
            }
        }
    }
}
