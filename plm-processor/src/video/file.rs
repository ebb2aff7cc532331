//! MP4 and QuickTime files with H.264.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::container::{ReadFault, Track};
use super::h264::{Configuration, map_samples};
use super::kind::codec;
use super::{VideoFault, read_error, video_error};
use crate::error::{Error, Result};
use crate::image::{DecodeLimits, Image, check_size, swaps_sides};

/// An MP4 or QuickTime file with H.264.
#[derive(Debug, PartialEq)]
pub(super) struct VideoFile {
    pub(super) path: PathBuf,
    pub(super) track: Track,
    pub(super) configuration: Configuration,
    /// Width and height of an upright frame.
    pub(super) size_wh: (u32, u32),
    pub(super) limits: DecodeLimits,
}

impl VideoFile {
    pub(super) fn open(path: &Path, file: File, limits: &DecodeLimits) -> Result<Self> {
        let fault = |fault: VideoFault| video_error(path, fault);
        let track = Track::read(&mut BufReader::new(file)).map_err(|error| match error {
            ReadFault::Io(source) => read_error(path, source),
            ReadFault::Container(container) => fault(container.into()),
        })?;
        if !matches!(&track.codec, b"avc1" | b"avc3") {
            return Err(fault(VideoFault::Unsupported {
                found: format!("{} in MP4 or QuickTime", codec(track.codec)),
            }));
        }
        let configuration = Configuration::read(&track.codec_boxes).map_err(fault)?;
        let (width, height) = configuration.size_wh;
        check_size(width, height, &path.display().to_string(), limits)?;
        let is_turned = swaps_sides(track.orientation);
        Ok(Self {
            path: path.to_owned(),
            size_wh: if is_turned {
                (height, width)
            } else {
                (width, height)
            },
            track,
            configuration,
            limits: *limits,
        })
    }

    /// Decodes frames, which must exist, and hands each on with its number.
    pub(super) fn map_frames<T: Send + Clone>(
        &self,
        indices: &[usize],
        take: impl Fn(usize, Image) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let sample = |&index: &usize| self.track.shown[index].sample;
        let samples: Vec<usize> = indices.iter().map(sample).collect();
        let shown_as: BTreeMap<usize, usize> = samples
            .iter()
            .copied()
            .zip(indices.iter().copied())
            .collect();
        map_samples(self, &samples, |sample, frame| {
            take(shown_as[&sample], frame)
        })
    }

    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn fault(&self, fault: VideoFault) -> Error {
        video_error(&self.path, fault)
    }

    pub(super) fn read_error(&self, source: io::Error) -> Error {
        read_error(&self.path, source)
    }
}
