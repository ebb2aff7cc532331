use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use plm::{PerceptionLM, Prompt};

use crate::conversations::{BatchLine, BatchSource};
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
    check(request, &lines)?;
    let plm = request.model.load()?;
    let bar = progress::count("answering", lines.len());
    let mut warned = false;
    let answer = |group: Vec<Asked>| {
        let (prompts, preprocess): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let answers = plm.generate_batch(&prompts, &request.decoding)?;
        if !std::mem::replace(&mut warned, true) {
            request.model.source.note_embedded_model();
        }
        for (answer, preprocess) in answers.iter().zip(preprocess) {
            bar.suspend(|| output::json(&AnswerReport::new(&plm, answer, preprocess)))?;
            bar.inc(1);
        }
        Ok(())
    };
    let asked = lines.iter().map(|line| {
        let conversation = line.conversation()?;
        encode(request, &plm, &conversation).map_err(|error| error.at(&line.place))
    });
    let done = in_groups(asked, |(prompt, _)| prompt.token_ids.len(), answer);
    ProgressBar::finish_and_clear(&bar);
    done
}

/// Refuses a bad line before weights are loaded and hours have gone into the lines above it.
///
/// Decoding the pictures twice costs nothing next to an answer, holding all of them would cost
/// memory.
fn check(request: &GenerateRequest, lines: &[BatchLine]) -> Result<(), Error> {
    let checkpoint = request.model.source.checkpoint()?;
    for line in lines {
        let conversation = line.conversation()?;
        let max_new_tokens = request.decoding.max_new_tokens;
        let encoding = request
            .model
            .encoding(&checkpoint, &conversation, max_new_tokens)
            .map_err(|error| error.at(&line.place))?;
        let size = checkpoint
            .processor
            .measure(&conversation, &encoding)
            .map_err(|error| Error::from(error).at(&line.place))?;
        let fits = checkpoint.config.check_size(&size);
        fits.map_err(|error| Error::from(error).at(&line.place))?;
    }
    Ok(())
}

/// A prompt, and the time that it took to encode it.
type Asked = (Prompt, Duration);

fn encode(
    request: &GenerateRequest,
    plm: &PerceptionLM,
    conversation: &plm::Conversation,
) -> Result<Asked, Error> {
    let start = Instant::now();
    let max_new_tokens = request.decoding.max_new_tokens;
    let prompt = request.model.encode(plm, conversation, max_new_tokens)?;
    Ok((prompt, start.elapsed()))
}

/// Answers items in groups that are small enough; before an item's error is returned, those above
/// it are answered.
fn in_groups<T>(
    items: impl Iterator<Item = Result<T, Error>>,
    tokens: impl Fn(&T) -> usize,
    mut answer: impl FnMut(Vec<T>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut group = Vec::new();
    let mut longest = 0;
    let mut failed = None;
    for item in items {
        let item = match item {
            Ok(item) => item,
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        let tokens = tokens(&item);
        if !fits(group.len(), longest, tokens) {
            answer(std::mem::take(&mut group))?;
            longest = 0;
        }
        longest = longest.max(tokens);
        group.push(item);
    }
    if !group.is_empty() {
        answer(group)?;
    }
    failed.map_or(Ok(()), Err)
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

    #[test]
    fn what_was_asked_before_an_error_is_answered() {
        let lengths = [10, 20, MAX_GROUP_TOKENS, 30, 40];
        let mut answered = Vec::new();
        let items = lengths.into_iter().map(Ok);
        let failing = items.chain([Err(Error::usage("bad line")), Ok(50)]);
        let done = in_groups(
            failing,
            |&tokens| tokens,
            |group| {
                answered.push(group);
                Ok(())
            },
        );
        assert!(matches!(done, Err(Error::Usage { .. })));
        assert_eq!(
            answered,
            [vec![10, 20], vec![MAX_GROUP_TOKENS], vec![30, 40]]
        );
        let first = std::iter::once(Err::<usize, _>(Error::usage("bad line")));
        let done = in_groups(first, |&tokens| tokens, |_| panic!("nothing was asked"));
        assert!(done.is_err());
    }
}
