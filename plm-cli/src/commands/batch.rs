use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use plm::{PerceptionLM, Prompt};

use crate::conversations::BatchSource;
use crate::error::Error;
use crate::report::AnswerReport;
use crate::request::GenerateRequest;
use crate::{output, progress};

/// Most conversations that are answered at once.
const MAX_GROUP: usize = 8;

/// Most tokens of the prompts that are answered at once, padding included; a longer prompt is
/// answered alone. It bounds what padding wastes and what the KV cache takes.
const MAX_GROUP_TOKENS: usize = 8192;

pub(crate) fn run(request: &GenerateRequest, source: &BatchSource) -> Result<(), Error> {
    let lines = source.lines()?;
    // A bad line is told of before hours have gone into the lines above it. Decoding the pictures
    // twice costs nothing next to an answer, holding all of them would cost memory.
    for line in &lines {
        line.conversation()?;
    }
    let plm = request.model.load()?;
    let bar = progress::count("answering", lines.len());
    let mut group = Group::default();
    let mut warned = false;
    let mut flush = |group: &mut Group| {
        let answers = plm.generate_batch(&group.prompts, &request.decoding)?;
        if !std::mem::replace(&mut warned, true) {
            request.model.source.warn_of_random_weights();
        }
        for (answer, &preprocess) in answers.iter().zip(&group.preprocess) {
            bar.suspend(|| {
                output::json(&AnswerReport::new(&request.model, &plm, answer, preprocess))
            })?;
            bar.inc(1);
        }
        *group = Group::default();
        Ok::<(), Error>(())
    };
    for line in &lines {
        let conversation = line.conversation()?;
        let (prompt, preprocess) = encode(&plm, &conversation).map_err(|e| e.at(&line.place))?;
        if !group.has_room_for(prompt.token_ids.len()) {
            flush(&mut group)?;
        }
        group.push(prompt, preprocess);
    }
    flush(&mut group)?;
    ProgressBar::finish_and_clear(&bar);
    Ok(())
}

fn encode(
    plm: &PerceptionLM,
    conversation: &plm::Conversation,
) -> Result<(Prompt, Duration), Error> {
    let start = Instant::now();
    let prompt = plm.encode(conversation)?;
    Ok((prompt, start.elapsed()))
}

/// Prompts that are answered at once.
#[derive(Default)]
struct Group {
    prompts: Vec<Prompt>,
    preprocess: Vec<Duration>,
    longest: usize,
}

impl Group {
    fn has_room_for(&self, tokens: usize) -> bool {
        fits(self.prompts.len(), self.longest, tokens)
    }

    fn push(&mut self, prompt: Prompt, preprocess: Duration) {
        self.longest = self.longest.max(prompt.token_ids.len());
        self.prompts.push(prompt);
        self.preprocess.push(preprocess);
    }
}

/// Whether `count` prompts, the longest of `longest` tokens, may be joined by one of `tokens`.
fn fits(count: usize, longest: usize, tokens: usize) -> bool {
    count == 0 || (count < MAX_GROUP && (count + 1) * longest.max(tokens) <= MAX_GROUP_TOKENS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_bounded_in_number_and_tokens() {
        assert!(fits(0, 0, 20_000), "a long prompt is answered alone");
        assert!(!fits(1, 20_000, 10), "and nothing joins it");
        assert!(fits(MAX_GROUP - 1, 10, 10));
        assert!(!fits(MAX_GROUP, 10, 10));
        assert!(fits(1, 10, MAX_GROUP_TOKENS / 2));
        assert!(!fits(1, 10, MAX_GROUP_TOKENS / 2 + 1));
    }
}
