use burn::tensor::Tensor;
use plm_kernels::{AttentionGradient, Pairs, Rotation, attention_gradient, rotate, take_heads};

use super::{Argument, Operation, record};
use crate::attention::{Attended, Part, SelfAttention};
use crate::host::{self, F32s};

/// Attention over whole sequences: what it was told, and what it computed.
#[derive(Debug)]
struct Saved {
    sizes: [usize; 2],
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    causal: bool,
    cos: Vec<f32>,
    /// The sines with their signs changed: the way back.
    minus_sin: Vec<f32>,
    pairs: Pairs,
    q: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    out: F32s,
}

impl Saved {
    fn back(&self) -> SelfAttention<'_> {
        SelfAttention {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            causal: self.causal,
            rotation: Rotation {
                cos: &self.cos,
                sin: &self.minus_sin,
                pairs: self.pairs,
            },
        }
    }

    /// The gradient of the turned queries turned back, and those of keys and values as they are
    /// stored.
    fn gradients(&self, y: &[f32]) -> [Vec<f32>; 3] {
        let [batch, seq] = self.sizes;
        let back = self.back();
        let width = self.heads * self.head_dim;
        let [mut q, keys, values] = attention_gradient(&AttentionGradient {
            q: &self.q,
            q_stride: width,
            keys: &self.keys,
            values: &self.values,
            out: &self.out,
            y,
            batch,
            seq,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            causal: self.causal,
        });
        let rows = back.rows(self.sizes, self.heads, width);
        rotate(&mut q, &rows, &back.rotation);
        [q, keys, values]
    }

    /// Puts gradients of keys, turned back, and of values where they stand in rows.
    fn place(&self, x: &[f32], turned: bool, stride: usize, rows: &mut [f32]) {
        let back = self.back();
        let heads = back.rows(self.sizes, self.kv_heads, stride);
        take_heads(x, &heads, turned.then_some(&back.rotation), rows);
    }
}

#[derive(Debug)]
struct Fused(Saved);

impl Operation<1> for Fused {
    fn gradients(&self, y: &[f32], _: [bool; 1]) -> [Option<Vec<f32>>; 1] {
        let saved = &self.0;
        let [q, keys, values] = saved.gradients(y);
        let width = saved.heads * saved.head_dim;
        let kv_width = saved.kv_heads * saved.head_dim;
        let stride = width + 2 * kv_width;
        let mut rows = vec![0.0; q.len() / width.max(1) * stride];
        for (row, q) in rows.chunks_mut(stride).zip(q.chunks(width)) {
            row[..width].copy_from_slice(q);
        }
        saved.place(&keys, true, stride, &mut rows[width..]);
        saved.place(&values, false, stride, &mut rows[width + kv_width..]);
        [Some(rows)]
    }
}

#[derive(Debug)]
struct Separate(Saved);

impl Operation<3> for Separate {
    fn gradients(&self, y: &[f32], _: [bool; 3]) -> [Option<Vec<f32>>; 3] {
        let saved = &self.0;
        let [q, keys, values] = saved.gradients(y);
        let width = saved.kv_heads * saved.head_dim;
        let placed = |x: &[f32], turned| {
            let mut rows = vec![0.0; x.len()];
            saved.place(x, turned, width, &mut rows);
            Some(rows)
        };
        let (keys, values) = (placed(&keys, true), placed(&values, false));
        [Some(q), keys, values]
    }
}

/// Attends; gives the result, and what is to be kept for the gradient.
fn attended(
    attention: &SelfAttention<'_>,
    sizes: [usize; 2],
    parts: [Part<'_>; 3],
    like: &Tensor<3>,
) -> (Tensor<3>, Saved) {
    let Attended {
        q,
        keys,
        values,
        out,
    } = attention.compute(sizes, parts);
    let [batch, seq] = sizes;
    let shape = [batch, seq, attention.heads * attention.head_dim];
    let y = host::tensor(out, shape, &like.device().without_autodiff());
    let out = host::f32s(&y).expect("it is a tensor of numbers in memory");
    let Rotation { cos, sin, pairs } = attention.rotation;
    let saved = Saved {
        sizes,
        heads: attention.heads,
        kv_heads: attention.kv_heads,
        head_dim: attention.head_dim,
        causal: attention.causal,
        cos: cos.to_vec(),
        minus_sin: sin.iter().map(|x| -x).collect(),
        pairs,
        q,
        keys,
        values,
        out,
    };
    (y, saved)
}

/// As [`SelfAttention::fused`].
pub(crate) fn attend_fused(attention: &SelfAttention<'_>, qkv: &Tensor<3>) -> Option<Tensor<3>> {
    let [batch, seq, _] = qkv.dims();
    let argument = Argument::new(qkv)?;
    let parts = attention.parts(&argument.values);
    let (y, saved) = attended(attention, [batch, seq], parts, qkv);
    Some(record([argument], y, Fused(saved)))
}

/// As [`SelfAttention::with_gradient`].
pub(crate) fn attend(attention: &SelfAttention<'_>, qkv: [&Tensor<3>; 3]) -> Option<Tensor<3>> {
    if !qkv.iter().any(|x| x.is_autodiff()) {
        return None;
    }
    let [batch, seq, _] = qkv[0].dims();
    let [q, k, v] = qkv.map(Argument::new);
    let arguments = [q?, k?, v?];
    let parts = [0, 1, 2].map(|i| Part {
        numbers: &arguments[i].values,
        stride: qkv[i].dims()[2],
    });
    let (y, saved) = attended(attention, [batch, seq], parts, qkv[0]);
    Some(record(arguments, y, Separate(saved)))
}
