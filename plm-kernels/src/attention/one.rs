//! Attention of one position: what a step of decoding does.
//!
//! The whole cache is read for a few rows of queries, so that memory sets the pace. Keys and values
//! are read row by row, as they stand there, and in parts, which the threads share however few the
//! heads are; softmax is made whole from the parts at the end.

use std::ops::Range;

use super::{Attention, HIDDEN, KEYS};
use crate::activation::exp_lanes;
use crate::format::LINE_WORDS;
use crate::lanes::{Lanes, Level, Task, prefetch, run};
use crate::scratch::{with_scratch, with_shared_scratch};
use crate::threads::{Shared, for_each};

/// Keys of a part. It does not depend on the number of threads, and neither do the results.
const PART: usize = 512;

/// Queries that go through the keys together.
const MOST_ROWS: usize = 4;

/// Whether the kernels here do this work.
pub(super) fn fits(level: Level, work: &Attention<'_>) -> bool {
    let is_whole = work.head_dim.is_multiple_of(2 * level.lanes());
    work.seq == 1 && work.head_dim > 0 && is_whole
}

/// As [`attention`](super::attention), of work that [`fits`].
pub(super) fn attend(level: Level, work: Attention<'_>) {
    let group = work.heads / work.kv_heads;
    let parts = work.len.div_ceil(PART).max(1);
    with_shared_scratch(|partial| {
        // For each part and head: sums of values, the greatest score and the sum of shares.
        let size = work.head_dim + 2;
        let heads = work.batch * work.heads;
        let room = partial.room(heads * parts * size);
        let to = Shared(room.as_mut_ptr());
        for_each(work.batch * work.kv_heads * parts, |i| {
            let (head, part) = (i / parts, i % parts);
            let (sequence, kv_head) = (head / work.kv_heads, head % work.kv_heads);
            let start = work.padding.get(sequence).copied().unwrap_or(0);
            let first = start + part * PART;
            let row = (head * group * parts + part) * size;
            with_scratch(MOST_ROWS * KEYS, |scores| {
                let part = Part {
                    work: &work,
                    sequence,
                    kv_head,
                    keys: first..work.len.min(first + PART),
                    scores,
                    // SAFETY: a part of a head has its own place in the room.
                    to: unsafe { to.get().add(row) },
                    step: parts * size,
                };
                run(level, part);
            });
        });
        let whole = Whole {
            partial: room,
            parts,
            head_dim: work.head_dim,
            out: work.out,
        };
        run(level, whole);
    });
}

/// Some keys of one key-value head, and all queries of it.
struct Part<'a> {
    work: &'a Attention<'a>,
    sequence: usize,
    kv_head: usize,
    keys: Range<usize>,
    /// Scores of some keys, a row for each query.
    scores: &'a mut [f32],
    /// What comes of the first query, and how far from it that of the next.
    to: *mut f32,
    step: usize,
}

impl Task for Part<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let rows = self.work.heads / self.work.kv_heads;
        let scores = self.scores.as_mut_ptr();
        let mut row = 0;
        while row < rows {
            row += match rows - row {
                MOST_ROWS.. => self.attend::<L, MOST_ROWS>(row, scores),
                3.. => self.attend::<L, 3>(row, scores),
                2.. => self.attend::<L, 2>(row, scores),
                _ => self.attend::<L, 1>(row, scores),
            };
        }
    }
}

