use burn::tensor::{Device, Tensor};
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
    let batch = Batch::new(samples)?;
    let embeddings = model.embed_batch(&batch.prompts, batch.seq, pad_id, &device(model))?;
    let decoder = &model.language_model;
    let hidden = decoder.forward(embeddings, batch.lengths());
    let hidden = hidden.map_err(plm::Error::from)?;
    Ok((batch.loss(model, hidden), batch.num_labels()))
}

/// Where a model computes what no gradient is taken of.
pub(crate) fn device(model: &Model) -> Device {
    let embedding = &model.language_model.embed_tokens.weight;
    embedding.device().without_autodiff()
}

/// Samples that are learnt from together.
pub(crate) struct Batch<'a> {
    pub(crate) prompts: Vec<&'a Prompt>,
    /// Tokens of the longest.
    pub(crate) seq: usize,
    /// Tokens of each, where padding is learnt from: what it sees matters then.
    lengths: Option<Vec<usize>>,
    /// Tokens before labels, among those of all sequences.
    rows: Vec<u32>,
    /// The labels.
    targets: Vec<u32>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(samples: &'a [Sample]) -> Result<Self, Error> {
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
        let prompts: Vec<&Prompt> = samples.iter().map(|sample| &sample.prompt).collect();
        let counted = |sample: &Sample| sample.labels.len() > sample.prompt.len();
        let lengths = || prompts.iter().map(|prompt| prompt.len()).collect();
        Ok(Self {
            lengths: samples.iter().any(counted).then(lengths),
            prompts,
            seq,
            rows,
            targets,
        })
    }

    pub(crate) fn lengths(&self) -> Option<&[usize]> {
        self.lengths.as_deref()
    }

    pub(crate) fn num_labels(&self) -> usize {
        self.targets.len()
    }

    /// The mean cross-entropy of the labels, given the decoder's last states,
    /// `[samples, seq, hidden_size]`.
    pub(crate) fn loss(&self, model: &Model, hidden: Tensor<3>) -> Tensor<1> {
        let hidden = select_rows(hidden.flatten::<2>(0, 1), &self.rows);
        cross_entropy(model.language_model.logits(hidden), &self.targets)
    }
}
