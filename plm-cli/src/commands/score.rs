use serde::Serialize;

use super::generate::work;
use crate::args::ScoreArgs;
use crate::error::Error;
use crate::request::{ModelRequest, conversation, conversation_encoding};
use crate::{output, progress};

#[derive(Debug, Serialize)]
struct Report {
    log_likelihood: f64,
    is_greedy: bool,
    token_ids: Vec<u32>,
    token_log_probs: Vec<f32>,
    prompt_tokens: usize,
}

pub(crate) fn run(args: ScoreArgs) -> Result<(), Error> {
    if args.continuation.is_empty() {
        return Err(Error::usage(
            "--continuation is empty; there is nothing to score",
        ));
    }
    let encoding = conversation_encoding(&args.conversation);
    let fit = args.conversation.fit;
    let source = conversation(args.conversation)?;
    let model = ModelRequest::check(args.run, encoding)?.fitting(fit);

    let conversation = source.read()?;
    let plm = model.load()?;
    let prompt = model.encode(&plm, &conversation, args.continuation.len());
    let prompt = prompt.map_err(|e| source.blame(e))?;
    let busy = progress::busy(&work(&prompt));
    let score = plm.score(&prompt, &args.continuation);
    busy.finish_and_clear();
    let score = score.map_err(|e| source.blame(e))?;
    model.source.note_embedded_model();
    let report = Report {
        log_likelihood: score.log_likelihood,
        is_greedy: score.is_greedy,
        token_ids: score.token_ids,
        token_log_probs: score.token_log_probs,
        prompt_tokens: prompt.token_ids.len(),
    };
    if args.json {
        return output::json(&report);
    }
    output::line(&format!(
        "log-likelihood {} over {} tokens; {}",
        report.log_likelihood,
        report.token_ids.len(),
        if report.is_greedy {
            "greedy decoding begins with it"
        } else {
            "greedy decoding begins otherwise"
        }
    ))
}
