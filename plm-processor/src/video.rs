//! Videos: which frames are shown, and their pixels.

#[cfg(feature = "video")]
mod boxes;
#[cfg(feature = "video")]
mod container;
#[cfg(feature = "ffmpeg")]
mod ffmpeg;
#[cfg(feature = "video")]
mod file;
mod gif;
#[cfg(feature = "video")]
mod h264;
mod kind;
mod sampling;
#[cfg(feature = "video")]
mod yuv;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::image::{DecodeLimits, Image};
use crate::regions::PixelBox;

#[cfg(feature = "video")]
pub use container::ContainerFault;
#[cfg(feature = "ffmpeg")]
pub use ffmpeg::FfmpegFault;
pub use sampling::{FrameRule, FrameSampling, META_MAX_FRAMES, SamplingFault};

#[cfg(feature = "ffmpeg")]
use ffmpeg::FfmpegFile;
#[cfg(feature = "video")]
use file::VideoFile;
use gif::GifFile;
use kind::FileKind;

/// A video of a conversation: a file, a folder of pictures, or frames held in memory.
///
/// Opening reads the index alone. Frames are decoded when the conversation is encoded, one after
/// another, and only those that are shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Video {
    source: Source,
    sampling: Option<FrameSampling>,
    boxes: BTreeMap<usize, PixelBox>,
}

#[derive(Clone, Debug, PartialEq)]
enum Source {
    Frames(Arc<Vec<Image>>),
    Pictures(Arc<Pictures>),
    Gif(Arc<GifFile>),
    #[cfg(feature = "video")]
    H264(Arc<VideoFile>),
    #[cfg(feature = "ffmpeg")]
    Ffmpeg(Arc<FfmpegFile>),
}

/// Where a frame stands in its video.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FramePosition {
    /// Its number, from 0.
    pub index: usize,
    /// When it is shown, in seconds, if the video has times.
    pub seconds: Option<f64>,
}

/// What is wrong with a video.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VideoFault {
    /// The first bytes belong to no known container.
    #[error(
        "it is in no known video format; decoded are H.264 in MP4 or QuickTime, animated GIF, and folders of pictures"
    )]
    UnknownFormat,
    /// A container or codec that is not decoded.
    #[error(
        "it is {found}, which is read through an installed FFmpeg, with feature `ffmpeg`, which is not built in; build it in, or convert the file, for example with `ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p OUT.mp4`"
    )]
    Unsupported {
        /// Container and codec.
        found: String,
    },
    /// The container is damaged.
    #[cfg(feature = "video")]
    #[error(transparent)]
    Container(ContainerFault),
    /// FFmpeg gave no frames.
    #[cfg(feature = "ffmpeg")]
    #[error(transparent)]
    Ffmpeg(Box<FfmpegFault>),
    /// The file ends before a frame.
    #[error(
        "frame {sample} of {num_samples} in the order of decoding lies beyond the end of the file, which is truncated"
    )]
    Truncated {
        /// The frame, in the order of decoding.
        sample: usize,
        /// Frames in all.
        num_samples: usize,
    },
    /// A frame cannot be decoded.
    #[error(
        "frame {sample} of {num_samples} in the order of decoding cannot be decoded: {message}"
    )]
    Decode {
        /// The frame, in the order of decoding.
        sample: usize,
        /// Frames in all.
        num_samples: usize,
        /// What the decoder said.
        message: String,
    },
    /// Something else in the file is not as it should be.
    #[error("it is damaged: {message}")]
    Damaged {
        /// What was found.
        message: String,
    },
    /// A frame is asked for that the video does not have.
    #[error("there is no frame {index}; it has {num_frames}, counted from 0")]
    NoSuchFrame {
        /// The frame asked for.
        index: usize,
        /// Frames in all.
        num_frames: usize,
    },
    /// A folder without pictures.
    #[error("the folder holds no picture")]
    NoPictures,
    /// The frames cannot be chosen.
    #[error(transparent)]
    Sampling(SamplingFault),
}

