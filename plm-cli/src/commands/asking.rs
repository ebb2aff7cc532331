//! What the questions about places and times have in common.

use std::path::Path;
use std::time::{Duration, Instant};

use plm::regions::{Clip, Interval, Misread, PixelBox, RegionFault, frame_boxes_from_json};
use plm::{Answer, Content, Conversation, Decoding, FramePosition, PerceptionLM, Video};
use serde::Serialize;

use super::generate::work;
use crate::args::{MarkArgs, TileArgs};
use crate::conversations::TextSource;
use crate::error::{Error, one_line};
use crate::progress;
use crate::report::AnswerReport;
use crate::request::{ModelRequest, clip_sampling};

/// A model that has answered.
pub(super) struct Asked {
    plm: PerceptionLM,
    question: String,
    pub(super) answer: Answer,
    preprocess: Duration,
}

/// What is printed of every answer, beside what was understood.
#[derive(Debug, Serialize)]
pub(super) struct AskedReport<'a> {
    question: &'a str,
    #[serde(flatten)]
    answer: AnswerReport<'a>,
}

impl Asked {
    /// Loads the model and lets it answer.
    pub(super) fn of(
        model: &ModelRequest,
        conversation: &Conversation,
        decoding: &Decoding,
    ) -> Result<Self, Error> {
        let plm = model.load()?;
        let start = Instant::now();
        let prompt = plm.encode(conversation)?;
        let preprocess = start.elapsed();
        let busy = progress::busy(&work(&prompt));
        let answer = plm.generate_prompt(&prompt, decoding);
        busy.finish_and_clear();
        Ok(Self {
            answer: answer?,
            question: question(conversation),
            plm,
            preprocess,
        })
    }

    pub(super) fn report(&self) -> AskedReport<'_> {
        AskedReport {
            question: &self.question,
            answer: AnswerReport::new(&self.plm, &self.answer, self.preprocess),
        }
    }
}

/// An answer in lines: its text if that is to stand there, what was found in it, and what was not
/// understood.
pub(super) fn told(
    text: Option<&str>,
    found: impl IntoIterator<Item = String>,
    misread: &[Misread],
) -> String {
    let text = text.map(str::to_owned).into_iter();
    let misread = misread
        .iter()
        .map(|misread| format!("not understood: {}", one_line(misread)));
    let lines = text.chain(found).chain(misread);
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}

/// The texts of a conversation.
fn question(conversation: &Conversation) -> String {
    let contents = conversation.messages.iter().flat_map(|m| &m.content);
    let texts = contents.filter_map(|content| match content {
        Content::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// Opens a video, marks its subject and settles its frames.
pub(super) fn open_clip(path: &Path, marks: &MarkArgs, tiles: &TileArgs) -> Result<Clip, Error> {
    let video = Video::open(path)?;
    let video = match (&marks.region, &marks.boxes) {
        (Some(region), _) => {
            check_inside(region, path, video.size_wh())?;
            let frames = 0..video.num_frames();
            video.with_boxes(frames.map(|frame| (frame, *region)))
        }
        (None, Some(file)) => {
            let file = TextSource::new(file.clone());
            let json = serde_json::from_str(&file.read()?);
            let boxes = json
                .map_err(|error| syntax(&error))
                .and_then(|json| Ok(frame_boxes_from_json(&json)?));
            video.with_boxes(boxes.map_err(|error| error.at(file.name()))?)
        }
        (None, None) => video,
    };
    let sampling = clip_sampling(tiles, &video);
    Ok(Clip::new(video, sampling)?)
}

fn syntax(error: &serde_json::Error) -> Error {
    let what = format!("not valid JSON: {error}");
    plm_processor::Error::from(RegionFault::FrameBoxes { what }).into()
}

/// Refuses a region of which nothing can be seen.
pub(super) fn check_inside(
    region: &PixelBox,
    path: &Path,
    (width, height): (u32, u32),
) -> Result<(), Error> {
    let [left, top, right, bottom] = region.xyxy();
    let is_seen =
        left < f64::from(width) && top < f64::from(height) && right >= 0.0 && bottom >= 0.0;
    if is_seen {
        return Ok(());
    }
    Err(Error::BoxOutside {
        corners: region.xyxy(),
        path: path.to_owned(),
        width,
        height,
    })
}

/// An interval among the frames shown, and where it is in the video.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct IntervalReport {
    start: usize,
    end: usize,
    start_frame: usize,
    end_frame: usize,
    start_s: Option<f64>,
    end_s: Option<f64>,
}

impl IntervalReport {
    /// None for an interval that leaves the frames shown.
    pub(super) fn new(interval: Interval, shown: &[FramePosition]) -> Option<Self> {
        let [start, end] = interval.positions(shown)?;
        Some(Self {
            start: interval.start,
            end: interval.end,
            start_frame: start.index,
            end_frame: end.index,
            start_s: start.seconds,
            end_s: end.seconds,
        })
    }

    /// The interval in a few words.
    pub(super) fn in_words(&self) -> String {
        let frames = format!("frames {} to {}", self.start_frame, self.end_frame);
        match (self.start_s, self.end_s) {
            (Some(start), Some(end)) => format!("{start:.2} s to {end:.2} s ({frames})"),
            _ => frames,
        }
    }
}

/// The frames that the model was shown.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct ShownReport {
    frame_indices: Vec<usize>,
    frame_seconds: Vec<Option<f64>>,
}

impl ShownReport {
    pub(super) fn new(shown: &[FramePosition]) -> Self {
        Self {
            frame_indices: shown.iter().map(|frame| frame.index).collect(),
            frame_seconds: shown.iter().map(|frame| frame.seconds).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(has_times: bool) -> Vec<FramePosition> {
        let frames = [0, 10, 20].into_iter();
        let seconds = |index| has_times.then_some(index as f64 / 8.0);
        let frames = frames.map(|index| FramePosition {
            index,
            seconds: seconds(index),
        });
        frames.collect()
    }

    #[test]
    fn an_interval_has_frames_and_times() {
        let report = |interval, has_times| {
            IntervalReport::new(interval, &shown(has_times)).map(|report| report.in_words())
        };
        let interval = Interval { start: 1, end: 2 };
        let words = |text: &str| Some(text.to_owned());
        assert_eq!(
            report(interval, true),
            words("1.25 s to 2.50 s (frames 10 to 20)")
        );
        assert_eq!(report(interval, false), words("frames 10 to 20"));
        assert_eq!(report(Interval { start: 1, end: 3 }, true), None);
    }

    #[test]
    fn a_region_that_is_not_in_the_picture_is_refused() {
        let check = |corners| {
            let region = PixelBox::from_xyxy(corners).unwrap();
            check_inside(&region, Path::new("a.png"), (40, 30))
        };
        assert!(check([-5.0, -5.0, 50.0, 50.0]).is_ok());
        assert!(check([39.0, 29.0, 50.0, 50.0]).is_ok());
        for corners in [[40.0, 0.0, 50.0, 5.0], [0.0, -9.0, 5.0, -1.0]] {
            let error = check(corners).unwrap_err();
            assert!(error.to_string().contains("40x30"), "{error}");
        }
    }
}
