use std::path::Path;

use plm::{Checkpoint, Content, Conversation, EncodeOptions, Message, Role};
use plm_processor::{Grid, Media};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::args::PreprocessArgs;
use crate::conversations::open_media;
use crate::error::Error;
use crate::model::ModelSource;
use crate::output;
use crate::request::{check_videos, encoding};

#[derive(Debug, Serialize)]
struct Report {
    media: Vec<MediaReport>,
}

#[derive(Debug, Serialize)]
struct MediaReport {
    path: String,
    size_wh: [u32; 2],
    grid_wh: [u32; 2],
    num_tiles: usize,
    num_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame_indices: Option<Vec<usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame_seconds: Option<Vec<Option<f64>>>,
    tiles: Vec<TileReport>,
}

#[derive(Debug, Serialize)]
struct TileReport {
    sha256_u8_chw: String,
    mean: f64,
    std: f64,
}

pub(crate) fn run(args: PreprocessArgs) -> Result<(), Error> {
    let encoding = encoding(&args.tiles, false);
    let model = ModelSource::parse(args.model.model)?;
    check_videos(&args.video, &args.tiles)?;
    let checkpoint = model.checkpoint()?;
    let opened = open_media(&args.image, &args.video)?;
    let paths = args.image.iter().chain(&args.video);
    let media = paths
        .zip(opened)
        .map(|(path, medium)| report(&checkpoint, path, medium, &encoding))
        .collect::<Result<_, _>>()?;
    model.note_embedded_files();
    let report = Report { media };
    if args.json {
        output::json(&report)
    } else {
        output::piece(&table(&report))
    }
}

fn report(
    checkpoint: &Checkpoint,
    path: &Path,
    medium: Content,
    encoding: &EncodeOptions,
) -> Result<MediaReport, Error> {
    let conversation = Conversation::from(Message::new(Role::User, [medium]));
    let prompt = checkpoint.processor.encode(&conversation, encoding)?;
    // One medium was put in; a template that drops it, or shows it twice, is refused above.
    let media: Vec<MediaReport> = prompt.media.iter().map(|m| media_report(m, path)).collect();
    media.into_iter().next().ok_or_else(|| {
        plm::Error::Prompt {
            what: "the chat template drops the picture or video".into(),
        }
        .into()
    })
}

fn media_report(media: &Media, path: &Path) -> MediaReport {
    let Grid { columns, rows } = media.tiles.grid().unwrap_or(Grid::ONE);
    let is_video = !media.frames.is_empty();
    MediaReport {
        path: path.display().to_string(),
        size_wh: media.size_wh.into(),
        grid_wh: [columns, rows],
        num_tiles: media.tiles.len(),
        num_tokens: media.positions.len(),
        frame_indices: is_video.then(|| media.frames.iter().map(|f| f.index).collect()),
        frame_seconds: is_video.then(|| media.frames.iter().map(|f| f.seconds).collect()),
        tiles: (0..media.tiles.len())
            .map(|index| tile_report(media, index))
            .collect(),
    }
}

fn tile_report(media: &Media, index: usize) -> TileReport {
    let digest = Sha256::digest(media.tiles.tile_u8(index));
    let values = media.tiles.normalized_tile(index, &media.normalization);
    let values = || values.iter().map(|&x| f64::from(x));
    let count = media.tiles.tile_len() as f64;
    let mean = values().sum::<f64>() / count;
    // Over one value less than there are, as PyTorch's `std` does and the goldens have it.
    let variance = values().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0);
    TileReport {
        sha256_u8_chw: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        mean,
        std: variance.sqrt(),
    }
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    for media in &report.media {
        let ([width, height], [columns, rows]) = (media.size_wh, media.grid_wh);
        let shape = match &media.frame_indices {
            Some(frames) => format!("{} frames", frames.len()),
            None => format!("grid {columns}x{rows}, {} tiles", media.num_tiles),
        };
        text += &format!(
            "{}: {width}x{height} pixels, {shape}, {} tokens\n",
            media.path, media.num_tokens
        );
        for (index, tile) in media.tiles.iter().enumerate() {
            let number = media.frame_indices.as_ref().map_or(index, |f| f[index]);
            text += &format!(
                "{number:5}  mean {:8.5}  std {:8.5}  sha256 {}\n",
                tile.mean, tile.std, tile.sha256_u8_chw
            );
        }
    }
    text
}
