use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};

/// The mean cross-entropy of scores and what was to be predicted, `mean(log Σ e^row - row[target])`.
///
/// # Shapes
///
/// - `logits`: `[rows, vocab_size]`
/// - `targets`: one for each row, below `vocab_size`
/// - result: `[1]`
pub fn cross_entropy(logits: Tensor<2>, targets: &[u32]) -> Tensor<1> {
    #[cfg(feature = "flex-autodiff")]
    if let Some(loss) = crate::gradient::cross_entropy(&logits, targets) {
        return loss;
    }
    let ids: Vec<i64> = targets.iter().map(|&id| i64::from(id)).collect();
    let ids = Tensor::<1, Int>::from_data(ids.as_slice(), &logits.device());
    let scores = log_softmax(logits, 1).gather(1, ids.unsqueeze_dim::<2>(1));
    scores.mean().neg()
}
