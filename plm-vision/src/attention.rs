use burn::module::Module;
use burn::tensor::{Device, Tensor};
use plm_kernels::{Pairs, Rotation};
use plm_linear::{Linear, LinearConfig, SelfAttention, grouped_attention};

use crate::{PerceptionEncoderConfig, Rope2d};

/// Self-attention over all tokens of a tile, with 2-D rotary positions.
#[derive(Module, Debug)]
pub struct Attention {
    /// Query, key and value of all heads, stacked in this order.
    pub qkv: Linear,
    /// Output projection.
    pub proj: Linear,
    heads: usize,
}

impl Attention {
    pub(crate) fn init(config: &PerceptionEncoderConfig, device: &Device) -> Self {
        let width = config.width;
        Self {
            qkv: LinearConfig::new(width, 3 * width).with_bias().init(device),
            proj: LinearConfig::new(width, width).with_bias().init(device),
            heads: config.heads,
        }
    }

    pub(crate) fn heads(&self) -> usize {
        self.heads
    }

    /// Mixes the tokens of each tile; scores are scaled by `1/√head_dim` and unmasked.
    ///
    /// # Shapes
    ///
    /// - `x` and result: `[tiles, tokens, width]`
    pub fn forward(&self, x: Tensor<3>, rope: &Rope2d) -> Tensor<3> {
        let qkv = self.qkv.forward(x);
        let [cos, sin] = rope.tables();
        let attention = SelfAttention {
            heads: self.heads,
            kv_heads: self.heads,
            head_dim: qkv.dims()[2] / 3 / self.heads,
            causal: false,
            rotation: Rotation {
                cos,
                sin,
                pairs: Pairs::Adjacent,
            },
        };
        let mixed = match attention.fused(&qkv) {
            Some(mixed) => mixed,
            None => self.attend(qkv, rope),
        };
        self.proj.forward(mixed)
    }

    /// Turns and attends with burn's operations.
    ///
    /// # Shapes
    ///
    /// - `qkv`: `[tiles, tokens, 3 · width]`
    /// - result: `[tiles, tokens, width]`
    fn attend(&self, qkv: Tensor<3>, rope: &Rope2d) -> Tensor<3> {
        let [tiles, tokens, width] = qkv.dims();
        let (width, head_dim) = (width / 3, width / 3 / self.heads);
        let qkv = qkv
            .reshape([tiles, tokens, 3, self.heads, head_dim])
            .permute([2, 0, 3, 1, 4]); // [3, tiles, heads, tokens, head_dim]
        let part = |index| {
            qkv.clone()
                .narrow(0, index, 1)
                .reshape([tiles, self.heads, tokens, head_dim])
        };
        let q = rope.rotate(part(0));
        let k = rope.rotate(part(1));
        grouped_attention(q, k, part(2), None)
            .swap_dims(1, 2)
            .reshape([tiles, tokens, width])
    }
}

/// Feed-forward part of a block: `fc2(gelu(fc1(x)))` with the exact GELU.
#[derive(Module, Debug)]
pub struct Mlp {
    /// Width to hidden features.
    pub fc1: Linear,
    /// Hidden features to width.
    pub fc2: Linear,
}

impl Mlp {
    pub(crate) fn init(config: &PerceptionEncoderConfig, device: &Device) -> Self {
        let (width, hidden) = (config.width, config.mlp_width());
        Self {
            fc1: LinearConfig::new(width, hidden).with_bias().init(device),
            fc2: LinearConfig::new(hidden, width).with_bias().init(device),
        }
    }

    /// Applies the MLP to each token.
    ///
    /// # Shapes
    ///
    /// - `x` and result: `[tiles, tokens, width]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.fc2.forward(self.fc1.forward_gelu(x))
    }
}
