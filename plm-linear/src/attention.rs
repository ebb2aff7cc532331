//! Self-attention over whole sequences, by the kernels.

use burn::tensor::Tensor;
use plm_kernels::{Attention, Heads, Rotation, attention, rotate, store_heads};

#[cfg(feature = "flex-autodiff")]
use crate::gradient;
use crate::host;

/// What attention over whole sequences is told beside its tokens.
#[derive(Debug, Clone, Copy)]
pub struct SelfAttention<'a> {
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; query head `h` reads `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Features of a head.
    pub head_dim: usize,
    /// Whether a token sees none after it.
    pub causal: bool,
    /// Rotary positions of queries and keys.
    pub rotation: Rotation<'a>,
}

/// Where queries, keys and values stand in rows of activations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) numbers: &'a [f32],
    pub(crate) stride: usize,
}

/// What attention computed, as its gradient needs it.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "flex-autodiff"),
    expect(dead_code, reason = "without gradients the result alone is read")
)]
pub(crate) struct Attended {
    /// Turned queries, `[batch, seq, heads · head_dim]`.
    pub(crate) q: Vec<f32>,
    /// Turned keys, `[batch, kv_heads, seq, head_dim]`.
    pub(crate) keys: Vec<f32>,
    /// Values, as the keys.
    pub(crate) values: Vec<f32>,
    /// The result, as the queries.
    pub(crate) out: Vec<f32>,
}

impl SelfAttention<'_> {
    /// Queries or keys, as they stand in rows.
    pub(crate) fn rows(&self, [batch, seq]: [usize; 2], heads: usize, stride: usize) -> Heads {
        Heads {
            batch,
            seq,
            stride,
            heads,
            head_dim: self.head_dim,
        }
    }

    pub(crate) fn compute(&self, sizes: [usize; 2], [q, k, v]: [Part<'_>; 3]) -> Attended {
        let [batch, seq] = sizes;
        let width = self.heads * self.head_dim;
        let mut queries = Vec::with_capacity(batch * seq * width);
        let rows = q.numbers.chunks(q.stride).take(batch * seq);
        rows.for_each(|row| queries.extend_from_slice(&row[..width]));
        rotate(
            &mut queries,
            &self.rows(sizes, self.heads, width),
            &self.rotation,
        );
        let stored = |part: Part<'_>, rotation: Option<&Rotation<'_>>| {
            let heads = self.rows(sizes, self.kv_heads, part.stride);
            let mut stored = vec![0.0; batch * seq * self.kv_heads * self.head_dim];
            store_heads(part.numbers, &heads, rotation, &mut stored, seq, 0);
            stored
        };
        let (keys, values) = (stored(k, Some(&self.rotation)), stored(v, None));
        let mut out = vec![0.0; queries.len()];
        attention(Attention {
            q: &queries,
            q_stride: width,
            keys: &keys,
            values: &values,
            batch,
            seq,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            len: seq,
            capacity: seq,
            causal: self.causal,
            padding: &[],
            out: &mut out,
        });
        Attended {
            q: queries,
            keys,
            values,
            out,
        }
    }

    /// Attention of queries, keys and values that stand side by side in rows, with its gradient
    /// where one is taken; `None` where the numbers are not f32 in this process's memory.
    ///
    /// # Shapes
    ///
    /// - `qkv`: `[batch, seq, (heads + 2 · kv_heads) · head_dim]`
    /// - result: `[batch, seq, heads · head_dim]`
    pub fn fused(&self, qkv: &Tensor<3>) -> Option<Tensor<3>> {
        if let Some(numbers) = host::f32s(qkv) {
            let [batch, seq, _] = qkv.dims();
            let attended = self.compute([batch, seq], self.parts(&numbers));
            let shape = [batch, seq, self.heads * self.head_dim];
            return Some(host::tensor(attended.out, shape, &qkv.device()));
        }
        #[cfg(feature = "flex-autodiff")]
        return gradient::attend_fused(self, qkv);
        #[cfg(not(feature = "flex-autodiff"))]
        None
    }

    /// Attention with gradients, of whole sequences; `None` where none are taken, or the numbers are
    /// not f32 in this process's memory.
    ///
    /// # Shapes
    ///
    /// - `q` and result: `[batch, seq, heads · head_dim]`
    /// - `k`, `v`: `[batch, seq, kv_heads · head_dim]`
    pub fn with_gradient(&self, q: &Tensor<3>, k: &Tensor<3>, v: &Tensor<3>) -> Option<Tensor<3>> {
        #[cfg(feature = "flex-autodiff")]
        return gradient::attend(self, [q, k, v]);
        #[cfg(not(feature = "flex-autodiff"))]
        {
            let _ = (q, k, v);
            None
        }
    }

    /// The parts of rows in which they stand side by side.
    pub(crate) fn parts<'a>(&self, numbers: &'a [f32]) -> [Part<'a>; 3] {
        let (width, kv_width) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        [0, width, width + kv_width].map(|start| Part {
            numbers: &numbers[start.min(numbers.len())..],
            stride: width + 2 * kv_width,
        })
    }
}
