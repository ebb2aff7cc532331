use std::time::Instant;

use plm_llm::{BeamSearch, log_softmax};
use plm_processor::Prompt;

use crate::reply::text_of;
use crate::stop::StopStrings;
use crate::{Answer, Decoding, Error, Finish, PerceptionLM, Timing, Usage};

impl PerceptionLM {
    /// Answers a prompt by beam search.
    pub(crate) fn generate_beams(
        &self,
        prompt: &Prompt,
        decoding: &Decoding,
    ) -> Result<Answer, Error> {
        decoding.check()?;
        let stop_ids = self.stop_ids(decoding);
        let max_new_tokens = self.room_for_answer(prompt, decoding.max_new_tokens)?;
        let mut search = BeamSearch::new(decoding.beams(max_new_tokens, stop_ids.len()))?;
        let stops = |ids: &[u32]| {
            ids.last().is_some_and(|id| stop_ids.contains(id))
                || self.holds_stop_string(ids, &decoding.stop_strings)
        };
        let mut timing = Timing::default();

        let start = Instant::now();
        let embeddings = self.embed(prompt)?;
        timing.vision = start.elapsed();

        let start = Instant::now();
        let mut cache = self.model().language_model.new_cache();
        let first = self.extend_for_logits(embeddings.unsqueeze(), &mut cache)?;
        let mut logits = vec![first.into_iter().next().unwrap_or_default(); decoding.num_beams];
        let mut parents_of_rows = vec![0; decoding.num_beams];
        timing.prefill = start.elapsed();

        let start = Instant::now();
        loop {
            let log_probs: Vec<Vec<f32>> = search
                .running()
                .zip(&logits)
                .map(|(generated, logits)| {
                    let mut log_probs = log_softmax(logits);
                    let ids = [&prompt.token_ids, generated].concat();
                    decoding.penalties.apply(&mut log_probs, &ids);
                    log_probs
                })
                .collect();
            let Some(step) = search.advance(&log_probs, stops)? else {
                break;
            };
            let rows: Vec<usize> = step.parents.iter().map(|&p| parents_of_rows[p]).collect();
            cache.select(&rows);
            // From here on, beam `i` is row `i` of the cache; before, all were row 0.
            parents_of_rows = (0..decoding.num_beams).collect();
            logits = self.extend_for_logits(self.embed_tokens(&step.tokens)?, &mut cache)?;
        }
        timing.decode = start.elapsed();

        let token_ids = search.into_best();
        let ended = stops(&token_ids);
        let mut stop_strings = StopStrings::new(&decoding.stop_strings);
        let emitted = stop_strings.push(&text_of(self, &token_ids)?);
        Ok(Answer {
            text: emitted.text + &stop_strings.finish(),
            token_ids,
            finish: if ended { Finish::Stop } else { Finish::Length },
            usage: Usage {
                prompt_tokens: prompt.token_ids.len(),
                cached_tokens: 0,
                media_tiles: prompt.media.iter().map(|m| m.tiles.len()).collect(),
            },
            timing,
        })
    }

    fn holds_stop_string(&self, ids: &[u32], strings: &[String]) -> bool {
        if strings.is_empty() {
            return false;
        }
        text_of(self, ids).is_ok_and(|text| strings.iter().any(|s| text.contains(s)))
    }
}