impl Part<'_> {
    /// Attends from `R` queries from `row` on; returns `R`.
    #[inline(always)]
    unsafe fn attend<L: Lanes, const R: usize>(&self, row: usize, scores: *mut f32) -> usize {
        let work = self.work;
        let dim = work.head_dim;
        let head = self.kv_head * (work.heads / work.kv_heads) + row;
        let q = work
            .q
            .as_ptr()
            .add(self.sequence * work.q_stride + head * dim);
        let mixed = self.to.add(row * self.step);
        let cache = (self.sequence * work.kv_heads + self.kv_head) * work.capacity * dim;
        let (keys, values) = (
            work.keys.as_ptr().add(cache),
            work.values.as_ptr().add(cache),
        );

        let mut greatest = [HIDDEN; R];
        let mut sums = [L::splat(0.0); R];
        for r in 0..R {
            for d in (0..dim).step_by(L::N) {
                L::store(mixed.add(r * self.step + d), L::splat(0.0));
            }
        }
        let mut first = self.keys.start;
        while first < self.keys.end {
            let count = KEYS.min(self.keys.end - first);
            let (keys, values) = (keys.add(first * dim), values.add(first * dim));
            for j in 0..count {
                for d in (0..dim).step_by(LINE_WORDS) {
                    prefetch(values.add(j * dim + d));
                }
                let mut dots = [L::splat(0.0); R];
                for d in (0..dim).step_by(L::N) {
                    let key = L::load(keys.add(j * dim + d));
                    for r in 0..R {
                        dots[r] = L::fma(key, L::load(q.add(r * dim + d)), dots[r]);
                    }
                }
                for r in 0..R {
                    *scores.add(r * KEYS + j) = L::sum(dots[r]);
                }
            }
            let mut rescales = [L::splat(1.0); R];
            for r in 0..R {
                let scores = scores.add(r * KEYS);
                (greatest[r], rescales[r]) =
                    shares::<L>(scores, count, dim, greatest[r], &mut sums[r]);
            }
            for d in (0..dim).step_by(2 * L::N) {
                let mut two = [[L::splat(0.0); 2]; R];
                for r in 0..R {
                    for v in 0..2 {
                        let mixed = L::load(mixed.add(r * self.step + d + v * L::N));
                        two[r][v] = L::mul(mixed, rescales[r]);
                    }
                }
                for j in 0..count {
                    let value = values.add(j * dim + d);
                    let value = [L::load(value), L::load(value.add(L::N))];
                    for r in 0..R {
                        let share = L::splat(*scores.add(r * KEYS + j));
                        for v in 0..2 {
                            two[r][v] = L::fma(share, value[v], two[r][v]);
                        }
                    }
                }
                for r in 0..R {
                    for v in 0..2 {
                        L::store(mixed.add(r * self.step + d + v * L::N), two[r][v]);
                    }
                }
            }
            first += count;
        }
        for r in 0..R {
            let end = mixed.add(r * self.step + dim);
            *end = greatest[r];
            *end.add(1) = L::sum(sums[r]);
        }
        R
    }
}

/// Makes scores of `count` keys shares of the greatest score so far, and adds them to `sum`. Returns
/// that score, and what earlier shares are to be multiplied by.
#[inline(always)]
unsafe fn shares<L: Lanes>(
    scores: *mut f32,
    count: usize,
    dim: usize,
    greatest: f32,
    sum: &mut L::V,
) -> (f32, L::V) {
    // Less than all that are there, and than the least of `greatest`.
    for j in count..count.next_multiple_of(L::N) {
        *scores.add(j) = f32::MIN;
    }
    let scale = L::splat(1.0 / (dim as f32).sqrt());
    let mut most = L::splat(greatest);
    let mut odd = L::splat(0.0);
    for j in (0..count).step_by(L::N) {
        let scaled = L::mul(L::load(scores.add(j)), scale);
        most = L::max(most, scaled);
        // What is infinite or not a number makes the sum none.
        odd = L::fma(scaled, L::splat(0.0), odd);
        L::store(scores.add(j), scaled);
    }
    let next = L::largest(most);
    let most = L::splat(next);
    let rescale = exp_lanes::<L>(L::sub(L::splat(greatest), most));
    *sum = L::fma(*sum, rescale, odd);
    for j in (0..count).step_by(L::N) {
        let share = exp_lanes::<L>(L::sub(L::load(scores.add(j)), most));
        *sum = L::add(*sum, share);
        L::store(scores.add(j), share);
    }
    (next, rescale)
}

/// All heads, made whole from their parts.
struct Whole<'a> {
    /// What [`Part`]s left, `[heads of all sequences, parts, head_dim + 2]`.
    partial: &'a [f32],
    parts: usize,
    head_dim: usize,
    out: &'a mut [f32],
}

impl Task for Whole<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let dim = self.head_dim;
        let heads = self.partial.chunks_exact(self.parts * (dim + 2));
        for (parts, out) in heads.zip(self.out.chunks_exact_mut(dim)) {
            let parts = parts.chunks_exact(dim + 2);
            let most = parts.clone().fold(HIDDEN, |most, part| most.max(part[dim]));
            let mut sum = L::splat(0.0);
            out.fill(0.0);
            for part in parts {
                let weight = exp_lanes::<L>(L::splat(part[dim] - most));
                sum = L::fma(weight, L::splat(part[dim + 1]), sum);
                for d in (0..dim).step_by(L::N) {
                    let out = out.as_mut_ptr().add(d);
                    let mixed = L::load(part.as_ptr().add(d));
                    L::store(out, L::fma(weight, mixed, L::load(out)));
                }
            }
            // A head that saw nothing has no sum; it gives zeros.
            let share = L::div(L::splat(1.0), L::add(sum, L::splat(f32::MIN_POSITIVE)));
            for d in (0..dim).step_by(L::N) {
                let out = out.as_mut_ptr().add(d);
                L::store(out, L::mul(share, L::load(out)));
            }
        }
    }
}
