//! Chosen frames of an H.264 track.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use rayon::prelude::*;
use rust_h264::decoder::{Frame, OrderedDecoder};
use rust_h264::nal::{NalUnit, NalUnitType, parse_avcc, parse_avcc_config, parse_sps_info};

use super::VideoFault;
use super::boxes::need;
use super::container::{ContainerFault, Sample};
use super::file::VideoFile;
use super::yuv::{Colour, Plane, Samples, Yuv, to_rgb};
use crate::error::Result;
use crate::image::{Image, check_size};

/// The parameter sets that stand in the container.
#[derive(Debug, PartialEq)]
pub(super) struct Configuration {
    avcc: Vec<u8>,
    pub(super) size_wh: (u32, u32),
}

impl Configuration {
    /// Reads what precedes the samples.
    pub(super) fn read(codec_boxes: &[u8]) -> std::result::Result<Self, VideoFault> {
        let avcc = need(codec_boxes, *b"avcC")?.to_vec();
        let parsed = parse_avcc_config(&avcc).map_err(damaged)?;
        let size_wh = match parsed.sps_nals.first() {
            Some(sps) => {
                let sps = parse_sps_info(sps).map_err(damaged)?;
                (sps.width, sps.height)
            }
            None => {
                return Err(damaged("its description holds no parameter set"));
            }
        };
        Ok(Self { avcc, size_wh })
    }
}

fn damaged(message: impl ToString) -> VideoFault {
    VideoFault::Damaged {
        message: message.to_string(),
    }
}

/// Samples that are decoded in one go, from a picture that depends on none before it.
struct Group {
    start: usize,
    wanted: BTreeSet<usize>,
}

/// Decodes samples of a track and hands each picture on with its sample; results are in the order of `wanted`.
///
/// Decoding begins at the nearest picture before each that depends on none. Groups of pictures
/// are decoded in parallel; a picture is let go as soon as it has been handed on.
pub(super) fn map_samples<T: Send + Clone>(
    video: &VideoFile,
    wanted: &[usize],
    take: impl Fn(usize, Image) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let taken: Vec<BTreeMap<usize, T>> = groups(video, wanted)?
        .into_par_iter()
        .map(|group| Decoding::new(video, &take)?.run(group))
        .collect::<Result<_>>()?;
    let taken: BTreeMap<usize, T> = taken.into_iter().flatten().collect();
    wanted
        .iter()
        .map(|&sample| {
            let missing = || video.fault(damaged("a frame is missing from the stream"));
            taken.get(&sample).cloned().ok_or_else(missing)
        })
        .collect()
}

/// Where decoding has to begin for each wanted sample.
fn groups(video: &VideoFile, wanted: &[usize]) -> Result<Vec<Group>> {
    let parsed = parse_avcc_config(&video.configuration.avcc)
        .map_err(|message| video.fault(damaged(message)))?;
    let mut input = Input::open(video)?;
    let mut groups: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    // The samples behind the last start that are known not to be one.
    let mut last_start = None;
    for &sample in &wanted.iter().copied().collect::<BTreeSet<usize>>() {
        let earliest = last_start.unwrap_or(0);
        let mut start = earliest;
        for index in (earliest..=sample).rev() {
            if !video.track.samples[index].is_sync || Some(index) == last_start {
                continue;
            }
            let bytes = input.sample(index)?;
            let nals = parse_avcc(&bytes, parsed.length_size);
            if nals
                .iter()
                .any(|nal| nal.nal_unit_type == NalUnitType::SliceIdr)
            {
                start = index;
                break;
            }
        }
        last_start = Some(start);
        groups.entry(start).or_default().insert(sample);
    }
    let groups = groups.into_iter();
    Ok(groups
        .map(|(start, wanted)| Group { start, wanted })
        .collect())
}

/// Reads samples from the file.
struct Input<'a> {
    video: &'a VideoFile,
    file: File,
    file_bytes: u64,
}

impl<'a> Input<'a> {
    fn open(video: &'a VideoFile) -> Result<Self> {
        let read = |source| video.read_error(source);
        let file = File::open(&video.path).map_err(read)?;
        let file_bytes = file.metadata().map_err(read)?.len();
        Ok(Self {
            video,
            file,
            file_bytes,
        })
    }

    fn sample(&mut self, index: usize) -> Result<Vec<u8>> {
        let Sample { offset, size, .. } = self.video.track.samples[index];
        if offset.saturating_add(u64::from(size)) > self.file_bytes {
            return Err(self.video.fault(VideoFault::Truncated {
                sample: index,
                num_samples: self.video.track.samples.len(),
            }));
        }
        let mut read = || -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; size as usize];
            self.file.seek(SeekFrom::Start(offset))?;
            self.file.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|source| self.video.read_error(source))
    }
}

