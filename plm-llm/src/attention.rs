use burn::module::Module;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, Device, Tensor};
use plm_linear::{Linear, LinearConfig};

use crate::cache::LayerCache;
use crate::{DecoderConfig, RopeTable};

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

    /// Attends from the new tokens to everything before them, and to themselves.
    ///
    /// `padding` marks cache entries that nothing may attend to, `[batch, 1, 1, cached + seq]`.
    ///
    /// # Shapes
    ///
    /// - `x` and result: `[batch, seq, hidden_size]`
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        rope: &RopeTable,
        padding: Option<Tensor<4, Bool>>,
        cache: &mut Option<LayerCache>,
    ) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        let heads_of = |y: Tensor<3>| {
            let heads = y.dims()[2] / self.head_dim;
            y.reshape([batch, seq, heads, self.head_dim])
                .swap_dims(1, 2)
        };
        let q = rope.rotate(heads_of(self.q_proj.forward(x.clone())));
        let k = rope.rotate(heads_of(self.k_proj.forward(x.clone())));
        let v = heads_of(self.v_proj.forward(x));
        let LayerCache { keys, values } = LayerCache::append(cache, k, v);

        let mixed = grouped_attention(q, keys, values, padding);
        let width = mixed.dims()[1] * self.head_dim;
        self.o_proj
            .forward(mixed.swap_dims(1, 2).reshape([batch, seq, width]))
    }
}

/// Attention of `heads` query heads over fewer key-value heads; query head `h` reads key-value
/// head `h / (heads / kv_heads)`.
///
/// # Shapes
///
/// - `q` and result: `[batch, heads, seq, head_dim]`
/// - `keys`, `values`: `[batch, kv_heads, total, head_dim]`, the queries being the last `seq`
/// - `padding`: `[batch, 1, 1, total]`
fn grouped_attention(
    q: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    padding: Option<Tensor<4, Bool>>,
) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = q.dims();
    let [_, kv_heads, total, _] = keys.dims();
    let group = heads / kv_heads;

    if seq == 1 {
        // One new token sees the whole cache: the heads of a group are rows of one product, and
        // the cache is read without being repeated.
        let q = q.reshape([batch, kv_heads, group, head_dim]);
        let mask = padding.map(|mask| mask.expand([batch, kv_heads, group, total]));
        return attention(
            q,
            keys,
            values,
            mask,
            None,
            AttentionModuleOptions::default(),
        )
        .reshape([batch, heads, 1, head_dim]);
    }
    let causal = AttentionModuleOptions {
        is_causal: true,
        ..Default::default()
    };
    let mask = padding.map(|mask| mask.expand([batch, heads, seq, total]));
    let (keys, values) = (repeat_heads(keys, group), repeat_heads(values, group));
    attention(q, keys, values, mask, None, causal)
}

/// Repeats each key-value head for the query heads of its group.
fn repeat_heads(x: Tensor<4>, group: usize) -> Tensor<4> {
    if group == 1 {
        return x;
    }
    let [batch, kv_heads, total, head_dim] = x.dims();
    x.unsqueeze_dim::<5>(2)
        .expand([batch, kv_heads, group, total, head_dim])
        .reshape([batch, kv_heads * group, total, head_dim])
}
