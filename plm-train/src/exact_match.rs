use std::collections::BTreeMap;
use std::path::Path;

use plm::{Conversation, Decoding, EncodeOptions, FrameRule, PerceptionLM, Role, VisionInputType};
use serde::Serialize;

use crate::Error;
use crate::evaluation::text_of;
use crate::rows::{RowFile, explain};

/// How questions are asked.
#[derive(Debug, Clone, PartialEq)]
pub struct ExactMatchOptions {
    /// Which frames of a video are shown.
    pub frame_rule: FrameRule,
    /// How pictures are cut, and how many tiles they may have.
    pub encoding: EncodeOptions,
    /// Most tokens of an answer.
    pub max_new_tokens: usize,
    /// Samples that are asked about, from the first on; all if not given.
    pub limit: Option<usize>,
}

impl Default for ExactMatchOptions {
    /// All samples, frames by Meta's rule, answers of at most 64 tokens.
    fn default() -> Self {
        Self {
            frame_rule: FrameRule::Meta {
                max_frames: plm::META_MAX_FRAMES,
            },
            encoding: EncodeOptions::default(),
            max_new_tokens: 64,
            limit: None,
        }
    }
}

/// A question, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answered {
    /// The file's line, from 1.
    pub line: usize,
    /// The sample's `category`, if it has one.
    pub category: Option<String>,
    /// The question.
    pub question: String,
    /// The file's answer.
    pub expected: String,
    /// The model's.
    pub answer: String,
}

impl Answered {
    /// Whether both answers are the same, but for spaces around them.
    pub fn is_right(&self) -> bool {
        self.answer.trim() == self.expected.trim()
    }
}

/// How many questions were answered as the file says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Questions.
    pub questions: usize,
    /// Right answers.
    pub right: usize,
}

impl Tally {
    /// The part that is right; 0 of nothing.
    pub fn share(&self) -> f64 {
        self.right as f64 / (self.questions as f64).max(1.0)
    }

    fn count(&mut self, right: bool) {
        self.questions += 1;
        self.right += usize::from(right);
    }
}

/// What [`exact_match`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ExactMatch {
    /// Of all questions.
    pub total: Tally,
    /// Of those with a `category`.
    pub categories: BTreeMap<String, Tally>,
}

/// Asks the questions of a file in Meta's JSONL and compares the answers with the file's. Every human
/// turn that is answered is a question; it is asked after the file's earlier turns. Media are in
/// `root_dir`, or in the file's folder.
///
/// # Errors
///
/// [`Error::Read`] or [`Error::Row`] for the file and what it names; the model's error when a prompt
/// does not fit it.
pub fn exact_match(
    plm: &PerceptionLM,
    file: impl AsRef<Path>,
    root_dir: Option<&Path>,
    options: &ExactMatchOptions,
    mut observe: impl FnMut(&Answered, usize),
) -> Result<ExactMatch, Error> {
    let file = RowFile::open(file.as_ref(), root_dir)?;
    let rows = options.limit.unwrap_or(usize::MAX).min(file.len());
    let decoding = Decoding {
        max_new_tokens: options.max_new_tokens,
        ..Decoding::default()
    };
    let mut found = ExactMatch::default();
    for index in 0..rows {
        let whole = file.conversation(index, options.frame_rule)?;
        let category = file.category(index)?;
        let mut encoding = options.encoding.clone();
        if whole.media().count() > 1 {
            encoding.vision_input_type = Some(VisionInputType::Vanilla);
        }
        for (at, message) in whole.messages.iter().enumerate().skip(1) {
            if message.role != Role::Assistant {
                continue;
            }
            let question = Conversation {
                messages: whole.messages[..at].to_vec(),
                ..whole.clone()
            };
            let answer = plm
                .encode_with(&question, &encoding)
                .and_then(|prompt| plm.generate_prompt(&prompt, &decoding))
                .map_err(|cause| file.error(index, explain(cause)))?;
            let answered = Answered {
                line: file.line(index),
                category: category.clone(),
                question: text_of(&whole.messages[at - 1]),
                expected: text_of(message),
                answer: answer.text,
            };
            let right = answered.is_right();
            found.total.count(right);
            if let Some(category) = &category {
                found
                    .categories
                    .entry(category.clone())
                    .or_default()
                    .count(right);
            }
            observe(&answered, rows);
        }
    }
    Ok(found)
}
