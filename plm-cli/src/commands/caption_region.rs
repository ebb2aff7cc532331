use std::path::Path;

use plm::regions::{ClipCaption, PixelBox, RegionCaption, RegionMark};
use plm::{Conversation, Image};
use serde::Serialize;

use super::asking::{Asked, AskedReport, IntervalReport, ShownReport, check_inside, open_clip};
use crate::args::CaptionRegionArgs;
use crate::error::Error;
use crate::output;
use crate::request::{ModelRequest, check_videos, decoding, encoding};

#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(rename = "box")]
    region: Option<[f64; 4]>,
    #[serde(flatten)]
    frames: Option<FramesReport>,
    #[serde(flatten)]
    asked: AskedReport<'a>,
}

#[derive(Debug, Serialize)]
struct FramesReport {
    interval: Option<IntervalReport>,
    #[serde(flatten)]
    shown: ShownReport,
}

pub(crate) fn run(args: CaptionRegionArgs) -> Result<(), Error> {
    check_videos(args.video.as_slice(), &args.tiles)?;
    let mark = if args.draw {
        RegionMark::Drawn
    } else {
        RegionMark::Text(args.format.format())
    };
    let decoding = decoding(args.decoding)?;
    let model = ModelRequest::check(args.run, encoding(&args.tiles, false))?;

    let (conversation, frames) = match (&args.image, &args.video, args.marks.region) {
        (Some(path), _, Some(region)) => (of_picture(path, region, mark)?, None),
        (_, Some(path), _) => {
            let clip = open_clip(path, &args.marks, &args.tiles)?;
            let interval = match args.frames {
                Some((first, last)) => clip.interval(first, last)?,
                None => clip.whole(),
            };
            let frames = FramesReport {
                interval: IntervalReport::new(interval, clip.shown()),
                shown: ShownReport::new(clip.shown()),
            };
            let question = ClipCaption { clip, interval };
            (question.conversation(), Some(frames))
        }
        _ => return Err(Error::usage("give --image and --box, or --video")),
    };
    let asked = Asked::of(&model, &conversation, &decoding)?;
    model.source.note_embedded_model();
    if args.json {
        return output::json(&Report {
            region: args.marks.region.map(|region| region.xyxy()),
            frames,
            asked: asked.report(),
        });
    }
    output::line(&asked.answer.text)
}

fn of_picture(path: &Path, region: PixelBox, mark: RegionMark) -> Result<Conversation, Error> {
    let image = Image::open(path)?;
    check_inside(&region, path, image.size_wh())?;
    let question = RegionCaption {
        image,
        region,
        mark,
    };
    Ok(question.conversation()?)
}
