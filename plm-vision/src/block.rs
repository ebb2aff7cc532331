use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use plm_linear::residual;

use crate::drop_path::drop_path;
use crate::{Attention, LayerNorm, Mlp, PerceptionEncoderConfig, Rope2d};

/// Initial value of the layer scales, as in the released models.
const LAYER_SCALE_INIT: f64 = 0.1;

/// One pre-norm transformer block with layer scale:
/// `x += gamma_1 · attn(norm1(x))`, then `x += gamma_2 · mlp(norm2(x))`.
#[derive(Module, Debug)]
pub struct Block {
    /// Norm before attention.
    pub norm1: LayerNorm,
    /// Self-attention.
    pub attn: Attention,
    /// Norm before the MLP.
    pub norm2: LayerNorm,
    /// MLP.
    pub mlp: Mlp,
    /// Scale of the attention branch, `[width]`.
    pub gamma_1: Option<Param<Tensor<1>>>,
    /// Scale of the MLP branch, `[width]`.
    pub gamma_2: Option<Param<Tensor<1>>>,
    /// How often a tile goes past a branch in training.
    pub(crate) drop_path: f64,
}

impl Block {
    pub(crate) fn init(config: &PerceptionEncoderConfig, device: &Device) -> Self {
        let gamma = || {
            let initializer = Initializer::Constant {
                value: LAYER_SCALE_INIT,
            };
            config
                .layer_scale
                .then(|| initializer.init([config.width], device))
        };
        Self {
            norm1: LayerNorm::init(config.width, config.norm_eps, device),
            attn: Attention::init(config, device),
            norm2: LayerNorm::init(config.width, config.norm_eps, device),
            mlp: Mlp::init(config, device),
            gamma_1: gamma(),
            gamma_2: gamma(),
            drop_path: 0.0,
        }
    }

    /// Runs the block.
    ///
    /// # Shapes
    ///
    /// - `x` and result: `[tiles, tokens, width]`
    pub fn forward(&self, x: Tensor<3>, rope: &Rope2d) -> Tensor<3> {
        let branch = self.attn.forward(self.norm1.forward(x.clone()), rope);
        let branch = drop_path(branch, self.drop_path);
        let x = residual(x, branch, self.gamma_1.as_ref().map(Param::val));
        let branch = self.mlp.forward(self.norm2.forward(x.clone()));
        let branch = drop_path(branch, self.drop_path);
        residual(x, branch, self.gamma_2.as_ref().map(Param::val))
    }
}
