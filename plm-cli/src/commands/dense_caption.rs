use plm::FramePosition;
use plm::regions::{DenseCaption, DenseCaptions, Parsed};
use serde::Serialize;

use super::asking::{Asked, AskedReport, IntervalReport, ShownReport, open_clip, told};
use crate::args::DenseCaptionArgs;
use crate::error::{Error, one_line};
use crate::output;
use crate::request::{ModelRequest, decoding, encoding};

#[derive(Debug, Serialize)]
struct Report<'a> {
    understood: bool,
    captions: Vec<CaptionReport<'a>>,
    misread: Vec<String>,
    #[serde(flatten)]
    shown: ShownReport,
    #[serde(flatten)]
    asked: AskedReport<'a>,
}

#[derive(Debug, PartialEq, Serialize)]
struct CaptionReport<'a> {
    #[serde(flatten)]
    interval: IntervalReport,
    caption: &'a str,
}

pub(crate) fn run(args: DenseCaptionArgs) -> Result<(), Error> {
    let decoding = decoding(args.decoding)?;
    let model = ModelRequest::check(args.run, encoding(&args.tiles, false))?;

    let question = DenseCaptions {
        clip: open_clip(&args.clip.video, &args.clip.marks, &args.tiles)?,
    };
    let asked = Asked::of(&model, &question.conversation(), &decoding)?;
    let parsed = question.read(&asked.answer.text);
    let shown = question.clip.shown();
    model.source.note_embedded_model();
    if args.json {
        return output::json(&Report {
            understood: !parsed.found.is_empty(),
            captions: reports(&parsed, shown),
            misread: parsed.misread.iter().map(|m| one_line(m)).collect(),
            shown: ShownReport::new(shown),
            asked: asked.report(),
        });
    }
    output::piece(&table(&parsed, shown))
}

fn reports<'a>(
    parsed: &'a Parsed<DenseCaption>,
    shown: &[FramePosition],
) -> Vec<CaptionReport<'a>> {
    let found = parsed.found.iter();
    found
        .filter_map(|caption| {
            Some(CaptionReport {
                interval: IntervalReport::new(caption.interval, shown)?,
                caption: &caption.text,
            })
        })
        .collect()
}

/// The captions, or the answer as it is if none was understood.
fn table(parsed: &Parsed<DenseCaption>, shown: &[FramePosition]) -> String {
    let text = parsed.found.is_empty().then_some(parsed.text.as_str());
    let captions = reports(parsed, shown);
    let captions = captions
        .iter()
        .map(|report| format!("{}: {}", report.interval.in_words(), report.caption));
    told(text, captions, &parsed.misread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_are_told_with_their_times() {
        let shown = [0, 30, 60].map(|index| FramePosition {
            index,
            seconds: Some(index as f64 / 30.0),
        });
        let shown_as = |text| table(&DenseCaption::read(text, 3), &shown);
        assert_eq!(
            shown_as("[0, 1]: A cat sits.\n[2, 2]: It goes."),
            "0.00 s to 1.00 s (frames 0 to 30): A cat sits.\n2.00 s to 2.00 s (frames 60 to 60): It goes.\n"
        );
        assert_eq!(
            shown_as("A cat sits."),
            "A cat sits.\nnot understood: the answer has no list in brackets\n"
        );
    }
}
