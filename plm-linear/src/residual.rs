use burn::tensor::{DType, Tensor};

use crate::host;

/// `x + branch`, or `x + scale · branch` with a scale for each feature.
///
/// # Shapes
///
/// - `x`, `branch` and result: `[batch, seq, width]`
/// - `scale`: `[width]`
pub fn residual(x: Tensor<3>, branch: Tensor<3>, scale: Option<Tensor<1>>) -> Tensor<3> {
    if x.dtype() == DType::F32
        && let Some(numbers) = host::floats(&branch)
        && let Some(values) = numbers.f32()
    {
        let scale = scale.as_ref().and_then(host::floats);
        let scale = scale.as_ref().and_then(|scale| scale.f32());
        return host::update(x, |x| plm_kernels::add(x, values, scale));
    }
    match scale {
        Some(scale) => x + branch * scale.unsqueeze(),
        None => x + branch,
    }
}