/// A decoder on its way through a group.
struct Decoding<'a, T, F> {
    video: &'a VideoFile,
    take: &'a F,
    input: Input<'a>,
    decoder: OrderedDecoder<usize>,
    length_size: usize,
    colour: Colour,
    taken: BTreeMap<usize, T>,
}

impl<'a, T, F: Fn(usize, Image) -> Result<T>> Decoding<'a, T, F> {
    fn new(video: &'a VideoFile, take: &'a F) -> Result<Self> {
        let parsed = parse_avcc_config(&video.configuration.avcc)
            .map_err(|message| video.fault(damaged(message)))?;
        let mut decoding = Self {
            video,
            take,
            input: Input::open(video)?,
            // Frames are told by their samples, so there is no need to keep them in order.
            decoder: OrderedDecoder::with_max_depth(1),
            length_size: parsed.length_size,
            colour: Colour {
                matrix: 2,
                full_range: false,
            },
            taken: BTreeMap::new(),
        };
        for nal in parsed.sps_nals.iter().chain(&parsed.pps_nals) {
            decoding.feed(nal, 0, &BTreeSet::new())?;
        }
        Ok(decoding)
    }

    fn run(mut self, group: Group) -> Result<BTreeMap<usize, T>> {
        let last = group.wanted.last().copied().unwrap_or(group.start);
        for index in group.start..=last {
            let bytes = self.input.sample(index)?;
            let nals = parse_avcc(&bytes, self.length_size);
            if !group.wanted.contains(&index) && is_disposable(&nals) {
                continue;
            }
            for nal in &nals {
                self.feed(nal, index, &group.wanted)?;
            }
        }
        for (frame, sample) in self.decoder.flush_with_meta() {
            self.hand_on(&frame, sample, &group.wanted)?;
        }
        Ok(self.taken)
    }

    fn feed(&mut self, nal: &NalUnit<'_>, sample: usize, wanted: &BTreeSet<usize>) -> Result<()> {
        let failed = |error: &dyn std::fmt::Display| {
            self.video.fault(VideoFault::Decode {
                sample,
                num_samples: self.video.track.samples.len(),
                message: error.to_string(),
            })
        };
        if nal.nal_unit_type == NalUnitType::Sps {
            let sps = parse_sps_info(nal).map_err(|error| failed(&error))?;
            check_size(
                sps.coded_width,
                sps.coded_height,
                &self.video.name(),
                &self.video.limits,
            )?;
            self.colour = Colour {
                matrix: sps.matrix,
                full_range: sps.full_range,
            };
        }
        let frames = self
            .decoder
            .decode_nal_with_meta(nal, sample)
            .map_err(|error| failed(&error))?;
        for (frame, sample) in frames {
            self.hand_on(&frame, sample, wanted)?;
        }
        Ok(())
    }

    fn hand_on(&mut self, frame: &Frame, sample: usize, wanted: &BTreeSet<usize>) -> Result<()> {
        if wanted.contains(&sample) {
            let rgb = to_rgb(&yuv(frame, self.colour));
            let image =
                Image::upright(frame.width, frame.height, rgb, self.video.track.orientation)?;
            self.taken.insert(sample, (self.take)(sample, image)?);
        }
        Ok(())
    }
}

/// Whether no other picture depends on this one.
fn is_disposable(nals: &[NalUnit<'_>]) -> bool {
    let mut slices = nals
        .iter()
        .filter(|nal| {
            matches!(
                nal.nal_unit_type,
                NalUnitType::Slice | NalUnitType::SliceIdr
            )
        })
        .peekable();
    slices.peek().is_some() && slices.all(|nal| nal.nal_ref_idc == 0)
}

fn yuv(frame: &Frame, colour: Colour) -> Yuv<'_> {
    let plane = |samples, width: u32, height: u32| Plane {
        width: width as usize,
        height: height as usize,
        samples: match frame.bytes_per_sample() {
            1 => Samples::Bytes(samples),
            _ => Samples::Pairs(samples),
        },
    };
    let (width, height) = (frame.chroma_width(), frame.chroma_height());
    Yuv {
        y: plane(&frame.y, frame.width, frame.height),
        u: plane(&frame.u, width, height),
        v: plane(&frame.v, width, height),
        bit_depth: u32::from(frame.bit_depth),
        colour,
    }
}

impl From<ContainerFault> for VideoFault {
    fn from(fault: ContainerFault) -> Self {
        Self::Container(fault)
    }
}
