use std::time::Duration;

use plm::{Answer, Finish, PerceptionLM};
use serde::Serialize;

use crate::memory::peak_rss_bytes;

/// An answer with everything about it, as it is printed for programs.
#[derive(Debug, Serialize)]
pub(crate) struct AnswerReport<'a> {
    text: &'a str,
    token_ids: &'a [u32],
    finish: &'static str,
    prompt_tokens: usize,
    media_tiles: &'a [usize],
    timing: TimingReport,
    peak_rss_bytes: Option<u64>,
    device: String,
    dtype: &'static str,
}

/// Seconds of each stage.
#[derive(Debug, Serialize)]
struct TimingReport {
    load_s: f64,
    preprocess_s: f64,
    vision_s: f64,
    prefill_s: f64,
    decode_s: f64,
    decode_tokens_per_s: Option<f64>,
}

impl<'a> AnswerReport<'a> {
    /// Puts a model's answer, whose preprocessing took `preprocess`, into its printed form.
    pub(crate) fn new(plm: &PerceptionLM, answer: &'a Answer, preprocess: Duration) -> Self {
        let timing = &answer.timing;
        Self {
            text: &answer.text,
            token_ids: &answer.token_ids,
            finish: match answer.finish {
                Finish::Stop => "stop",
                Finish::Length => "length",
            },
            prompt_tokens: answer.usage.prompt_tokens,
            media_tiles: &answer.usage.media_tiles,
            timing: TimingReport {
                load_s: plm.load_time().as_secs_f64(),
                preprocess_s: preprocess.as_secs_f64(),
                vision_s: timing.vision.as_secs_f64(),
                prefill_s: timing.prefill.as_secs_f64(),
                decode_s: timing.decode.as_secs_f64(),
                decode_tokens_per_s: answer.decode_tokens_per_second(),
            },
            peak_rss_bytes: peak_rss_bytes(),
            device: plm.device_choice().to_string(),
            dtype: plm.format_name(),
        }
    }
}
