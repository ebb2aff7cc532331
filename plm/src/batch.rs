use std::time::Instant;

use burn::tensor::{DType, Tensor};
use plm_processor::Prompt;

use crate::reply::Reply;
use crate::{Answer, Decoding, Error, PerceptionLM, Timing};

impl PerceptionLM {
    /// Answers several prompts at once, each as if it were alone.
    ///
    /// Shorter prompts are padded on the left; padding is masked and takes no position. Answers
    /// that end leave the batch. The times of an answer are the whole batch's.
    ///
    /// # Errors
    ///
    /// As [`generate`](Self::generate), for any of the prompts.
    pub fn generate_batch(
        &self,
        prompts: &[Prompt],
        decoding: &Decoding,
    ) -> Result<Vec<Answer>, Error> {
        if prompts.is_empty() {
            return Ok(Vec::new());
        }
        if decoding.num_beams > 1 {
            return prompts
                .iter()
                .map(|prompt| self.generate_prompt(prompt, decoding))
                .collect();
        }
        let mut replies: Vec<Reply<'_>> = prompts
            .iter()
            .map(|prompt| Reply::new(self, prompt, decoding))
            .collect::<Result<_, _>>()?;
        let mut timing = Timing::default();

        let start = Instant::now();
        let embedded: Vec<Tensor<2>> = prompts
            .iter()
            .map(|prompt| self.embed(prompt))
            .collect::<Result<_, _>>()?;
        timing.vision = start.elapsed();

        let start = Instant::now();
        let longest = prompts.iter().map(|p| p.token_ids.len()).max().unwrap_or(0);
        let padding: Vec<usize> = prompts
            .iter()
            .map(|p| longest - p.token_ids.len())
            .collect();
        let padded = embedded.into_iter().zip(&padding).map(|(x, &padding)| {
            let pad = Tensor::zeros([padding, x.dims()[1]], (self.device(), DType::F32));
            match padding {
                0 => x,
                _ => Tensor::cat(vec![pad, x], 0),
            }
        });
        let embeddings = Tensor::stack(padded.collect(), 0);
        let mut cache = self.model().language_model.new_padded_cache(padding);
        let greatest = replies.iter().all(Reply::takes_greatest);
        let mut next = self.extend_for_next(embeddings, &mut cache, greatest)?;
        timing.prefill = start.elapsed();

        let start = Instant::now();
        let mut active: Vec<usize> = (0..replies.len()).collect();
        loop {
            let mut tokens = Vec::new();
            let mut rows = Vec::new();
            let mut going_on = Vec::new();
            for (row, (&index, next)) in active.iter().zip(next).enumerate() {
                let (id, _) = replies[index].push(next)?;
                if !replies[index].is_finished() {
                    tokens.push(id);
                    rows.push(row);
                    going_on.push(index);
                }
            }
            if going_on.is_empty() {
                break;
            }
            if going_on.len() < active.len() {
                cache.select(&rows);
            }
            active = going_on;
            next = self.extend_for_next(self.embed_tokens(&tokens)?, &mut cache, greatest)?;
        }
        timing.decode = start.elapsed();
        Ok(replies
            .iter()
            .map(|reply| reply.to_answer(timing, 0))
            .collect())
    }
}
