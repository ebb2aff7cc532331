use burn::tensor::Tensor;
use burn::tensor::module::layer_norm;
use plm_kernels::Norm;

use crate::host;

/// Normalises the last dimension: `(x - mean) / √(variance + eps) · weight + bias`, or without a
/// bias `x / √(mean(x²) + eps) · weight`.
///
/// # Shapes
///
/// - `x` and result: `[..., width]`
/// - `weight`, `bias`: `[width]`
pub fn normalize<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Option<Tensor<1>>,
    eps: f64,
) -> Tensor<D> {
    if let Some(y) = on_host(&x, &weight, bias.as_ref(), eps) {
        return y;
    }
    #[cfg(feature = "flex-autodiff")]
    if let Some(y) = crate::gradient::normalize(&x, &weight, bias.as_ref(), eps) {
        return y;
    }
    match bias {
        Some(bias) => layer_norm(x, weight, Some(bias), eps),
        None => {
            #[cfg(feature = "gpu")]
            if let Some(y) = crate::gpu::rms_normalized(&x, &weight, eps) {
                return y;
            }
            let mean_square = (x.clone() * x.clone()).mean_dim(D - 1);
            x / (mean_square + eps).sqrt() * weight.unsqueeze()
        }
    }
}

fn on_host<const D: usize>(
    x: &Tensor<D>,
    weight: &Tensor<1>,
    bias: Option<&Tensor<1>>,
    eps: f64,
) -> Option<Tensor<D>> {
    let (values, weight) = (host::f32s(x)?, host::f32s(weight)?);
    let bias = match bias {
        Some(bias) => Some(host::f32s(bias)?),
        None => None,
    };
    let norm = match &bias {
        Some(bias) => Norm::Layer {
            weight: &weight,
            bias,
        },
        None => Norm::Rms { weight: &weight },
    };
    let y = plm_kernels::normalized(&values, norm, eps as f32);
    Some(host::tensor(y, x.dims(), &x.device()))
}
