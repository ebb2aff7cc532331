//! Arguments of questions about places and times.

use std::path::PathBuf;

use clap::Args;
use plm::regions::{BoxFormat, BoxOrder, Coordinates, PixelBox};

use super::{DecodingArgs, RunArgs, TileArgs};

/// How boxes stand in questions and answers.
#[derive(Debug, Args)]
pub(crate) struct BoxFormatArgs {
    /// Numbers of a box: 000 (thousandths of the picture, as 040) or standard (as 0.040). Meta's
    /// checkpoints were trained with 000.
    #[arg(long, value_name = "FORMAT", default_value = "000")]
    box_format: Coordinates,
    /// Order of the numbers: xyxy (left, top, right, bottom) or xywh (left, top, width, height).
    /// Meta's checkpoints were trained with xyxy.
    #[arg(long, value_name = "ORDER", default_value = "xyxy")]
    box_order: BoxOrder,
}

impl BoxFormatArgs {
    pub(crate) fn format(&self) -> BoxFormat {
        BoxFormat {
            coordinates: self.box_format,
            order: self.box_order,
        }
    }
}

/// A video and what is marked in it.
#[derive(Debug, Args)]
pub(crate) struct ClipArgs {
    /// The video, a file or a folder of pictures.
    #[arg(long, value_name = "FILE")]
    pub(crate) video: PathBuf,
    #[command(flatten)]
    pub(crate) marks: MarkArgs,
}

/// The subject of a question about a video.
#[derive(Debug, Args)]
pub(crate) struct MarkArgs {
    /// The region, in pixels; in a video, on every frame.
    #[arg(long = "box", value_name = "X1,Y1,X2,Y2", value_parser = pixel_box, allow_hyphen_values = true)]
    pub(crate) region: Option<PixelBox>,
    /// The region on each frame of the video, as JSON from frame numbers to corners in pixels:
    /// {"0": [10, 20, 50, 80], "1": null}.
    #[arg(long, value_name = "FILE.json", conflicts_with = "region")]
    pub(crate) boxes: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct GroundArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// The picture.
    #[arg(long, value_name = "FILE")]
    pub(crate) image: PathBuf,
    /// What is looked for.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) phrase: String,
    #[command(flatten)]
    pub(crate) boxes: BoxFormatArgs,
    /// A PNG file to write: the picture with the boxes that were found. Nothing is written if none
    /// was.
    #[arg(long, value_name = "FILE.png")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) tiles: TileArgs,
    #[command(flatten)]
    pub(crate) decoding: DecodingArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CaptionRegionArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// The picture.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "video",
        conflicts_with_all = ["video", "boxes", "frames"],
        requires = "region"
    )]
    pub(crate) image: Option<PathBuf>,
    /// A video instead, a file or a folder of pictures; its region is always drawn.
    #[arg(long, value_name = "FILE", conflicts_with = "draw")]
    pub(crate) video: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) marks: MarkArgs,
    /// Draw the region on the picture instead of naming its numbers.
    #[arg(long)]
    pub(crate) draw: bool,
    /// First and last frame of the video that the caption is about; all that are shown if not given.
    #[arg(long, value_name = "FIRST,LAST", value_parser = frame_range)]
    pub(crate) frames: Option<(usize, usize)>,
    #[command(flatten)]
    pub(crate) format: BoxFormatArgs,
    #[command(flatten)]
    pub(crate) tiles: TileArgs,
    #[command(flatten)]
    pub(crate) decoding: DecodingArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LocateArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) clip: ClipArgs,
    /// What happens.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) event: String,
    #[command(flatten)]
    pub(crate) tiles: TileArgs,
    #[command(flatten)]
    pub(crate) decoding: DecodingArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DenseCaptionArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) clip: ClipArgs,
    #[command(flatten)]
    pub(crate) tiles: TileArgs,
    #[command(flatten)]
    pub(crate) decoding: DecodingArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

fn pixel_box(text: &str) -> Result<PixelBox, String> {
    let numbers: Result<Vec<f64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let corners = numbers.ok().and_then(|numbers| numbers.try_into().ok());
    let corners = corners.ok_or("a box is four numbers, as 10,20,50,80")?;
    PixelBox::from_xyxy(corners).map_err(|error| error.to_string())
}

fn frame_range(text: &str) -> Result<(usize, usize), String> {
    let ends = text.split_once(',');
    let ends = ends
        .and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    match ends {
        Some((first, last)) if first <= last => Ok((first, last)),
        _ => Err("a range is a first and a last frame number, as 12,40".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_four_numbers() {
        let region = pixel_box("-1.5, 20,50,80").unwrap();
        assert_eq!(region.xyxy(), [-1.5, 20.0, 50.0, 80.0]);
        for text in [
            "",
            "1,2,3",
            "1,2,3,4,5",
            "a,2,3,4",
            "1,2,nan,4",
            "5,2,3,4",
            "1,2,3,inf",
        ] {
            assert!(pixel_box(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_range_does_not_end_before_it_begins() {
        assert_eq!(frame_range("3,3"), Ok((3, 3)));
        for text in ["", "3", "4,3", "-1,3", "1,2,3", "a,b"] {
            assert!(frame_range(text).is_err(), "{text}");
        }
    }
}
