use burn::tensor::Tensor;
use plm::{Model, Prompt};
use plm_linear::{cross_entropy, select_rows};

use crate::{Error, Sample};

/// The mean cross-entropy of a batch's labels, each predicted from all tokens before it; and their
/// number.
///
/// Shorter samples are padded at their end. Scores are computed where there is a label alone, so
/// that a long prompt costs no memory for its vocabulary.
///
/// # Errors
///
/// [`Error::NothingToLearn`] when there is no label; the model's error when a sample does not fit
/// it.
pub fn loss(model: &Model, samples: &[Sample], pad_id: u32) -> Result<(Tensor<1>, usize), Error> {
    let seq = samples
        .iter()
        .map(|sample| sample.prompt.len().max(sample.labels.len()))
        .max()
        .unwrap_or(0);
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for (i, sample) in samples.iter().enumerate() {
        for (k, label) in sample.labels.iter().enumerate().skip(1) {
            if let Some(label) = label {
                rows.push((i * seq + k - 1) as u32);
                targets.push(*label);
            }
        }
    }
    if rows.is_empty() {
        return Err(Error::NothingToLearn);
    }
    let embedding = &model.language_model.embed_tokens.weight;
    let device = embedding.device().without_autodiff();
    let prompts: Vec<&Prompt> = samples.iter().map(|sample| &sample.prompt).collect();
    let embeddings = model.embed_batch(&prompts, seq, pad_id, &device)?;
    let lengths: Vec<usize> = prompts.iter().map(|prompt| prompt.len()).collect();
    // What padding sees matters where it is learnt from.
    let counted = |sample: &Sample| sample.labels.len() > sample.prompt.len();
    let lengths = samples.iter().any(counted).then_some(&*lengths);
    let decoder = &model.language_model;
    let hidden = decoder.forward(embeddings, lengths);
    let hidden = hidden.map_err(plm::Error::from)?.flatten::<2>(0, 1);
    let logits = decoder.logits(select_rows(hidden, &rows));
    Ok((cross_entropy(logits, &targets), targets.len()))
}
