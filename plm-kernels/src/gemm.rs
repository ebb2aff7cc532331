//! Products of two f32 matrices, as gradients need them.

#[cfg(target_arch = "x86_64")]
mod parts;

use crate::lanes::{Lanes, Level, Task, run};
use crate::product::MatmulPrecision;
use crate::scratch::with_scratch;
use crate::threads::{for_each, num_threads};
use crate::tile::{Shape, tiles};

/// Steps of `k` whose numbers are packed together.
const DEPTH: usize = 256;

/// The widest panel of outputs.
const WIDTH: usize = 32;

/// Rows of `c` that are computed together, a multiple of every tile's.
const ROWS: usize = 96;

/// Rows that are computed at a time where a panel is not whole.
const EDGE_ROWS: usize = 12;

/// Working memory of a [`Gemm`].
pub(crate) const SCRATCH: usize = (DEPTH + EDGE_ROWS) * WIDTH;

/// `c[i][j] (+)= Σ_k b[i · os + k · ks] · a[k][j]`.
#[derive(Clone, Copy)]
pub(crate) struct Gemm {
    /// Rows of `c`.
    pub(crate) m: usize,
    /// Columns of `c` and `a`.
    pub(crate) n: usize,
    /// Rows of `a`.
    pub(crate) k: usize,
    pub(crate) b: *const f32,
    pub(crate) os: usize,
    pub(crate) ks: usize,
    pub(crate) a: *const f32,
    pub(crate) lda: usize,
    pub(crate) c: *mut f32,
    pub(crate) ldc: usize,
    /// Whether the products are added to what `c` holds.
    pub(crate) add: bool,
}

// SAFETY: whoever shares it sees to it that no two threads write the same place.
unsafe impl Send for Gemm {}
unsafe impl Sync for Gemm {}

impl Gemm {
    /// Computes it on this thread, with [`SCRATCH`] numbers of working memory.
    #[inline(always)]
    pub(crate) unsafe fn compute<L: Lanes>(self, scratch: *mut f32) {
        for start in (0..self.k).step_by(DEPTH) {
            self.step::<L>(start, DEPTH.min(self.k - start), scratch);
        }
    }

    /// As [`compute`](Self::compute), of a part of at most [`ROWS`] rows whose `b` is turned on its
    /// side: what is read of it together is put together, so that steps of `k` do not lie a whole
    /// row apart.
    #[inline(always)]
    unsafe fn compute_turned<L: Lanes>(self, scratch: *mut f32) {
        let packed = scratch.add(SCRATCH);
        for start in (0..self.k).step_by(DEPTH) {
            let depth = DEPTH.min(self.k - start);
            for k in 0..depth {
                let from = self.b.add((start + k) * self.ks);
                packed.add(k * ROWS).copy_from_nonoverlapping(from, self.m);
            }
            let part = Self {
                b: packed.wrapping_sub(start * ROWS),
                ks: ROWS,
                ..self
            };
            part.step::<L>(start, depth, scratch);
        }
    }

    /// Adds `depth` steps of `k` from `start` on.
    #[inline(always)]
    unsafe fn step<L: Lanes>(self, start: usize, depth: usize, scratch: *mut f32) {
        let mut j = 0;
        while j < self.n {
            let left = self.n - j;
            if left > L::N {
                let count = left.min(2 * L::N);
                self.panel::<L, 2>(start, depth, j, count, scratch);
                j += 2 * L::N;
            } else {
                self.panel::<L, 1>(start, depth, j, left, scratch);
                j += L::N;
            }
        }
    }

    /// The same of `count` columns from `j` on, in a panel `V` vectors wide.
    #[inline(always)]
    unsafe fn panel<L: Lanes, const V: usize>(
        self,
        start: usize,
        depth: usize,
        j: usize,
        count: usize,
        scratch: *mut f32,
    ) {
        let width = V * L::N;
        let edge = scratch.add(DEPTH * WIDTH);
        let c = self.c.add(j);
        for k in 0..depth {
            let from = self.a.add((start + k) * self.lda + j);
            let to = scratch.add(k * width);
            if count == width {
                for v in 0..V {
                    L::store(to.add(v * L::N), L::load(from.add(v * L::N)));
                }
            } else {
                to.copy_from_nonoverlapping(from, count);
                to.add(count).write_bytes(0, width - count);
            }
        }
        let add = self.add || start > 0;
        let b = self.b.wrapping_add(start * self.ks);
        let shape = |ldc, add| Shape {
            depth,
            os: self.os,
            ks: self.ks,
            ldc,
            add,
        };
        if count == width {
            tiles::<L, V>(self.m, shape(self.ldc, add), scratch, b, c, scratch);
            return;
        }
        for first in (0..self.m).step_by(EDGE_ROWS) {
            let rows = EDGE_ROWS.min(self.m - first);
            let b = b.add(first * self.os);
            tiles::<L, V>(rows, shape(width, false), scratch, b, edge, scratch);
            for i in 0..rows {
                let c = c.add((first + i) * self.ldc);
                for x in 0..count {
                    let sum = *edge.add(i * width + x);
                    *c.add(x) = if add { *c.add(x) + sum } else { sum };
                }
            }
        }
    }

    /// The part of `c` from row `i` and column `j` on, at most `m` by `n`.
    fn part(&self, i: usize, m: usize, j: usize, n: usize) -> Self {
        Self {
            m: m.min(self.m - i),
            n: n.min(self.n - j),
            b: self.b.wrapping_add(i * self.os),
            a: self.a.wrapping_add(j),
            c: self.c.wrapping_add(i * self.ldc + j),
            ..*self
        }
    }

    /// Computes it on all threads, in f32 unless less is asked for and the processor is faster so.
    /// What comes out does not depend on the number of threads.
    pub(crate) unsafe fn compute_shared(self, level: Level, precision: MatmulPrecision) {
        #[cfg(target_arch = "x86_64")]
        if level.has_tiles() && parts::fits(&self) {
            match precision {
                MatmulPrecision::Highest => {}
                MatmulPrecision::High => return parts::compute_shared::<2>(self),
                MatmulPrecision::Medium => return parts::compute_shared::<1>(self),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = precision;
        self.compute_in_f32(level);
    }

    unsafe fn compute_in_f32(self, level: Level) {
        let turned = self.os == 1 && self.ks > 1;
        // Panels of columns are packed once for a block of rows. Turned rows are packed too, once
        // for several panels.
        let panels = self.n.div_ceil(2 * level.lanes());
        let (rows, columns) = match turned {
            true => (ROWS, 8 * 2 * level.lanes()),
            false if panels * self.m.div_ceil(5 * ROWS) < 8 * num_threads() => {
                (ROWS, 2 * level.lanes())
            }
            false => (5 * ROWS, 2 * level.lanes()),
        };
        let across = self.n.div_ceil(columns);
        for_each(self.m.div_ceil(rows) * across, |i| {
            let part = self.part(i / across * rows, rows, i % across * columns, columns);
            let numbers = SCRATCH + if turned { ROWS * DEPTH } else { 0 };
            with_scratch(numbers, |scratch| {
                let scratch = scratch.as_mut_ptr();
                run(
                    level,
                    Part {
                        part,
                        turned,
                        scratch,
                    },
                );
            });
        });
    }
}

struct Part {
    part: Gemm,
    turned: bool,
    scratch: *mut f32,
}

impl Task for Part {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        match self.turned {
            true => self.part.compute_turned::<L>(self.scratch),
            false => self.part.compute::<L>(self.scratch),
        }
    }
}