impl Video {
    /// Opens a video file or a folder of pictures; no frame is decoded yet.
    ///
    /// A file is H.264 in MP4 or QuickTime, or an animated GIF, which is told from its first
    /// bytes. With feature `ffmpeg`, other containers and codecs are read through the executable
    /// that the environment variable `PLM_FFMPEG` names, else through `ffmpeg`; this decodes one
    /// frame. The pictures of a folder are its frames in the order of their names.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Video`] when the file is damaged or in another format;
    /// [`Error::ImageTooLarge`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &DecodeLimits::default())
    }

    /// Opens a video whose frames are within the given limits.
    ///
    /// # Errors
    /// As [`Video::open`].
    pub fn open_with(path: impl AsRef<Path>, limits: &DecodeLimits) -> Result<Self> {
        let path = path.as_ref();
        if path.is_dir() {
            let pictures = Pictures::open(path, limits)?;
            return Ok(Source::Pictures(Arc::new(pictures)).into());
        }
        let read = |source| read_error(path, source);
        let mut file = File::open(path).map_err(read)?;
        let found = match FileKind::of(&mut file).map_err(read)? {
            FileKind::IsoMedia => {
                #[cfg(feature = "video")]
                match VideoFile::open(path, file, limits) {
                    Err(Error::Video {
                        fault: VideoFault::Unsupported { found },
                        ..
                    }) => found,
                    opened => return Ok(Source::H264(Arc::new(opened?)).into()),
                }
                #[cfg(not(feature = "video"))]
                "a video in MP4 or QuickTime (feature `video` is not built in)".to_owned()
            }
            FileKind::Gif => {
                let gif = GifFile::open(path, file, limits)?;
                return Ok(Source::Gif(Arc::new(gif)).into());
            }
            FileKind::Other(found) => found,
            FileKind::Unknown => return Err(video_error(path, VideoFault::UnknownFormat)),
        };
        #[cfg(feature = "ffmpeg")]
        {
            let video = FfmpegFile::open(path, found, limits)?;
            Ok(Source::Ffmpeg(Arc::new(video)).into())
        }
        #[cfg(not(feature = "ffmpeg"))]
        Err(video_error(path, VideoFault::Unsupported { found }))
    }

    /// Takes frames that were chosen and decoded elsewhere; all of them are shown.
    #[must_use]
    pub fn from_frames(frames: Vec<Image>) -> Self {
        Self {
            sampling: Some(FrameSampling::default()),
            ..Source::Frames(Arc::new(frames)).into()
        }
    }

    /// Chooses the frames of this video, whatever the options of encoding say.
    #[must_use]
    pub fn with_sampling(mut self, sampling: FrameSampling) -> Self {
        self.sampling = Some(sampling);
        self
    }

    /// The frames chosen by [`Video::with_sampling`], if any are.
    #[must_use]
    pub fn sampling(&self) -> Option<FrameSampling> {
        self.sampling
    }

    /// Draws a box on some frames, by their numbers, whenever they are decoded; before they are
    /// resized, and as [`Image::with_box`] does.
    ///
    /// It replaces boxes that were given before. Boxes of frames that are not shown, or do not
    /// exist, have no effect.
    #[must_use]
    pub fn with_boxes(mut self, boxes: impl IntoIterator<Item = (usize, PixelBox)>) -> Self {
        self.boxes = boxes.into_iter().collect();
        self
    }

    /// The boxes that are drawn, by the numbers of their frames.
    #[must_use]
    pub fn boxes(&self) -> &BTreeMap<usize, PixelBox> {
        &self.boxes
    }

    /// Frames of the whole video.
    #[must_use]
    pub fn num_frames(&self) -> usize {
        match &self.source {
            Source::Frames(frames) => frames.len(),
            Source::Pictures(pictures) => pictures.paths.len(),
            Source::Gif(gif) => gif.seconds.len(),
            #[cfg(feature = "video")]
            Source::H264(file) => file.track.shown.len(),
            #[cfg(feature = "ffmpeg")]
            Source::Ffmpeg(file) => file.num_frames,
        }
    }

    /// Frames a second, on average, if the video has times.
    #[must_use]
    pub fn fps(&self) -> Option<f64> {
        match &self.source {
            Source::Frames(_) | Source::Pictures(_) => None,
            Source::Gif(gif) => gif.fps,
            #[cfg(feature = "video")]
            Source::H264(file) => file.track.fps,
            #[cfg(feature = "ffmpeg")]
            Source::Ffmpeg(file) => file.fps,
        }
    }

    /// Width and height of the first frame, upright; 0 without frames.
    #[must_use]
    pub fn size_wh(&self) -> (u32, u32) {
        match &self.source {
            Source::Frames(frames) => frames.first().map_or((0, 0), Image::size_wh),
            Source::Pictures(pictures) => pictures.size_wh,
            Source::Gif(gif) => gif.size_wh,
            #[cfg(feature = "video")]
            Source::H264(file) => file.size_wh,
            #[cfg(feature = "ffmpeg")]
            Source::Ffmpeg(file) => file.size_wh,
        }
    }

    /// The frames that are shown: by this video's own choice if it has one, otherwise by
    /// `sampling`.
    ///
    /// # Errors
    /// [`Error::Video`] when they cannot be chosen.
    pub fn positions(&self, sampling: &FrameSampling) -> Result<Vec<FramePosition>> {
        let sampling = self.sampling.as_ref().unwrap_or(sampling);
        let indices = sampling
            .indices(self.num_frames(), self.fps())
            .map_err(|fault| Error::Video {
                name: self.name(),
                fault: VideoFault::Sampling(fault),
            })?;
        Ok(indices
            .into_iter()
            .map(|index| FramePosition {
                index,
                seconds: self.seconds(index),
            })
            .collect())
    }

    fn seconds(&self, index: usize) -> Option<f64> {
        match &self.source {
            Source::Frames(_) | Source::Pictures(_) => None,
            Source::Gif(gif) => gif.seconds.get(index).copied(),
            #[cfg(feature = "video")]
            Source::H264(file) => file.track.shown.get(index).map(|shown| shown.seconds),
            #[cfg(feature = "ffmpeg")]
            Source::Ffmpeg(file) => file.seconds.as_ref()?.get(index).copied(),
        }
    }

    /// Decodes frames by their numbers, at the size that they are stored in, and draws their boxes.
    ///
    /// # Errors
    /// [`Error::Video`] when there is no such frame, or it cannot be decoded; [`Error::Read`].
    pub fn frames(&self, indices: &[usize]) -> Result<Vec<Image>> {
        let num_frames = self.num_frames();
        let positions = indices.iter().map(|&index| {
            if index < num_frames {
                return Ok(FramePosition {
                    index,
                    seconds: self.seconds(index),
                });
            }
            Err(Error::Video {
                name: self.name(),
                fault: VideoFault::NoSuchFrame { index, num_frames },
            })
        });
        self.map_frames(&positions.collect::<Result<Vec<_>>>()?, Ok)
    }

    /// Decodes frames, which must exist, draws their boxes and hands each on; at most a few are
    /// held at a time.
    pub(crate) fn map_frames<T: Send + Clone>(
        &self,
        positions: &[FramePosition],
        take: impl Fn(Image) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let indices = positions.iter().map(|position| position.index);
        let take = |index: usize, frame: Image| match self.boxes.get(&index) {
            Some(region) => take(frame.with_box(region)),
            None => take(frame),
        };
        match &self.source {
            Source::Frames(frames) => indices
                .map(|index| take(index, frames[index].clone()))
                .collect(),
            Source::Pictures(pictures) => indices
                .map(|index| {
                    let path = &pictures.paths[index];
                    take(index, Image::open_with(path, &pictures.limits)?)
                })
                .collect(),
            Source::Gif(gif) => gif.map_frames(&indices.collect::<Vec<_>>(), take),
            #[cfg(feature = "video")]
            Source::H264(file) => file.map_frames(&indices.collect::<Vec<_>>(), take),
            #[cfg(feature = "ffmpeg")]
            Source::Ffmpeg(file) => file.map_frames(&indices.collect::<Vec<_>>(), take),
        }
    }

    /// A name for messages.
    fn name(&self) -> String {
        match &self.source {
            Source::Frames(_) => "the video in memory".to_owned(),
            Source::Pictures(pictures) => pictures.folder.display().to_string(),
            Source::Gif(gif) => gif.path.display().to_string(),
            #[cfg(feature = "video")]
            Source::H264(file) => file.name(),
            #[cfg(feature = "ffmpeg")]
            Source::Ffmpeg(file) => file.path.display().to_string(),
        }
    }
}

