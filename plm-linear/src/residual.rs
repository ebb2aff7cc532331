use burn::tensor::Tensor;

use crate::host;

/// `x + branch`, or `x + scale · branch` with a scale for each feature.
///
/// # Shapes
///
/// - `x`, `branch` and result: `[batch, seq, width]`
/// - `scale`: `[width]`
pub fn residual(x: Tensor<3>, branch: Tensor<3>, scale: Option<Tensor<1>>) -> Tensor<3> {
    let factors = scale.as_ref().map(host::f32s);
    if host::is_f32(&x)
        && let Some(branch) = host::f32s(&branch)
        && !matches!(factors, Some(None))
    {
        let factors = factors.flatten();
        return host::update(x, |x| plm_kernels::add(x, &branch, factors.as_deref()));
    }
    #[cfg(feature = "flex-autodiff")]
    if let Some(scale) = &scale
        && let Some(y) = crate::gradient::residual(&x, &branch, scale)
    {
        return y;
    }
    match scale {
        Some(scale) => x + branch * scale.unsqueeze(),
        None => x + branch,
    }
}
