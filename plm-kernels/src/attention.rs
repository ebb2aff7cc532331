//! Attention that does not materialise its scores.
//!
//! The queries that share a key-value head are rows; a vector holds one feature, or one score, of
//! several rows. So the greatest score and the sum of a row are found without looking across a
//! vector, and both products of a block of keys are the same tiles as in a matrix product. A single
//! position has too few rows for that, and kernels of its own ([`one`]).

mod one;

use crate::activation::exp_lanes;
use crate::lanes::{Lanes, Level, Task, run};
use crate::scratch::with_scratch;
use crate::threads::{Shared, for_each};
use crate::tile::{Shape, tiles};

/// Keys whose scores exist at a time.
const KEYS: usize = 96;

/// What stands for the score of a key that may not be seen: finite, so that rows that see nothing
/// give numbers too.
const HIDDEN: f32 = -1e30;

/// Softmax attention of grouped heads; query head `h` reads key-value head
/// `h / (heads / kv_heads)`, and scores are scaled by `1/√head_dim`.
#[derive(Debug)]
pub struct Attention<'a> {
    /// Queries: row `(sequence, position)` begins at `(sequence · seq + position) · q_stride` and
    /// holds `heads · head_dim` numbers.
    pub q: &'a [f32],
    /// Numbers between rows of `q`.
    pub q_stride: usize,
    /// Keys, `[batch, kv_heads, capacity, head_dim]`, of which the first `len` are there.
    pub keys: &'a [f32],
    /// Values, as the keys.
    pub values: &'a [f32],
    /// Sequences.
    pub batch: usize,
    /// Queries of a sequence.
    pub seq: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Features of a head.
    pub head_dim: usize,
    /// Keys that are there.
    pub len: usize,
    /// Keys that there is room for.
    pub capacity: usize,
    /// Whether the queries stand at the last `seq` keys and see none after their own.
    pub causal: bool,
    /// Leading keys of each sequence that nothing sees; none of any if empty.
    pub padding: &'a [usize],
    /// The result, `[batch, seq, heads, head_dim]`.
    pub out: &'a mut [f32],
}

/// Computes attention in f32.
///
/// # Panics
///
/// When shapes do not match.
pub fn attention(work: Attention<'_>) {
    attention_at(Level::best(), work);
}

fn attention_at(level: Level, work: Attention<'_>) {
    let Attention { batch, seq, .. } = work;
    let (heads, kv_heads, head_dim) = (work.heads, work.kv_heads, work.head_dim);
    let width = heads * head_dim;
    assert!(heads.is_multiple_of(kv_heads), "heads of attention");
    assert!(work.len <= work.capacity && (!work.causal || seq <= work.len));
    let kv = batch * kv_heads * work.capacity * head_dim;
    assert_eq!([work.keys.len(), work.values.len()], [kv; 2], "keys");
    assert_eq!(work.out.len(), batch * seq * width, "outputs of attention");
    assert!(work.padding.is_empty() || work.padding.len() == batch);
    if batch * seq == 0 {
        return;
    }
    let last_row = (batch * seq - 1) * work.q_stride + width;
    assert!(work.q_stride >= width && work.q.len() >= last_row);

    if one::fits(level, &work) {
        return one::attend(level, work);
    }
    let group = heads / kv_heads;
    let rows = group * seq;
    let block = 2 * level.lanes();
    let blocks = rows.div_ceil(block);
    let out = Shared(work.out.as_mut_ptr());
    let work = &work;
    for_each(batch * kv_heads * blocks, |i| {
        // The last blocks see the most; they begin first.
        let (head, row) = (i / blocks, (blocks - 1 - i % blocks) * block);
        with_scratch((2 * head_dim + KEYS) * block, |scratch| {
            let block = Block {
                work,
                sequence: head / kv_heads,
                kv_head: head % kv_heads,
                row,
                rows: block.min(rows - row),
                scratch,
                out,
            };
            run(level, block);
        });
    });
}

/// Rows that go through the keys together: queries of one key-value head, position by position,
/// the heads of a group beside each other.
struct Block<'a> {
    work: &'a Attention<'a>,
    sequence: usize,
    kv_head: usize,
    row: usize,
    rows: usize,
    scratch: &'a mut [f32],
    out: Shared<f32>,
}

