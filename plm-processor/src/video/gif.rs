//! Animated GIF files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::codecs::gif::GifDecoder;
use image::{AnimationDecoder, Frame, ImageDecoder, ImageError};

use super::{VideoFault, read_error, video_error};
use crate::error::{Error, Result};
use crate::image::{DecodeLimits, Image, check_size};

/// Most frames of an animation.
const MAX_FRAMES: usize = 1 << 16;

/// The index of an animation.
#[derive(Debug, PartialEq)]
pub(super) struct GifFile {
    pub(super) path: PathBuf,
    /// When each frame is shown.
    pub(super) seconds: Vec<f64>,
    /// Frames a second on average, if frames have delays.
    pub(super) fps: Option<f64>,
    pub(super) size_wh: (u32, u32),
    limits: DecodeLimits,
}

impl GifFile {
    /// Walks over all frames once, since the format has no index.
    pub(super) fn open(path: &Path, file: File, limits: &DecodeLimits) -> Result<Self> {
        let decoder = decoder(path, file)?;
        let (width, height) = decoder.dimensions();
        check_size(width, height, &path.display().to_string(), limits)?;
        let mut seconds = Vec::new();
        let mut elapsed = Duration::ZERO;
        for frame in decoder.into_frames() {
            let frame = frame.map_err(|error| failed(path, error))?;
            seconds.push(elapsed.as_secs_f64());
            if seconds.len() > MAX_FRAMES {
                let message = format!("it has more than {MAX_FRAMES} frames");
                return Err(video_error(path, VideoFault::Damaged { message }));
            }
            elapsed += Duration::from(frame.delay());
        }
        let fps = seconds.len() as f64 / elapsed.as_secs_f64();
        Ok(Self {
            path: path.to_owned(),
            seconds,
            fps: Some(fps).filter(|fps| fps.is_normal()),
            size_wh: (width, height),
            limits: *limits,
        })
    }

    /// Decodes frames and hands each on.
    pub(super) fn map_frames<T: Clone>(
        &self,
        indices: &[usize],
        take: impl Fn(usize, Image) -> Result<T>,
    ) -> Result<Vec<T>> {
        let file = File::open(&self.path).map_err(|source| read_error(&self.path, source))?;
        let decoder = decoder(&self.path, file)?;
        let (width, height) = decoder.dimensions();
        check_size(
            width,
            height,
            &self.path.display().to_string(),
            &self.limits,
        )?;
        let wanted: BTreeSet<usize> = indices.iter().copied().collect();
        let mut taken = BTreeMap::new();
        for (index, frame) in decoder.into_frames().enumerate() {
            if wanted.last().is_none_or(|last| index > *last) {
                break;
            }
            let frame = frame.map_err(|error| failed(&self.path, error))?;
            if wanted.contains(&index) {
                taken.insert(index, take(index, rgb(frame)?)?);
            }
        }
        let missing = || {
            let message = "it has fewer frames than when it was opened".to_owned();
            video_error(&self.path, VideoFault::Damaged { message })
        };
        let in_order = indices.iter().map(|index| taken.get(index).cloned());
        in_order.map(|frame| frame.ok_or_else(missing)).collect()
    }
}

fn decoder(path: &Path, file: File) -> Result<GifDecoder<BufReader<File>>> {
    GifDecoder::new(BufReader::new(file)).map_err(|error| failed(path, error))
}

fn failed(path: &Path, error: ImageError) -> Error {
    video_error(
        path,
        VideoFault::Damaged {
            message: error.to_string(),
        },
    )
}

/// The colours of a frame without alpha.
fn rgb(frame: Frame) -> Result<Image> {
    let buffer = frame.into_buffer();
    let (width, height) = buffer.dimensions();
    let rgb = buffer
        .pixels()
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]);
    Image::from_rgb8(width, height, rgb.collect())
}
