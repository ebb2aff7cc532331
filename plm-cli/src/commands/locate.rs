use plm::FramePosition;
use plm::regions::{EventLocation, Interval, Parsed};
use serde::Serialize;

use super::asking::{Asked, AskedReport, IntervalReport, ShownReport, open_clip, told};
use crate::args::LocateArgs;
use crate::error::{Error, one_line};
use crate::output;
use crate::request::{ModelRequest, decoding, encoding};

#[derive(Debug, Serialize)]
struct Report<'a> {
    understood: bool,
    intervals: Vec<IntervalReport>,
    misread: Vec<String>,
    #[serde(flatten)]
    shown: ShownReport,
    #[serde(flatten)]
    asked: AskedReport<'a>,
}

pub(crate) fn run(args: LocateArgs) -> Result<(), Error> {
    let decoding = decoding(args.decoding)?;
    let model = ModelRequest::check(args.run, encoding(&args.tiles, false))?;

    let question = EventLocation {
        clip: open_clip(&args.clip.video, &args.clip.marks, &args.tiles)?,
        event: args.event,
    };
    let asked = Asked::of(&model, &question.conversation(), &decoding)?;
    let parsed = question.read(&asked.answer.text);
    let shown = question.clip.shown();
    model.source.note_embedded_model();
    if args.json {
        return output::json(&Report {
            understood: !parsed.found.is_empty(),
            intervals: reports(&parsed, shown),
            misread: parsed.misread.iter().map(|m| one_line(m)).collect(),
            shown: ShownReport::new(shown),
            asked: asked.report(),
        });
    }
    output::piece(&table(&parsed, shown))
}

fn reports(parsed: &Parsed<Interval>, shown: &[FramePosition]) -> Vec<IntervalReport> {
    let found = parsed.found.iter();
    found
        .filter_map(|interval| IntervalReport::new(*interval, shown))
        .collect()
}

fn table(parsed: &Parsed<Interval>, shown: &[FramePosition]) -> String {
    let intervals = reports(parsed, shown);
    let intervals = intervals.iter().map(IntervalReport::in_words);
    told(Some(&parsed.text), intervals, &parsed.misread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_told_in_seconds() {
        let shown = [0, 30, 60].map(|index| FramePosition {
            index,
            seconds: Some(index as f64 / 30.0),
        });
        let parsed = Interval::read("[1, 2] and [2, 3]", 3);
        assert_eq!(
            table(&parsed, &shown),
            "[1, 2] and [2, 3]\n1.00 s to 2.00 s (frames 30 to 60)\nnot understood: \"[2, 3]\" names frame 3, but 3 were shown, counted from 0\n"
        );
    }
}
