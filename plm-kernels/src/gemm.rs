//! Products of two f32 matrices, as gradients need them.

use crate::lanes::{Lanes, Level, Task, run};
use crate::scratch::with_scratch;
use crate::threads::{for_each, num_threads};
use crate::tile::{Shape, tiles};

/// Steps of `k` whose numbers are packed together.
const DEPTH: usize = 256;

/// The widest panel of outputs.
const WIDTH: usize = 32;

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
        let mut j = 0;
        while j < self.n {
            let left = self.n - j;
            if left > L::N {
                self.panel::<L, 2>(j, left.min(2 * L::N), scratch);
                j += 2 * L::N;
            } else {
                self.panel::<L, 1>(j, left, scratch);
                j += L::N;
            }
        }
    }

    /// Computes `count` columns from `j` on, in panels `V` vectors wide.
    #[inline(always)]
    unsafe fn panel<L: Lanes, const V: usize>(self, j: usize, count: usize, scratch: *mut f32) {
        let width = V * L::N;
        let edge = scratch.add(DEPTH * WIDTH);
        let c = self.c.add(j);
        for start in (0..self.k).step_by(DEPTH) {
            let depth = DEPTH.min(self.k - start);
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
            let b = self.b.add(start * self.ks);
            let shape = |ldc, add| Shape {
                depth,
                os: self.os,
                ks: self.ks,
                ldc,
                add,
            };
            if count == width {
                tiles::<L, V>(self.m, shape(self.ldc, add), scratch, b, c, scratch);
                continue;
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

    /// Computes it on all threads. What comes out does not depend on their number.
    pub(crate) unsafe fn compute_shared(self, level: Level) {
        let width = 2 * level.lanes();
        let panels = self.n.div_ceil(width);
        let block = match panels * self.m.div_ceil(480) < 8 * num_threads() {
            true => 96,
            false => 480,
        };
        // Panels change fastest: threads read the same rows of `b`.
        for_each(self.m.div_ceil(block) * panels, |i| {
            let part = self.part(i / panels * block, block, i % panels * width, width);
            with_scratch(SCRATCH, |scratch| {
                run(level, Part(part, scratch.as_mut_ptr()))
            });
        });
    }
}

struct Part(Gemm, *mut f32);

impl Task for Part {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        self.0.compute::<L>(self.1);
    }
}