impl Task for Block<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        if self.rows <= L::N {
            self.attend::<L, 1>();
        } else {
            self.attend::<L, 2>();
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    unsafe fn attend<L: Lanes, const V: usize>(self) {
        let work = self.work;
        let (dim, width) = (work.head_dim, V * L::N);
        let group = work.heads / work.kv_heads;
        let q = self.scratch.as_mut_ptr();
        let mixed = q.add(dim * width);
        let scores = mixed.add(dim * width);

        let scale = 1.0 / (dim as f32).sqrt();
        for lane in 0..width {
            // Rows beyond the last repeat it; what they give is not kept.
            let from = self.place(self.row + lane.min(self.rows - 1));
            let row = work.q.as_ptr().add(from.0 * work.q_stride + from.1 * dim);
            for d in 0..dim {
                *q.add(d * width + lane) = *row.add(d) * scale;
            }
        }
        for i in (0..dim * width).step_by(L::N) {
            L::store(mixed.add(i), L::splat(0.0));
        }

        let head = (self.sequence * work.kv_heads + self.kv_head) * work.capacity * dim;
        let (keys, values) = (work.keys.as_ptr().add(head), work.values.as_ptr().add(head));
        let start = match work.padding {
            [] => 0,
            padding => padding[self.sequence],
        };
        let past = work.len - work.seq * usize::from(work.causal);
        let end = match work.causal {
            true => past + (self.row + self.rows - 1) / group + 1,
            false => work.len,
        };
        let mut greatest = [L::splat(HIDDEN); V];
        let mut sums = [L::splat(0.0); V];
        let mut first = start.min(end);
        while first < end {
            let count = KEYS.min(end - first);
            let shape = Shape {
                depth: dim,
                os: dim,
                ks: 1,
                ldc: width,
                add: false,
            };
            tiles::<L, V>(count, shape, q, keys.add(first * dim), scores, q);
            if work.causal && first + count > past + self.row / group + 1 {
                for lane in 0..width {
                    let seen = past + (self.row + lane.min(self.rows - 1)) / group + 1;
                    for j in seen.max(first)..first + count {
                        *scores.add((j - first) * width + lane) = HIDDEN;
                    }
                }
            }
            for v in 0..V {
                let at = scores.add(v * L::N);
                let mut most = greatest[v];
                for j in 0..count {
                    most = L::max(most, L::load(at.add(j * width)));
                }
                let rescale = exp_lanes::<L>(L::sub(greatest[v], most));
                greatest[v] = most;
                let mut sum = L::mul(sums[v], rescale);
                for j in 0..count {
                    let p = exp_lanes::<L>(L::sub(L::load(at.add(j * width)), most));
                    sum = L::add(sum, p);
                    L::store(at.add(j * width), p);
                }
                sums[v] = sum;
                for d in 0..dim {
                    let m = mixed.add(d * width + v * L::N);
                    L::store(m, L::mul(L::load(m), rescale));
                }
            }
            let shape = Shape {
                depth: count,
                os: 1,
                ks: dim,
                ldc: width,
                add: true,
            };
            let values = values.add(first * dim);
            tiles::<L, V>(dim, shape, scores, values, mixed, scores);
            first += count;
        }

        for v in 0..V {
            // A row that saw nothing has no sum; it gives zeros.
            let share = L::div(L::splat(1.0), L::max(sums[v], L::splat(f32::MIN_POSITIVE)));
            for d in 0..dim {
                let m = mixed.add(d * width + v * L::N);
                L::store(m, L::mul(L::load(m), share));
            }
        }
        for lane in 0..self.rows {
            let to = self.place(self.row + lane);
            let out = self.out.get().add((to.0 * work.heads + to.1) * dim);
            for d in 0..dim {
                *out.add(d) = *mixed.add(d * width + lane);
            }
        }
    }

    /// The row of queries, and the head in it, that a row of the group is.
    #[inline(always)]
    fn place(&self, row: usize) -> (usize, usize) {
        let group = self.work.heads / self.work.kv_heads;
        (
            self.sequence * self.work.seq + row / group,
            self.kv_head * group + row % group,
        )
    }
}

#[cfg(test)]
mod tests;
