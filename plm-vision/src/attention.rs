use burn::module::Module;
use burn::tensor::activation::gelu;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, Tensor};
use plm_linear::{Linear, LinearConfig};

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

    /// Mixes the tokens of each tile; scores are scaled by `1/√head_dim` and unmasked.
    ///
    /// # Shapes
    ///
    /// - `x` and result: `[tiles, tokens, width]`
    pub fn forward(&self, x: Tensor<3>, rope: &Rope2d) -> Tensor<3> {
        let [tiles, tokens, width] = x.dims();
        let head_dim = width / self.heads;
        let qkv = self
            .qkv
            .forward(x)
            .reshape([tiles, tokens, 3, self.heads, head_dim])
            .permute([2, 0, 3, 1, 4]); // [3, tiles, heads, tokens, head_dim]
        let part = |index| {
            qkv.clone()
                .narrow(0, index, 1)
                .reshape([tiles, self.heads, tokens, head_dim])
        };
        let q = rope.rotate(part(0));
        let k = rope.rotate(part(1));
        let mixed = attention(q, k, part(2), None, None, AttentionModuleOptions::default());
        self.proj
            .forward(mixed.swap_dims(1, 2).reshape([tiles, tokens, width]))
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
        self.fc2.forward(gelu(self.fc1.forward(x)))
    }
}
