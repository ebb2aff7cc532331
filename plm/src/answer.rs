use std::time::Duration;

/// What a model said.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The text, without special tokens and without a stop string.
    pub text: String,
    /// Every token that was generated, the one that ended the answer included.
    pub token_ids: Vec<u32>,
    /// Why the answer ended.
    pub finish: Finish,
    /// What went in.
    pub usage: Usage,
    /// Where the time went.
    pub timing: Timing,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// A stop token or a stop string.
    Stop,
    /// `max_new_tokens`, or the model's last position.
    Length,
}

/// What a prompt consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt, image tokens included.
    pub prompt_tokens: usize,
    /// Prompt tokens whose keys and values were at hand from an earlier turn.
    pub cached_tokens: usize,
    /// Tiles of each picture, in the prompt's order.
    pub media_tiles: Vec<usize>,
}

/// Where the time of an answer went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timing {
    /// Cutting tiles and tokenising; zero where a ready prompt was given.
    pub preprocess: Duration,
    /// Vision tower and projector.
    pub vision: Duration,
    /// Reading the prompt, up to the first token's logits.
    pub prefill: Duration,
    /// Everything after the first token's logits.
    pub decode: Duration,
}

impl Answer {
    /// Generated tokens per second after the first, if there was more than one.
    pub fn decode_tokens_per_second(&self) -> Option<f64> {
        let steps = self.token_ids.len().checked_sub(1).filter(|&n| n > 0)?;
        let seconds = self.timing.decode.as_secs_f64();
        (seconds > 0.0).then(|| steps as f64 / seconds)
    }
}
