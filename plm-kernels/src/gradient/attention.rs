use crate::activation::exp_lanes;
use crate::fresh::fresh;
use crate::gemm::{Gemm, SCRATCH};
use crate::lanes::{Lanes, Level, Task, run};
use crate::scratch::with_scratch;
use crate::threads::{Shared, for_each};

/// Queries whose scores exist at a time.
const ROWS: usize = 48;

/// Stands for the score of a key that may not be seen.
const HIDDEN: f32 = -1e30;

/// What the gradient of [`attention`](crate::attention()) of whole sequences is computed from.
#[derive(Debug, Clone, Copy)]
pub struct AttentionGradient<'a> {
    /// Queries, as for [`Attention`](crate::Attention).
    pub q: &'a [f32],
    /// Numbers between rows of `q`.
    pub q_stride: usize,
    /// Keys, `[batch, kv_heads, seq, head_dim]`.
    pub keys: &'a [f32],
    /// Values, as the keys.
    pub values: &'a [f32],
    /// What attention gave, `[batch, seq, heads, head_dim]`.
    pub out: &'a [f32],
    /// The gradient of that.
    pub y: &'a [f32],
    /// Sequences.
    pub batch: usize,
    /// Queries, and keys, of a sequence.
    pub seq: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Features of a head.
    pub head_dim: usize,
    /// Whether queries see no keys after their own.
    pub causal: bool,
}

/// The gradients of the queries, `[batch, seq, heads, head_dim]`, and of the keys and values, in
/// their own shape. The scores of a few queries exist at a time.
///
/// # Panics
///
/// When shapes do not match.
pub fn attention_gradient(work: &AttentionGradient<'_>) -> [Vec<f32>; 3] {
    attention_gradient_at(Level::best(), work)
}

pub(super) fn attention_gradient_at(level: Level, work: &AttentionGradient<'_>) -> [Vec<f32>; 3] {
    let (batch, seq, dim) = (work.batch, work.seq, work.head_dim);
    let (width, kv) = (work.heads * dim, batch * work.kv_heads * seq * dim);
    assert!(
        work.heads.is_multiple_of(work.kv_heads),
        "heads of attention"
    );
    assert_eq!([work.keys.len(), work.values.len()], [kv; 2], "keys");
    let numbers = batch * seq * width;
    assert_eq!(
        [work.out.len(), work.y.len()],
        [numbers; 2],
        "outputs of attention"
    );
    let [mut keys, mut values] = [vec![0.0; kv], vec![0.0; kv]];
    if batch * seq == 0 {
        return [Vec::new(), keys, values];
    }
    let last_row = (batch * seq - 1) * work.q_stride + width;
    assert!(work.q_stride >= width && work.q.len() >= last_row);
    let [of_keys, of_values] = [&mut keys, &mut values].map(|v| Shared(v.as_mut_ptr()));
    let row = seq.next_multiple_of(16);
    let fill = |of_q: Shared<f32>| {
        for_each(batch * work.kv_heads, |i| {
            let numbers = SCRATCH + 2 * dim * seq + 2 * ROWS * row;
            with_scratch(numbers, |scratch| {
                let head = Head {
                    work,
                    sequence: i / work.kv_heads,
                    kv_head: i % work.kv_heads,
                    row,
                    scratch: scratch.as_mut_ptr(),
                    results: [of_q, of_keys, of_values],
                };
                run(level, head);
            });
        })
    };
    // SAFETY: the heads of all sequences are all queries.
    let q = unsafe { fresh(numbers, |q| fill(Shared(q))) };
    [q, keys, values]
}

/// A key-value head of a sequence, with the queries that read it.
struct Head<'a> {
    work: &'a AttentionGradient<'a>,
    sequence: usize,
    kv_head: usize,
    /// Numbers between rows of scores.
    row: usize,
    scratch: *mut f32,
    /// Gradients of queries, keys and values.
    results: [Shared<f32>; 3],
}

