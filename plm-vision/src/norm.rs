use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::module::layer_norm;
use burn::tensor::{Device, Tensor};
use plm_kernels::{Norm, normalize};
use plm_linear::host;

/// Layer normalisation over the last dimension, `(x - mean) / √(var + eps) · weight + bias`.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale, `[width]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[width]`.
    pub bias: Param<Tensor<1>>,
    eps: f64,
}

impl LayerNorm {
    pub(crate) fn init(width: usize, eps: f64, device: &Device) -> Self {
        Self {
            weight: Initializer::Ones.init([width], device),
            bias: Initializer::Zeros.init([width], device),
            eps,
        }
    }

    /// Normalises the last dimension.
    ///
    /// # Shapes
    ///
    /// - `x` and result: `[..., width]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        if let (Some(values), Some(weight), Some(bias)) =
            (host::f32s(&x), host::f32s(&weight), host::f32s(&bias))
        {
            let mut y = vec![0.0; values.len()];
            let norm = Norm::Layer {
                weight: &weight,
                bias: &bias,
            };
            normalize(&values, norm, self.eps as f32, &mut y);
            return host::tensor(y, x.dims(), &x.device());
        }
        layer_norm(x, weight, Some(bias), self.eps)
    }
}
