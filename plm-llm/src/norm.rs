use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use plm_linear::normalize;

/// Root-mean-square normalisation of the last dimension, `x / √(mean(x²) + eps) · weight`.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// Scale, `[hidden_size]`.
    pub weight: Param<Tensor<1>>,
    eps: f64,
}

impl RmsNorm {
    pub(crate) fn init(size: usize, eps: f64, device: &Device) -> Self {
        Self {
            weight: Initializer::Ones.init([size], device),
            eps,
        }
    }

    /// Normalises the last dimension.
    ///
    /// # Shapes
    ///
    /// - `x` and result: `[batch, seq, hidden_size]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        normalize(x, self.weight.val(), None, self.eps)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{TensorData, Tolerance};

    use super::*;

    #[test]
    fn rows_are_divided_by_their_root_mean_square() {
        let device = Device::flex();
        let norm = RmsNorm::init(2, 0.0, &device);
        let x = Tensor::<3>::from_data([[[3.0, 4.0]]], &device);
        let rms = 12.5f32.sqrt();
        norm.forward(x).into_data().assert_approx_eq::<f32>(
            &TensorData::from([[[3.0 / rms, 4.0 / rms]]]),
            Tolerance::absolute(1e-6),
        );
    }
}
