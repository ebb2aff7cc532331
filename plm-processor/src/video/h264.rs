//! Chosen frames of an H.264 track.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use rust_h264::decoder::{Frame, OrderedDecoder};
use rust_h264::nal::{NalUnit, NalUnitType, parse_avcc, parse_avcc_config, parse_sps_info};

use super::VideoFault;
use super::boxes::need;
use super::container::{ContainerFault, Sample};
use super::file::VideoFile;
use super::yuv::{Colour, Plane, Samples, Yuv, to_rgb};
use crate::error::{Error, Result};
use crate::image::{Image, check_size};

/// The parameter sets that stand in the container.
#[derive(Debug, PartialEq)]
pub(super) struct Configuration {
    avcc: Vec<u8>,
    pub(super) size_wh: (u32, u32),
    /// What a decoder holds while it works, roughly.
    decoder_bytes: u64,
}

/// What all decoders of a video may hold together; one may always work.
const MAX_DECODERS_BYTES: u64 = 320 << 20;

impl Configuration {
    /// Reads what precedes the samples.
    pub(super) fn read(codec_boxes: &[u8]) -> std::result::Result<Self, VideoFault> {
        let avcc = need(codec_boxes, *b"avcC")?.to_vec();
        let parsed = parse_avcc_config(&avcc).map_err(damaged)?;
        let Some(sps) = parsed.sps_nals.first() else {
            return Err(damaged("its description holds no parameter set"));
        };
        let sps = parse_sps_info(sps).map_err(damaged)?;
        if sps.chroma_format > 2 || !matches!(sps.bit_depth_luma, 8 | 10) {
            let depth = sps.bit_depth_luma;
            let chroma = match sps.chroma_format {
                3 => "4:4:4 chroma and ",
                _ => "",
            };
            return Err(VideoFault::Unsupported {
                found: format!("H.264 with {chroma}{depth} bits in MP4 or QuickTime"),
            });
        }
        // Samples and motion of a pixel, in every picture that is kept and some that are made.
        let pixel_bytes = 3 * u64::from(sps.bit_depth_luma.div_ceil(8));
        let pictures = u64::from(sps.reference_frames) + 6;
        let pixels = u64::from(sps.coded_width) * u64::from(sps.coded_height);
        Ok(Self {
            avcc,
            size_wh: (sps.width, sps.height),
            decoder_bytes: pixels.saturating_mul(pixel_bytes * pictures).max(1),
        })
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
/// are decoded in parallel, as many at once as there are threads and memory allows; a picture is
/// let go as soon as it has been handed on.
pub(super) fn map_samples<T: Send + Clone>(
    video: &VideoFile,
    wanted: &[usize],
    take: impl Fn(usize, Image) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let groups = groups(video, wanted)?;
    let affordable = MAX_DECODERS_BYTES / video.configuration.decoder_bytes;
    let decoders = (affordable as usize).clamp(1, rayon::current_num_threads());
    let next = AtomicUsize::new(0);
    let decode = |_| -> Result<BTreeMap<usize, T>> {
        let mut taken = BTreeMap::new();
        while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            let decoded = Decoding::new(video, &take).and_then(|decoding| decoding.run(group));
            if decoded.is_err() {
                // The others need not go on.
                next.store(groups.len(), Ordering::Relaxed);
            }
            taken.append(&mut decoded?);
        }
        Ok(taken)
    };
    let taken: Vec<_> = (0..decoders)
        .into_par_iter()
        .map(decode)
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
    // The latest start before `unseen`; what lies between is no start, so none is looked at twice.
    let (mut start, mut unseen) = (0, 0);
    for &sample in &wanted.iter().copied().collect::<BTreeSet<usize>>() {
        for index in (unseen..=sample).rev() {
            if !video.track.samples[index].is_sync {
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
        unseen = sample + 1;
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

    fn run(mut self, group: &Group) -> Result<BTreeMap<usize, T>> {
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
        let decoder = &mut self.decoder;
        let flushed = contained(|| Ok::<_, Infallible>(decoder.flush_with_meta()));
        for (frame, sample) in flushed.map_err(|message| self.failed(last, message))? {
            self.hand_on(&frame, sample, &group.wanted)?;
        }
        Ok(self.taken)
    }

    fn feed(&mut self, nal: &NalUnit<'_>, sample: usize, wanted: &BTreeSet<usize>) -> Result<()> {
        let failed = |message| self.failed(sample, message);
        if nal.nal_unit_type == NalUnitType::Sps {
            let sps = contained(|| parse_sps_info(nal)).map_err(failed)?;
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
        let decoder = &mut self.decoder;
        let decoded = contained(|| decoder.decode_nal_with_meta(nal, sample));
        let frames = decoded.map_err(|message| self.failed(sample, message))?;
        for (frame, sample) in frames {
            self.hand_on(&frame, sample, wanted)?;
        }
        Ok(())
    }

    fn failed(&self, sample: usize, message: String) -> Error {
        self.video.fault(VideoFault::Decode {
            sample,
            num_samples: self.video.track.samples.len(),
            message,
        })
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

/// Turns a panic of the decoder, which a damaged stream may cause, into a message like its errors.
///
/// A decoder that has panicked is not used again.
fn contained<R, E: Display>(
    decode: impl FnOnce() -> std::result::Result<R, E>,
) -> std::result::Result<R, String> {
    let decoded = catch_unwind(AssertUnwindSafe(decode));
    decoded
        .map_err(|_| "the decoder cannot go on".to_owned())?
        .map_err(|error| error.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_message() {
        let panicked =
            contained(|| -> std::result::Result<(), String> { panic!("of the decoder") });
        assert_eq!(panicked.unwrap_err(), "the decoder cannot go on");
        assert_eq!(
            contained(|| Err::<(), _>("damaged")).unwrap_err(),
            "damaged"
        );
        assert_eq!(contained(|| Ok::<_, String>(1)), Ok(1));
    }
}
