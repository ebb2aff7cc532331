//! The network's steps as answers need them: whole prompts in, what is to be known of the next
//! token out.

use burn::tensor::Tensor;
use plm_linear::host::{in_pool, is_cpu};
use plm_linear::{greatest, read_back_as};
use plm_llm::KvCache;
use plm_processor::{Media, Prompt};

use crate::feature_cache::{MediaKey, media_key};
use crate::{Error, HostTensor, PerceptionLM, Progress};

/// What a step tells of the token to come.
pub(crate) enum Next {
    /// The score of each token.
    Logits(Vec<f32>),
    /// The token with the greatest score, if they are numbers.
    Greatest(Option<u32>),
}

impl PerceptionLM {
    /// Embeddings of a whole prompt, `[tokens, text_width]`.
    pub(crate) fn embed(&self, prompt: &Prompt) -> Result<Tensor<2>, Error> {
        self.check_prompt(prompt)?;
        let features = self.embed_all_media(prompt)?;
        self.model().embed(prompt, &features, 0, self.device())
    }

    /// Token embeddings of every picture of a prompt.
    pub(crate) fn embed_all_media(&self, prompt: &Prompt) -> Result<Vec<Tensor<2>>, Error> {
        prompt.media.iter().map(|m| self.embed_media(m)).collect()
    }

    /// Token embeddings of one picture, with progress; from the cache, if they are there.
    pub(crate) fn embed_media(&self, media: &Media) -> Result<Tensor<2>, Error> {
        if self.features().is_off() {
            return self.encode_media(media);
        }
        self.embed_known(media, &media_key(media))
    }

    /// As [`embed_media`](Self::embed_media), of a picture whose key is known.
    pub(crate) fn embed_known(&self, media: &Media, key: &MediaKey) -> Result<Tensor<2>, Error> {
        if let Some(features) = self.features().get(key) {
            return Ok(features);
        }
        let features = self.encode_media(media)?;
        self.features().put(*key, &features);
        Ok(features)
    }

    fn encode_media(&self, media: &Media) -> Result<Tensor<2>, Error> {
        let total_tiles = media.tiles.len();
        let features = in_pool(self.device(), || {
            self.model()
                .embed_media_observed(media, self.device(), |tiles| {
                    self.report(Progress::Encoding { tiles, total_tiles });
                })
        })?;
        if !is_cpu(self.device()) {
            // A GPU has only been told what to do. Its failure is this picture's, and must not be kept.
            self.to_host(features.clone().narrow(0, 0, 1).narrow(1, 0, 1))?;
        }
        Ok(features)
    }

    /// Embeddings of one token for each sequence of a batch, `[ids, 1, text_width]`.
    pub(crate) fn embed_tokens(&self, ids: &[u32]) -> Result<Tensor<3>, Error> {
        let embeddings = self.model().language_model.embed(ids, self.device())?;
        Ok(embeddings.unsqueeze_dim(1))
    }

    /// Reads embeddings and returns the logits after the last, for each sequence.
    pub(crate) fn extend_for_logits(
        &self,
        embeddings: Tensor<3>,
        cache: &mut KvCache,
    ) -> Result<Vec<Vec<f32>>, Error> {
        self.extend(embeddings, cache, |last| self.logit_rows(last))
    }

    /// Reads embeddings and returns what is to be known of the next token of each sequence: where the
    /// greatest logit is enough, the others stay on the device.
    pub(crate) fn extend_for_next(
        &self,
        embeddings: Tensor<3>,
        cache: &mut KvCache,
        takes_greatest: bool,
    ) -> Result<Vec<Next>, Error> {
        self.extend(embeddings, cache, |last| {
            if takes_greatest {
                let logits = self.model().language_model.logits(last);
                let ids = greatest(logits.flatten(0, 1))
                    .map_err(|error| Error::of_device(self.device(), &error))?;
                return Ok(ids.into_iter().map(Next::Greatest).collect());
            }
            let rows = self.logit_rows(last)?;
            Ok(rows.into_iter().map(Next::Logits).collect())
        })
    }

    /// Reads embeddings; `finish` is given the hidden states after the last, `[batch, 1, text_width]`.
    fn extend<R: Send>(
        &self,
        embeddings: Tensor<3>,
        cache: &mut KvCache,
        finish: impl FnOnce(Tensor<3>) -> Result<R, Error> + Send,
    ) -> Result<R, Error> {
        let total_tokens = embeddings.dims()[1];
        let decoder = &self.model().language_model;
        in_pool(self.device(), || {
            let last = decoder.extend_to_last(embeddings, cache, |tokens| {
                if total_tokens > 1 {
                    self.report(Progress::Reading {
                        tokens,
                        total_tokens,
                    });
                }
            })?;
            finish(last)
        })
    }

    /// Logits of hidden states `[batch, 1, text_width]` on the host.
    pub(crate) fn logit_rows(&self, hidden: Tensor<3>) -> Result<Vec<Vec<f32>>, Error> {
        let logits = self.model().language_model.logits(hidden);
        let vocab_size = logits.dims()[2];
        let values = self.to_host(logits)?.values;
        if values.len() == vocab_size {
            return Ok(vec![values]);
        }
        Ok(values.chunks(vocab_size).map(<[f32]>::to_vec).collect())
    }

    /// Copies a tensor's values to the host.
    pub(crate) fn to_host<const D: usize>(&self, tensor: Tensor<D>) -> Result<HostTensor, Error> {
        let shape = tensor.dims().to_vec();
        let values = read_back_as(tensor);
        let values = values.map_err(|error| Error::of_device(self.device(), &error))?;
        Ok(HostTensor { shape, values })
    }
}
