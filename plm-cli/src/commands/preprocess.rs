use std::path::Path;

use plm::{Checkpoint, Content, Conversation, EncodeOptions, Image, Message, Role};
use plm_processor::{Grid, Media};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::args::PreprocessArgs;
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
    let media = args
        .image
        .iter()
        .map(|path| report(&checkpoint, path, &encoding))
        .collect::<Result<_, _>>()?;
    model.warn_of_embedded_files();
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
    encoding: &EncodeOptions,
) -> Result<MediaReport, Error> {
    let image = Content::from(Image::open(path)?);
    let conversation = Conversation::from(Message {
        role: Role::User,
        content: vec![image],
    });
    let prompt = checkpoint.processor.encode(&conversation, encoding)?;
    // One picture was put in; a template that drops it, or shows it twice, is refused above.
    let media: Vec<MediaReport> = prompt.media.iter().map(|m| media_report(m, path)).collect();
    media.into_iter().next().ok_or_else(|| {
        plm::Error::Prompt {
            what: "the chat template drops the picture".into(),
        }
        .into()
    })
}

fn media_report(media: &Media, path: &Path) -> MediaReport {
    let Grid { columns, rows } = media.tiles.grid().unwrap_or(Grid::ONE);
    MediaReport {
        path: path.display().to_string(),
        size_wh: media.size_wh.into(),
        grid_wh: [columns, rows],
        num_tiles: media.tiles.len(),
        num_tokens: media.positions.len(),
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
        text += &format!(
            "{}: {width}x{height} pixels, grid {columns}x{rows}, {} tiles, {} tokens\n",
            media.path, media.num_tiles, media.num_tokens
        );
        for (index, tile) in media.tiles.iter().enumerate() {
            text += &format!(
                "{index:5}  mean {:8.5}  std {:8.5}  sha256 {}\n",
                tile.mean, tile.std, tile.sha256_u8_chw
            );
        }
    }
    text
}
