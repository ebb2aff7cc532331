use plm::{FrameRule, META_MAX_FRAMES};
use plm_train::{ExactMatchOptions, Tally, exact_match};

use crate::args::EvalArgs;
use crate::error::Error;
use crate::request::{ModelRequest, encoding};
use crate::{output, progress};

pub(crate) fn run(args: EvalArgs) -> Result<(), Error> {
    let encoding = encoding(&args.tiles, false);
    let frame_rule = match (args.tiles.num_frames, args.tiles.fps) {
        (Some(count), _) => FrameRule::NumFrames(count.get()),
        (None, Some(fps)) => FrameRule::Fps(fps),
        (None, None) => FrameRule::Meta {
            max_frames: META_MAX_FRAMES,
        },
    };
    let options = ExactMatchOptions {
        frame_rule,
        encoding: encoding.clone(),
        max_new_tokens: args.max_new_tokens,
        limit: args.limit,
    };
    let request = ModelRequest::check(args.run, encoding)?;
    let plm = request.load()?;
    let bar = progress::count("samples", 0);
    let mut line = None;
    let root = args.media_root.as_deref();
    let found = exact_match(&plm, &args.data, root, &options, |answered, samples| {
        bar.set_length(samples as u64);
        if line.replace(answered.line) != Some(answered.line) {
            bar.inc(1);
        }
        if args.wrong && !answered.is_right() {
            bar.suspend(|| {
                output::note(&format!(
                    "line {}: {}\n  {}\n  ({})",
                    answered.line,
                    answered.question.trim(),
                    answered.answer.trim(),
                    answered.expected.trim(),
                ));
            });
        }
    });
    bar.finish_and_clear();
    let found = found?;
    if args.json {
        return output::json(&found);
    }
    let row = |name: &str, tally: &Tally| {
        output::line(&format!(
            "{name:<20} {:>6} of {:>6}  {:>6.1} %",
            tally.right,
            tally.questions,
            100.0 * tally.share(),
        ))
    };
    for (name, tally) in &found.categories {
        row(name, tally)?;
    }
    row("all", &found.total)
}
