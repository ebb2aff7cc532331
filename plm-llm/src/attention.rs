use burn::module::Module;
use burn::tensor::{Device, Tensor};
use plm_kernels::{Attention, Heads, Pairs, Rotation, rotate, store_heads};
use plm_linear::host::{self, F32s};
use plm_linear::{Linear, LinearConfig, forward_each, grouped_attention};

use crate::DecoderConfig;
use crate::cache::{LayerCache, Step};

/// Causal self-attention with grouped key-value heads and rotary positions.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// Queries.
    pub q_proj: Linear,
    /// Keys.
    pub k_proj: Linear,
    /// Values.
    pub v_proj: Linear,
    /// Output projection.
    pub o_proj: Linear,
    head_dim: usize,
}

impl SelfAttention {
    pub(crate) fn init(config: &DecoderConfig, device: &Device) -> Self {
        let hidden = config.hidden_size;
        let query = config.num_heads * config.head_dim;
        let kv = config.num_kv_heads * config.head_dim;
        Self {
            q_proj: LinearConfig::new(hidden, query).init(device),
            k_proj: LinearConfig::new(hidden, kv).init(device),
            v_proj: LinearConfig::new(hidden, kv).init(device),
            o_proj: LinearConfig::new(query, hidden).init(device),
            head_dim: config.head_dim,
        }
    }

    /// Attends from the new tokens to everything before them, and to themselves. Without a cache
    /// there is nothing before them, and nothing is kept.
    ///
    /// # Shapes
    ///
    /// - `x` and result: `[batch, seq, hidden_size]`
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        step: &Step<'_>,
        cache: Option<&mut Option<LayerCache>>,
    ) -> Tensor<3> {
        let [q, k, v] = forward_each([&self.q_proj, &self.k_proj, &self.v_proj], x);
        let on_host = [&q, &k, &v].iter().all(|x| host::is_f32(x));
        let mixed = if on_host && step.mask.is_none() {
            self.attend_on_host(q, k, v, step, cache.unwrap_or(&mut None))
        } else if let (None, None) = (&step.mask, &cache)
            && let Some(mixed) = self.attend_with_gradient(&q, &k, &v, step)
        {
            mixed
        } else {
            self.attend(q, k, v, step, cache)
        };
        self.o_proj.forward(mixed)
    }

    /// Turns, stores and attends with burn's operations.
    ///
    /// # Shapes
    ///
    /// - `q` and result: `[batch, seq, heads · head_dim]`
    /// - `k`, `v`: `[batch, seq, kv_heads · head_dim]`
    fn attend(
        &self,
        q: Tensor<3>,
        k: Tensor<3>,
        v: Tensor<3>,
        step: &Step<'_>,
        cache: Option<&mut Option<LayerCache>>,
    ) -> Tensor<3> {
        let ([batch, seq, width], device) = (q.dims(), q.device());
        let heads_of = |y: Tensor<3>| {
            let heads = y.dims()[2] / self.head_dim;
            y.reshape([batch, seq, heads, self.head_dim])
        };
        let (q, k) = (step.rope.rotate(heads_of(q)), step.rope.rotate(heads_of(k)));
        let v = heads_of(v).swap_dims(1, 2);
        let (keys, values) = match cache {
            Some(cache) => LayerCache::append(cache, k, v, step),
            None => (k, v),
        };
        grouped_attention(q, keys, values, step.unseen(seq, &device))
            .swap_dims(1, 2)
            .reshape([batch, seq, width])
    }

    /// As [`attend`](Self::attend), of whole sequences, by kernels with a gradient.
    fn attend_with_gradient(
        &self,
        q: &Tensor<3>,
        k: &Tensor<3>,
        v: &Tensor<3>,
        step: &Step<'_>,
    ) -> Option<Tensor<3>> {
        let [cos, sin] = [step.rope.cos(), step.rope.sin()]
            .map(|table| host::f32s(&table.clone().without_autodiff()));
        let attention = plm_linear::SelfAttention {
            heads: q.dims()[2] / self.head_dim,
            kv_heads: k.dims()[2] / self.head_dim,
            head_dim: self.head_dim,
            causal: true,
            rotation: Rotation {
                cos: &cos?,
                sin: &sin?,
                pairs: Pairs::Halves,
            },
        };
        attention.with_gradient(q, k, v)
    }

    /// As [`attend`](Self::attend), by kernels that read and write the cache where it is.
    fn attend_on_host(
        &self,
        q: Tensor<3>,
        k: Tensor<3>,
        v: Tensor<3>,
        step: &Step<'_>,
        cache: &mut Option<LayerCache>,
    ) -> Tensor<3> {
        let [batch, seq, width] = q.dims();
        let (device, head_dim) = (q.device(), self.head_dim);
        let (heads, kv_heads) = (width / head_dim, k.dims()[2] / head_dim);
        let [cos, sin] = [step.rope.cos(), step.rope.sin()].map(on_host);
        let [k, v] = [&k, &v].map(on_host);
        let rotation = Rotation {
            cos: &cos,
            sin: &sin,
            pairs: Pairs::Halves,
        };
        let of = |heads: usize| Heads {
            batch,
            seq,
            stride: heads * head_dim,
            heads,
            head_dim,
        };
        let q = host::update(q, |q| rotate(q, &of(heads), &rotation));

        let sizes = [batch, kv_heads, head_dim];
        let held = LayerCache::with_room(cache.take(), sizes, step, &device);
        let capacity = held.capacity();
        let store = |cache: Tensor<4>, x: &[f32], rotation: Option<&Rotation<'_>>| {
            host::update(cache, |cache| {
                store_heads(x, &of(kv_heads), rotation, cache, capacity, step.len);
            })
        };
        let held = cache.insert(LayerCache {
            keys: store(held.keys, &k, Some(&rotation)),
            values: store(held.values, &v, None),
        });

        let q = on_host(&q);
        let [keys, values] = [&held.keys, &held.values].map(on_host);
        let mut out = vec![0.0; q.len()];
        plm_kernels::attention(Attention {
            q: &q,
            q_stride: width,
            keys: &keys,
            values: &values,
            batch,
            seq,
            heads,
            kv_heads,
            head_dim,
            len: step.len + seq,
            capacity,
            causal: true,
            padding: step.padding,
            out: &mut out,
        });
        host::tensor(out, [batch, seq, width], &device)
    }
}

/// The numbers of activations that are known to be on the host.
fn on_host<const D: usize>(tensor: &Tensor<D>) -> F32s {
    host::f32s(tensor).expect("activations are f32 on the host")
}
