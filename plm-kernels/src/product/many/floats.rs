//! Panels in f32.

use super::{Arithmetic, Panel, Rows};
use crate::format::Format;
use crate::lanes::{self, Lanes, Level, Task};
use crate::matrix::Matrix;
use crate::tile::{Shape, tiles};

/// Every number is a word.
#[derive(Clone, Copy)]
pub(in crate::product) struct Floats;

impl Arithmetic for Floats {
    const DEPTH: usize = 192;
    const TILE: usize = 12;

    fn run<T: Task>(level: Level, task: T) -> T::Output {
        lanes::run(level, task)
    }

    fn padded(columns: usize) -> usize {
        columns
    }

    fn words(self, inputs: usize) -> usize {
        inputs
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
            for i in 0..L::N.min(depth - k) {
                L::store(out.add((k + i) * width), square[i]);
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
        let out = panel.add(o * Self::DEPTH);
        let end = (start + Self::DEPTH).min(matrix.padded_columns());
        format.expand::<L>(row, matrix.columns(), start, end, out);
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
        let shape = Shape {
            depth: panel.depth,
            os: Self::DEPTH,
            ks: 1,
            ldc: V * L::N,
            add: panel.add,
        };
        tiles::<L, V>(panel.outputs, shape, a, b, c, ahead);
    }
}
