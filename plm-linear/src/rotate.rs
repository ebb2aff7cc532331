use burn::tensor::Tensor;

/// Heads of queries or keys, turned by the angles of their positions. Feature `i` of the first half of a head
/// pairs with feature `i` of the second half: `(a, b) → (a·cos - b·sin, b·cos + a·sin)`.
///
/// # Shapes
///
/// - `x`: `[batch, seq, heads, head_dim]`
/// - `cos`, `sin`: `[batch, 1, seq, head_dim / 2]`
/// - result: `[batch, heads, seq, head_dim]`
pub fn rotate_heads(x: Tensor<4>, cos: &Tensor<4>, sin: &Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "gpu")]
    if let Some(y) = crate::gpu::rotated_heads(&x, cos, sin) {
        return y;
    }
    let x = x.swap_dims(1, 2);
    let half = x.dims()[3] / 2;
    let a = x.clone().narrow(3, 0, half);
    let b = x.narrow(3, half, half);
    let parts = vec![
        a.clone() * cos.clone() - b.clone() * sin.clone(),
        b * cos.clone() + a * sin.clone(),
    ];
    Tensor::cat(parts, 3)
}
