use std::fmt;
use std::time::Instant;

use burn::tensor::Tensor;
use plm_llm::KvCache;
use plm_processor::Prompt;

use crate::forward::Next;
use crate::prefix_cache::Sequence;
use crate::reply::Reply;
use crate::{Answer, Decoding, Error, PerceptionLM, Timing};

/// An answer as it is generated: an iterator over pieces of text.
///
/// Every piece is valid UTF-8; all pieces together are the answer's text. Each step computes one
/// token, on the thread that asks for it, so dropping the stream cancels the rest. After an error
/// the stream has ended.
pub struct Stream<'a> {
    plm: &'a PerceptionLM,
    reply: Reply<'a>,
    cache: KvCache,
    /// What the prompt stands for, if the cache is to be kept for prompts that begin alike.
    sequence: Option<Sequence>,
    /// What is known of the next token, where it is computed already.
    next: Option<Next>,
    cached_tokens: usize,
    timing: Timing,
    failed: bool,
}

impl fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("answer", &self.answer())
            .finish_non_exhaustive()
    }
}

impl<'a> Stream<'a> {
    /// Reads the part of a prompt that `cache` does not hold yet, up to the first token's logits.
    ///
    /// `features` are the embeddings of the prompt's pictures; with a `sequence`, the cache is kept
    /// in the end for prompts that begin alike.
    pub(crate) fn start(
        plm: &'a PerceptionLM,
        prompt: &Prompt,
        features: &[Tensor<2>],
        mut cache: KvCache,
        sequence: Option<Sequence>,
        decoding: &Decoding,
        mut timing: Timing,
    ) -> Result<Self, Error> {
        if decoding.num_beams > 1 {
            return Err(Error::Decoding {
                what: "num_beams is above 1; a beam search knows its answer only at the end and cannot be streamed".into(),
            });
        }
        let reply = Reply::new(plm, prompt, decoding)?;
        let start = Instant::now();
        let cached_tokens = cache.len();
        let embeddings = plm
            .model()
            .embed(prompt, features, cached_tokens, plm.device())?;
        let next =
            plm.extend_for_next(embeddings.unsqueeze(), &mut cache, reply.takes_greatest())?;
        timing.prefill = start.elapsed();
        Ok(Self {
            plm,
            reply,
            cache,
            sequence,
            next: next.into_iter().next(),
            cached_tokens,
            timing,
            failed: false,
        })
    }

    /// Generates what is left and returns the whole answer.
    ///
    /// # Errors
    ///
    /// What a step of the stream can fail with.
    pub fn into_answer(mut self) -> Result<Answer, Error> {
        for piece in self.by_ref() {
            piece?;
        }
        Ok(self.answer())
    }

    /// What has been generated so far.
    pub fn answer(&self) -> Answer {
        self.reply.to_answer(self.timing, self.cached_tokens)
    }

    /// Prompt and generated tokens.
    pub(crate) fn ids(&self) -> &[u32] {
        self.reply.ids()
    }

    /// The cache, which the stream needs no more.
    pub(crate) fn take_cache(&mut self) -> KvCache {
        std::mem::replace(&mut self.cache, self.plm.model().language_model.new_cache())
    }

    fn step(&mut self) -> Result<String, Error> {
        let start = Instant::now();
        let next = match self.next.take() {
            Some(next) => next,
            None => {
                let last = self.reply.ids()[self.reply.ids().len() - 1];
                let embedding = self.plm.embed_tokens(&[last])?;
                let greatest = self.reply.takes_greatest();
                let next = self
                    .plm
                    .extend_for_next(embedding, &mut self.cache, greatest)?;
                next.into_iter().next().unwrap_or(Next::Greatest(None))
            }
        };
        let (_, text) = self.reply.push(next)?;
        self.timing.decode += start.elapsed();
        Ok(text)
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        if let Some(sequence) = self.sequence.take()
            && !self.failed
        {
            let sequence = sequence.extended(self.ids());
            let cache = self.take_cache();
            self.plm.keep(sequence, cache);
        }
    }
}

impl Iterator for Stream<'_> {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.reply.is_finished() && !self.failed {
            match self.step() {
                Ok(text) if text.is_empty() => {}
                Ok(text) => return Some(Ok(text)),
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
