use std::time::Instant;

use plm::{Decoding, PerceptionLM, Prompt};

use super::{batch, estimate};
use crate::args::GenerateArgs;
use crate::conversations::ConversationSource;
use crate::error::Error;
use crate::report::AnswerReport;
use crate::request::{GenerateRequest, Questions, Wanted};
use crate::{output, progress};

pub(crate) fn run(args: GenerateArgs) -> Result<(), Error> {
    let request = GenerateRequest::check(args)?;
    match (&request.questions, request.wanted) {
        (_, Wanted::Estimate) => estimate::run(&request, false),
        (_, Wanted::EstimateJson) => estimate::run(&request, true),
        (Questions::Batch(source), _) => batch::run(&request, source),
        (Questions::One(source), wanted) => answer(&request, source, wanted),
    }
}

fn answer(
    request: &GenerateRequest,
    source: &ConversationSource,
    wanted: Wanted,
) -> Result<(), Error> {
    let conversation = source.read()?;
    let plm = request.model.load()?;
    let start = Instant::now();
    let prompt = request
        .model
        .encode(&plm, &conversation, request.decoding.max_new_tokens);
    let prompt = prompt.map_err(|e| source.blame(e))?;
    let preprocess = start.elapsed();
    if wanted == Wanted::Stream {
        return stream(request, source, &plm, &prompt);
    }
    let busy = progress::busy(&work(&prompt));
    let answer = plm.generate_prompt(&prompt, &request.decoding);
    busy.finish_and_clear();
    let answer = answer.map_err(|e| source.blame(e))?;
    // After everything that can fail, so that an error stands alone.
    request.model.source.note_embedded_model();
    match wanted {
        Wanted::Json => output::json(&AnswerReport::new(&plm, &answer, preprocess)),
        _ => output::line(&answer.text),
    }
}

fn stream(
    request: &GenerateRequest,
    source: &ConversationSource,
    plm: &PerceptionLM,
    prompt: &Prompt,
) -> Result<(), Error> {
    let pieces = started(plm, prompt, &request.decoding).map_err(|e| source.blame(e))?;
    request.model.source.note_embedded_model();
    for piece in pieces {
        output::piece(&piece.map_err(|e| source.blame(e))?)?;
    }
    output::line("")
}

fn started<'a>(
    plm: &'a PerceptionLM,
    prompt: &Prompt,
    decoding: &Decoding,
) -> Result<plm::Stream<'a>, Error> {
    let busy = progress::busy(&work(prompt));
    let stream = plm.stream_prompt(prompt, decoding);
    busy.finish_and_clear();
    Ok(stream?)
}

/// What a prompt costs in a few words.
pub(super) fn work(prompt: &Prompt) -> String {
    let tokens = prompt.token_ids.len();
    match prompt.media.iter().map(|media| media.tiles.len()).sum() {
        0 => format!("reading {tokens} tokens"),
        1 => format!("looking at 1 tile, reading {tokens} tokens"),
        tiles => format!("looking at {tiles} tiles, reading {tokens} tokens"),
    }
}
