use plm_llm::Sampler;
use plm_processor::{Prompt, TextStream};

use crate::forward::Next;
use crate::stop::StopStrings;
use crate::{Answer, Decoding, Error, Finish, PerceptionLM, Timing, Usage};

/// One answer in the making: the tokens so far, and everything that decides about the next.
///
/// It knows token ids and what a step tells of the next only, so that a stream, a batch and a session share it.
pub(crate) struct Reply<'a> {
    /// Prompt and generated tokens.
    ids: Vec<u32>,
    prompt_tokens: usize,
    media_tiles: Vec<usize>,
    max_new_tokens: usize,
    stop_ids: Vec<u32>,
    sampler: Sampler,
    pieces: TextStream<'a>,
    stop_strings: StopStrings,
    text: String,
    finish: Option<Finish>,
}

impl<'a> Reply<'a> {
    pub(crate) fn new(
        plm: &'a PerceptionLM,
        prompt: &Prompt,
        decoding: &Decoding,
    ) -> Result<Self, Error> {
        decoding.check()?;
        Ok(Self {
            ids: prompt.token_ids.clone(),
            prompt_tokens: prompt.token_ids.len(),
            media_tiles: prompt.media.iter().map(|m| m.tiles.len()).collect(),
            max_new_tokens: plm.room_for_answer(prompt, decoding.max_new_tokens)?,
            stop_ids: plm.stop_ids(decoding),
            sampler: Sampler::new(decoding.penalties, decoding.sampling, decoding.seed)?,
            pieces: plm.processor().tokenizer().stream(true),
            stop_strings: StopStrings::new(&decoding.stop_strings),
            text: String::new(),
            finish: None,
        })
    }

    /// Chooses the next token and returns it with the text that became certain.
    pub(crate) fn push(&mut self, next: Next) -> Result<(u32, String), Error> {
        let id = match next {
            Next::Logits(logits) => self.sampler.next(logits, &self.ids)?,
            Next::Greatest(id) => id.ok_or(plm_llm::Error::NotFinite)?,
        };
        self.ids.push(id);
        let mut emitted = self.stop_strings.push(&piece_of(&mut self.pieces, id)?);
        if emitted.stopped || self.stop_ids.contains(&id) {
            self.finish = Some(Finish::Stop);
        } else if self.generated().len() >= self.max_new_tokens {
            self.finish = Some(Finish::Length);
        }
        if self.finish.is_some() && !emitted.stopped {
            let rest = self.stop_strings.push(&self.pieces.clone().finish());
            emitted.text.push_str(&rest.text);
            if rest.stopped {
                self.finish = Some(Finish::Stop);
            } else {
                emitted.text.push_str(&self.stop_strings.finish());
            }
        }
        self.text.push_str(&emitted.text);
        Ok((id, emitted.text))
    }

    /// Whether [`Next::Greatest`] is all that it needs.
    pub(crate) fn takes_greatest(&self) -> bool {
        self.sampler.takes_greatest()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Prompt and generated tokens.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    fn generated(&self) -> &[u32] {
        &self.ids[self.prompt_tokens..]
    }

    pub(crate) fn to_answer(&self, timing: Timing, cached_tokens: usize) -> Answer {
        Answer {
            text: self.text.clone(),
            token_ids: self.generated().to_vec(),
            finish: self.finish.unwrap_or(Finish::Length),
            usage: Usage {
                prompt_tokens: self.prompt_tokens,
                cached_tokens,
                media_tiles: self.media_tiles.clone(),
            },
            timing,
        }
    }
}

/// The text of the next token. An id that the tokenizer gives no text, as a model whose vocabulary
/// is padded may choose, adds none.
fn piece_of(pieces: &mut TextStream<'_>, id: u32) -> Result<String, Error> {
    match pieces.push(id) {
        Err(plm_processor::Error::TokenId { .. }) => Ok(String::new()),
        piece => Ok(piece?),
    }
}

/// The text of generated tokens.
pub(crate) fn text_of(plm: &PerceptionLM, ids: &[u32]) -> Result<String, Error> {
    let mut pieces = plm.processor().tokenizer().stream(true);
    let mut text = String::new();
    for &id in ids {
        text.push_str(&piece_of(&mut pieces, id)?);
    }
    Ok(text + &pieces.finish())
}
