use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};
use plm::Model;

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
                rows.push((i * seq + k - 1) as i64);
                targets.push(i64::from(*label));
            }
        }
    }
    if rows.is_empty() {
        return Err(Error::NothingToLearn);
    }
    let embedding = &model.language_model.embed_tokens.weight;
    let device = embedding.device().without_autodiff();
    let mut embeddings = Vec::with_capacity(samples.len());
    for sample in samples {
        let prompt = &sample.prompt;
        let media = prompt.media.iter();
        let features = media.map(|media| model.embed_media(media, &device));
        let features: Vec<Tensor<2>> = features.collect::<Result<_, _>>()?;
        let own = model.embed(prompt, &features, 0, &device)?;
        let padding = vec![pad_id; seq - prompt.len()];
        let embedded = match padding.is_empty() {
            true => own,
            false => {
                let padding = model.language_model.embed(&padding, &device);
                Tensor::cat(vec![own, padding.map_err(plm::Error::from)?], 0)
            }
        };
        embeddings.push(embedded.unsqueeze_dim::<3>(0));
    }
    let lengths: Vec<usize> = samples.iter().map(|sample| sample.prompt.len()).collect();
    let decoder = &model.language_model;
    let hidden = decoder.forward(Tensor::cat(embeddings, 0), &lengths);
    let hidden = hidden.map_err(plm::Error::from)?.flatten::<2>(0, 1);
    let rows_of = |ids: &[i64]| Tensor::<1, Int>::from_data(ids, &hidden.device());
    let logits = decoder.logits(hidden.clone().select(0, rows_of(&rows)));
    let targets_of = rows_of(&targets).unsqueeze_dim::<2>(1);
    let scores = log_softmax(logits, 1).gather(1, targets_of);
    Ok((scores.mean().neg(), targets.len()))
}
