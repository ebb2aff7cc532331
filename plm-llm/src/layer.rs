use burn::module::Module;
use burn::tensor::{Device, Tensor};
use plm_linear::{Linear, LinearConfig, forward_each, residual, silu_mul};

use crate::cache::{LayerCache, Step};
use crate::{DecoderConfig, RmsNorm, SelfAttention};

/// Feed-forward part of a layer: `down(silu(gate(x)) · up(x))`.
#[derive(Module, Debug)]
pub struct Mlp {
    /// Gate.
    pub gate_proj: Linear,
    /// Values that are gated.
    pub up_proj: Linear,
    /// Back to the hidden size.
    pub down_proj: Linear,
}

impl Mlp {
    fn init(config: &DecoderConfig, device: &Device) -> Self {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        Self {
            gate_proj: LinearConfig::new(hidden, inner).init(device),
            up_proj: LinearConfig::new(hidden, inner).init(device),
            down_proj: LinearConfig::new(inner, hidden).init(device),
        }
    }

    /// Applies the MLP to each token.
    ///
    /// # Shapes
    ///
    /// - `x` and result: `[batch, seq, hidden_size]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [gate, up] = forward_each([&self.gate_proj, &self.up_proj], x);
        self.down_proj.forward(silu_mul(gate, up))
    }
}

/// One decoder layer: `x += attn(input_layernorm(x))`, then `x += mlp(post_attention_layernorm(x))`.
#[derive(Module, Debug)]
pub struct DecoderLayer {
    /// Norm before attention.
    pub input_layernorm: RmsNorm,
    /// Self-attention.
    pub self_attn: SelfAttention,
    /// Norm before the MLP.
    pub post_attention_layernorm: RmsNorm,
    /// MLP.
    pub mlp: Mlp,
}

impl DecoderLayer {
    pub(crate) fn init(config: &DecoderConfig, device: &Device) -> Self {
        let norm = || RmsNorm::init(config.hidden_size, config.rms_norm_eps, device);
        Self {
            input_layernorm: norm(),
            self_attn: SelfAttention::init(config, device),
            post_attention_layernorm: norm(),
            mlp: Mlp::init(config, device),
        }
    }

    /// Runs the layer on new tokens, whose keys and values are appended to `cache`, if there is one.
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
        let normed = self.input_layernorm.forward(x.clone());
        let x = residual(x, self.self_attn.forward(normed, step, cache), None);
        let normed = self.post_attention_layernorm.forward(x.clone());
        residual(x, self.mlp.forward(normed), None)
    }
}
