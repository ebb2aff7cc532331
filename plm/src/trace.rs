use burn::tensor::Tensor;
use plm_processor::Prompt;

use crate::model::pixel_values;
use crate::{Error, PerceptionLM};

/// Values of a tensor on the host, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Sizes of the dimensions.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Vec<f32>,
}

/// The stages of one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaTrace {
    /// Normalised tiles, `[tiles, 3, size, size]`.
    pub pixel_values: HostTensor,
    /// Features of the vision tower without the cls token, `[tiles, patches, vision_width]`.
    pub vision_features: HostTensor,
    /// Token embeddings, `[tiles, tokens_per_tile, text_width]`.
    pub projected: HostTensor,
}

/// Every stage of one prompt, for comparison with another implementation.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Token ids of the prompt.
    pub input_ids: Vec<u32>,
    /// The pictures in the prompt's order.
    pub media: Vec<MediaTrace>,
    /// Logits after the last token, `[vocab_size]`, or after every token, `[tokens, vocab_size]`.
    pub logits: HostTensor,
}

impl PerceptionLM {
    /// Runs a prompt and returns what each stage computed.
    ///
    /// # Errors
    ///
    /// As [`generate_prompt`](Self::generate_prompt).
    pub fn trace(&self, prompt: &Prompt, all_logits: bool) -> Result<Trace, Error> {
        self.check_prompt(prompt)?;
        let device = self.device();
        let mut media = Vec::with_capacity(prompt.media.len());
        let mut embeddings = Vec::with_capacity(prompt.media.len());
        for item in &prompt.media {
            let features = self.model().media_features(item, device)?;
            media.push(MediaTrace {
                pixel_values: self.to_host(pixel_values(item, 0..item.tiles.len(), device))?,
                vision_features: self.to_host(features.vision)?,
                projected: self.to_host(features.projected.clone())?,
            });
            embeddings.push(features.projected.flatten(0, 1));
        }
        let decoder = &self.model().language_model;
        let embeddings = self.model().embed(prompt, &embeddings, 0, device)?;
        let hidden = decoder.extend(embeddings.unsqueeze(), &mut decoder.new_cache())?;
        let hidden = hidden.squeeze_dim::<2>(0);
        let logits = if all_logits {
            self.to_host(decoder.logits(hidden))?
        } else {
            let last = hidden.dims()[0] - 1;
            let last: Tensor<1> = decoder.logits(hidden.narrow(0, last, 1)).squeeze_dim(0);
            self.to_host(last)?
        };
        Ok(Trace {
            input_ids: prompt.token_ids.clone(),
            media,
            logits,
        })
    }
}
