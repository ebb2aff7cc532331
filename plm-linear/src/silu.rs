use burn::tensor::Tensor;
use burn::tensor::activation::silu;

use crate::host;

/// `silu(gate) · up`, with `silu(x) = x / (1 + e^-x)`.
///
/// # Shapes
///
/// All alike.
pub fn silu_mul<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    if host::is_f32(&gate)
        && let Some(up) = host::f32s(&up)
    {
        return host::update(gate, |gate| plm_kernels::silu_mul(gate, &up));
    }
    #[cfg(feature = "flex-autodiff")]
    if let Some(y) = crate::gradient::silu_mul(&gate, &up) {
        return y;
    }
    silu(gate) * up
}