impl From<Source> for Video {
    fn from(source: Source) -> Self {
        Self {
            source,
            sampling: None,
            boxes: BTreeMap::new(),
        }
    }
}

/// The pictures of a folder.
#[derive(Debug, PartialEq)]
struct Pictures {
    folder: PathBuf,
    paths: Vec<PathBuf>,
    size_wh: (u32, u32),
    limits: DecodeLimits,
}

impl Pictures {
    /// Lists the pictures and opens the first. Files whose names begin with a dot are no pictures.
    fn open(folder: &Path, limits: &DecodeLimits) -> Result<Self> {
        let list = || -> io::Result<Vec<PathBuf>> {
            let mut paths = Vec::new();
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default();
                if path.is_file() && !name.as_encoded_bytes().starts_with(b".") {
                    paths.push(path);
                }
            }
            paths.sort();
            Ok(paths)
        };
        let paths = list().map_err(|source| read_error(folder, source))?;
        let Some(first) = paths.first() else {
            return Err(video_error(folder, VideoFault::NoPictures));
        };
        Ok(Self {
            size_wh: Image::open_with(first, limits)?.size_wh(),
            folder: folder.to_owned(),
            paths,
            limits: *limits,
        })
    }
}

fn video_error(path: &Path, fault: VideoFault) -> Error {
    Error::Video {
        name: path.display().to_string(),
        fault,
    }
}

fn read_error(path: &Path, source: io::Error) -> Error {
    Error::Read {
        path: path.to_owned(),
        source,
    }
}
