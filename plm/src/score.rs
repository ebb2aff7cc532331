use plm_llm::{argmax, log_softmax};
use plm_processor::{Prompt, SpecialTokens};

use crate::{Error, PerceptionLM};

/// How likely a model finds a given answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Natural logarithm of the probability of all tokens.
    pub log_likelihood: f64,
    /// Whether every token is the most likely one, so that greedy decoding would begin with this
    /// answer.
    pub is_greedy: bool,
    /// The tokens of the answer.
    pub token_ids: Vec<u32>,
    /// Natural logarithm of each token's probability, given all before it.
    pub token_log_probs: Vec<f32>,
}

impl PerceptionLM {
    /// Log-likelihood of `continuation` after a prompt.
    ///
    /// The continuation is tokenised on its own, special tokens being plain text.
    ///
    /// # Errors
    ///
    /// [`Error::Decoding`] when the continuation is empty; [`Error::PromptTooLong`] or the
    /// decoder's error when prompt and continuation exceed the model's positions.
    pub fn score(&self, prompt: &Prompt, continuation: &str) -> Result<Score, Error> {
        let tokenizer = self.processor().tokenizer();
        let ids = tokenizer.encode(continuation, SpecialTokens::AsText)?;
        self.score_tokens(prompt, &ids)
    }

    /// Log-likelihood of given tokens after a prompt.
    ///
    /// # Errors
    ///
    /// As [`score`](Self::score).
    pub fn score_tokens(&self, prompt: &Prompt, token_ids: &[u32]) -> Result<Score, Error> {
        let Some((_, fed)) = token_ids.split_last() else {
            return Err(Error::Decoding {
                what: "the continuation is empty; there is nothing to score".into(),
            });
        };
        self.check_prompt(prompt)?;
        let decoder = &self.model().language_model;
        let mut cache = decoder.new_cache();
        decoder.check_room(&cache, prompt.token_ids.len() + fed.len())?;

        // Only positions from the prompt's last token on are asked for logits, one at a time.
        let mut score = Score {
            log_likelihood: 0.0,
            is_greedy: true,
            token_ids: token_ids.to_vec(),
            token_log_probs: Vec::with_capacity(token_ids.len()),
        };
        let mut rows = self.extend_for_logits(self.embed(prompt)?.unsqueeze(), &mut cache)?;
        score.add(&rows[0], token_ids[0])?;
        if !fed.is_empty() {
            let embeddings = decoder.embed(fed, self.device())?.unsqueeze();
            let hidden = decoder.extend(embeddings, &mut cache)?;
            for (position, &id) in token_ids[1..].iter().enumerate() {
                rows = self.logit_rows(hidden.clone().narrow(1, position, 1))?;
                score.add(&rows[0], id)?;
            }
        }
        Ok(score)
    }
}

impl Score {
    /// Adds a token, given the logits before it.
    fn add(&mut self, logits: &[f32], id: u32) -> Result<(), Error> {
        let log_probs = log_softmax(logits);
        let Some(&log_prob) = log_probs.get(id as usize) else {
            return Err(plm_llm::Error::TokenOutOfRange {
                id,
                vocab_size: logits.len(),
            }
            .into());
        };
        if log_prob.is_nan() {
            return Err(plm_llm::Error::NotFinite.into());
        }
        self.log_likelihood += f64::from(log_prob);
        self.is_greedy &= argmax(logits) == id;
        self.token_log_probs.push(log_prob);
        Ok(())
    }
}