impl Task for Head<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let work = self.work;
        let (seq, dim, width) = (work.seq, work.head_dim, work.heads * work.head_dim);
        let group = work.heads / work.kv_heads;
        let own = (self.sequence * work.kv_heads + self.kv_head) * seq * dim;
        let (keys, values) = (work.keys.as_ptr().add(own), work.values.as_ptr().add(own));
        let [of_q, of_keys, of_values] = self.results;
        let (of_keys, of_values) = (of_keys.get().add(own), of_values.get().add(own));
        let turned_keys = self.scratch.add(SCRATCH);
        let turned_values = turned_keys.add(dim * seq);
        let p = turned_values.add(dim * seq);
        let s = p.add(ROWS * self.row);
        for j in 0..seq {
            for d in 0..dim {
                *turned_keys.add(d * seq + j) = *keys.add(j * dim + d);
                *turned_values.add(d * seq + j) = *values.add(j * dim + d);
            }
        }
        let scale = 1.0 / (dim as f32).sqrt();
        for head in self.kv_head * group..(self.kv_head + 1) * group {
            for first in (0..seq).step_by(ROWS) {
                let rows = ROWS.min(seq - first);
                let seen = if work.causal { first + rows } else { seq };
                let place = self.sequence * seq + first;
                let q = work.q.as_ptr().add(place * work.q_stride + head * dim);
                let out = work.out.as_ptr().add(place * width + head * dim);
                let y = work.y.as_ptr().add(place * width + head * dim);
                // Products over the features: scores, and gradients of the shares.
                let over_features = |b, os, a, c| Gemm {
                    m: rows,
                    n: seen,
                    k: dim,
                    b,
                    os,
                    ks: 1,
                    a,
                    lda: seq,
                    c,
                    ldc: self.row,
                    add: false,
                };
                over_features(q, work.q_stride, turned_keys, p).compute::<L>(self.scratch);
                over_features(y, width, turned_values, s).compute::<L>(self.scratch);
                // Whole vectors up to what the last of the rows sees.
                let limit = seen.next_multiple_of(16);
                for i in 0..rows {
                    let seen = if work.causal { first + i + 1 } else { seq };
                    let (p, s) = (p.add(i * self.row), s.add(i * self.row));
                    softmax::<L>(p, seen, limit, scale);
                    let mut along = 0.0;
                    for d in 0..dim {
                        along += *out.add(i * width + d) * *y.add(i * width + d);
                    }
                    let along = L::splat(along);
                    // Beyond what is seen `p` is 0, and `s` may be anything that is finite.
                    for j in seen..limit {
                        *s.add(j) = 0.0;
                    }
                    for j in (0..limit).step_by(L::N) {
                        let share = L::mul(L::load(p.add(j)), L::splat(scale));
                        let of_score = L::mul(share, L::sub(L::load(s.add(j)), along));
                        L::store(s.add(j), of_score);
                    }
                }
                // Products over the queries: gradients of values and keys.
                let over_queries = |b, a, lda, c| Gemm {
                    m: seen,
                    n: dim,
                    k: rows,
                    b,
                    os: 1,
                    ks: self.row,
                    a,
                    lda,
                    c,
                    ldc: dim,
                    add: true,
                };
                over_queries(p, y, width, of_values).compute::<L>(self.scratch);
                over_queries(s, q, work.q_stride, of_keys).compute::<L>(self.scratch);
                let of_queries = Gemm {
                    m: rows,
                    n: dim,
                    k: seen,
                    b: s,
                    os: self.row,
                    ks: 1,
                    a: keys,
                    lda: dim,
                    c: of_q.get().add(place * width + head * dim),
                    ldc: width,
                    add: false,
                };
                of_queries.compute::<L>(self.scratch);
            }
        }
    }
}

/// Replaces the first `seen` scores of a row by their shares, and those up to `limit` by 0.
#[inline(always)]
unsafe fn softmax<L: Lanes>(p: *mut f32, seen: usize, limit: usize, scale: f32) {
    for j in seen..limit {
        *p.add(j) = HIDDEN;
    }
    let mut greatest = L::splat(HIDDEN);
    for j in (0..limit).step_by(L::N) {
        greatest = L::max(greatest, L::load(p.add(j)));
    }
    let greatest = L::splat(L::largest(greatest));
    let mut sum = L::splat(0.0);
    for j in (0..limit).step_by(L::N) {
        let below = L::mul(L::sub(L::load(p.add(j)), greatest), L::splat(scale));
        let e = exp_lanes::<L>(below);
        L::store(p.add(j), e);
        sum = L::add(sum, e);
    }
    let share = L::splat(1.0 / L::sum(sum));
    for j in (0..limit).step_by(L::N) {
        L::store(p.add(j), L::mul(L::load(p.add(j)), share));
    }
    for j in seen..limit {
        *p.add(j) = 0.0;
    }
}
