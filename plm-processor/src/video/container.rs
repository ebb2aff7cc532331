//! The index of an MP4 or QuickTime file: where the samples of its video track stand, and when
//! they are shown.

use std::io::{self, Read, Seek, SeekFrom};

use image::metadata::Orientation;

use super::boxes::{Fields, boxes, name, need};
use super::kind::Kind;

mod edits;
mod fragments;
mod samples;

use edits::{Edit, edits};
use fragments::Moof;
use samples::samples;

/// Largest index that is read; ten hours of video have some 30 MB.
const MAX_INDEX_BYTES: u64 = 256 << 20;

/// Most samples of a track; at 30 a second, 19 hours.
const MAX_SAMPLES: usize = 1 << 21;

/// What is wrong with a container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerFault {
    /// A box ends before what it must hold, or claims more bytes than there are.
    #[error("its box `{kind}` is cut short or lies about its size")]
    Cut {
        /// The box.
        kind: String,
    },
    /// A box that must be there is not.
    #[error("it has no box `{kind}`; it is truncated or damaged")]
    Missing {
        /// The box.
        kind: String,
    },
    /// The tables of the index contradict each other, or the file.
    #[error("its index is damaged: {what}")]
    Index {
        /// The contradiction.
        what: &'static str,
    },
    /// The index is too large to be meant.
    #[error("its index has {bytes} bytes, more than {max_bytes}")]
    IndexTooLarge {
        /// Bytes found.
        bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// There is sound or text alone.
    #[error("it has no video track")]
    NoVideo,
}

impl ContainerFault {
    pub(super) fn cut(kind: Kind) -> Self {
        Self::Cut { kind: name(kind) }
    }

    fn index(what: &'static str) -> Self {
        Self::Index { what }
    }
}

/// Why a container could not be read.
pub(super) enum ReadFault {
    Io(io::Error),
    Container(ContainerFault),
}

impl From<io::Error> for ReadFault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ContainerFault> for ReadFault {
    fn from(fault: ContainerFault) -> Self {
        Self::Container(fault)
    }
}

/// The video track of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Track {
    /// The four letters of its codec.
    pub(super) codec: Kind,
    /// What follows the picture's fixed fields in the sample description.
    pub(super) codec_boxes: Vec<u8>,
    /// The samples in the order of decoding.
    pub(super) samples: Vec<Sample>,
    /// The frames in the order of showing.
    pub(super) shown: Vec<Shown>,
    /// Frames a second on average, if time passes at all.
    pub(super) fps: Option<f64>,
    /// How frames are to be turned.
    pub(super) orientation: Orientation,
}

/// One compressed picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) offset: u64,
    pub(super) size: u32,
    /// When it is shown, in ticks of the track.
    shown_at: i64,
    /// For how long, in ticks.
    duration: u32,
    /// Whether decoding can begin here.
    pub(super) is_sync: bool,
}

/// A frame as it is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shown {
    /// Its place among the samples.
    pub(super) sample: usize,
    /// When it is shown, in seconds.
    pub(super) seconds: f64,
}

impl Track {
    /// Reads the index of a file.
    pub(super) fn read(file: &mut (impl Read + Seek)) -> Result<Self, ReadFault> {
        let top = TopLevel::read(file)?;
        let moov = top.moov.ok_or_else(|| ContainerFault::Missing {
            kind: name(*b"moov"),
        })?;
        Ok(Self::from_boxes(&moov, &top.moofs)?)
    }

    fn from_boxes(moov: &[u8], moofs: &[Moof]) -> Result<Self, ContainerFault> {
        let trak = video_trak(moov)?;
        let header = TrackHeader::read(need(trak, *b"tkhd")?)?;
        let mdia = need(trak, *b"mdia")?;
        let timescale = timescale(*b"mdhd", need(mdia, *b"mdhd")?)?;
        let stbl = need(need(mdia, *b"minf")?, *b"stbl")?;
        let (codec, codec_boxes) = sample_description(need(stbl, *b"stsd")?)?;
        let mut samples = samples(stbl)?;
        let mut decoded_at = samples
            .iter()
            .map(|sample| i64::from(sample.duration))
            .sum();
        for moof in moofs {
            moof.add_samples(moov, header.track_id, &mut samples, &mut decoded_at)?;
        }
        let movie_timescale = timescale_of_movie(moov)?;
        let edits = edits(trak, timescale, movie_timescale)?;
        let shown = shown(&samples, &edits);
        let (begin, end) = span(&samples, &shown);
        let seconds = |ticks: i64| ticks as f64 / f64::from(timescale);
        let fps = shown.len() as f64 / (seconds(end) - seconds(begin));
        Ok(Self {
            codec,
            codec_boxes: codec_boxes.to_vec(),
            fps: Some(fps).filter(|fps| fps.is_normal() && *fps > 0.0),
            shown: shown
                .into_iter()
                .map(|(sample, ticks)| Shown {
                    sample,
                    seconds: seconds(ticks),
                })
                .collect(),
            samples,
            orientation: header.orientation,
        })
    }
}

/// The boxes of a file that make its index.
struct TopLevel {
    moov: Option<Vec<u8>>,
    moofs: Vec<Moof>,
}

impl TopLevel {
    fn read(file: &mut (impl Read + Seek)) -> Result<Self, ReadFault> {
        let end = file.seek(SeekFrom::End(0))?;
        let mut top = Self {
            moov: None,
            moofs: Vec::new(),
        };
        let mut index_bytes = 0;
        let mut start = 0;
        while end - start >= 8 {
            file.seek(SeekFrom::Start(start))?;
            let mut header = [0; 8];
            file.read_exact(&mut header)?;
            let mut fields = Fields::new(*b"    ", &header);
            let size = u64::from(fields.u32()?);
            let kind = fields.kind()?;
            let (size, header_bytes) = match size {
                0 => (end - start, 8),
                1 if end - start < 16 => return Err(ContainerFault::cut(kind).into()),
                1 => {
                    let mut long = [0; 8];
                    file.read_exact(&mut long)?;
                    (u64::from_be_bytes(long), 16)
                }
                size => (size, 8),
            };
            let is_index = kind == *b"moof" || (kind == *b"moov" && top.moov.is_none());
            if size < header_bytes || (is_index && size > end - start) {
                return Err(ContainerFault::cut(kind).into());
            }
            if is_index {
                index_bytes += size;
                if index_bytes > MAX_INDEX_BYTES {
                    return Err(ContainerFault::IndexTooLarge {
                        bytes: index_bytes,
                        max_bytes: MAX_INDEX_BYTES,
                    }
                    .into());
                }
                let mut body = vec![0; (size - header_bytes) as usize];
                file.read_exact(&mut body)?;
                match kind {
                    [_, _, _, b'v'] => top.moov = Some(body),
                    _ => top.moofs.push(Moof { start, body }),
                }
            }
            // Media data may be cut; which samples are lost is seen when they are read.
            start = start.saturating_add(size).min(end);
        }
        Ok(top)
    }
}

/// The first video track.
fn video_trak(moov: &[u8]) -> Result<&[u8], ContainerFault> {
    for found in boxes(moov) {
        let (kind, trak) = found?;
        if kind != *b"trak" {
            continue;
        }
        let mut handler = Fields::new(*b"hdlr", need(need(trak, *b"mdia")?, *b"hdlr")?);
        handler.skip(8)?;
        if handler.kind()? == *b"vide" {
            return Ok(trak);
        }
    }
    Err(ContainerFault::NoVideo)
}

struct TrackHeader {
    track_id: u32,
    orientation: Orientation,
}

impl TrackHeader {
    fn read(tkhd: &[u8]) -> Result<Self, ContainerFault> {
        let mut fields = Fields::new(*b"tkhd", tkhd);
        let (version, _) = fields.version_and_flags()?;
        let times = if version == 1 { 16 } else { 8 };
        fields.skip(times)?;
        let track_id = fields.u32()?;
        // Reserved, duration, reserved, layer, group, volume, reserved.
        fields.skip(4 + times / 2 + 8 + 8)?;
        let mut matrix = [0; 9];
        for value in &mut matrix {
            *value = fields.i32()?;
        }
        let [a, b, _, c, d, ..] = matrix;
        Ok(Self {
            track_id,
            orientation: orientation([a, b, c, d].map(i32::signum)),
        })
    }
}

/// How a frame is turned by the matrix `x' = a·x + c·y`, `y' = b·x + d·y`, which has signs alone.
fn orientation(signs: [i32; 4]) -> Orientation {
    match signs {
        [0, 1, -1, 0] => Orientation::Rotate90,
        [-1, 0, 0, -1] => Orientation::Rotate180,
        [0, -1, 1, 0] => Orientation::Rotate270,
        [-1, 0, 0, 1] => Orientation::FlipHorizontal,
        [1, 0, 0, -1] => Orientation::FlipVertical,
        [0, 1, 1, 0] => Orientation::Rotate90FlipH,
        [0, -1, -1, 0] => Orientation::Rotate270FlipH,
        _ => Orientation::NoTransforms,
    }
}

/// Ticks a second.
fn timescale(kind: Kind, body: &[u8]) -> Result<u32, ContainerFault> {
    let mut fields = Fields::new(kind, body);
    let (version, _) = fields.version_and_flags()?;
    fields.skip(if version == 1 { 16 } else { 8 })?;
    match fields.u32()? {
        0 => Err(ContainerFault::index("a second has 0 ticks")),
        timescale => Ok(timescale),
    }
}

fn timescale_of_movie(moov: &[u8]) -> Result<u32, ContainerFault> {
    timescale(*b"mvhd", need(moov, *b"mvhd")?)
}

/// The codec's four letters, and the boxes behind the fixed fields of its description.
fn sample_description(stsd: &[u8]) -> Result<(Kind, &[u8]), ContainerFault> {
    let mut fields = Fields::new(*b"stsd", stsd);
    fields.skip(8)?;
    let (codec, description) = boxes(fields.rest())
        .next()
        .ok_or(ContainerFault::cut(*b"stsd"))??;
    let mut fields = Fields::new(codec, description);
    fields.skip(78)?;
    Ok((codec, fields.rest()))
}

/// The samples that are shown, in the order of showing, with their ticks.
fn shown(samples: &[Sample], edits: &[Edit]) -> Vec<(usize, i64)> {
    let mut order: Vec<usize> = (0..samples.len()).collect();
    order.sort_by_key(|&index| samples[index].shown_at);
    // Searched, not walked, since a file may have as many edits as samples.
    let place = |ticks| order.partition_point(|&index| samples[index].shown_at < ticks);
    let mut shown = Vec::new();
    for edit in edits {
        let part = &order[place(edit.start)..place(edit.end.max(edit.start))];
        let part = part
            .iter()
            .map(|&index| (index, samples[index].shown_at.saturating_add(edit.shift)));
        // A list of edits could show the same samples over and over.
        shown.extend(part.take(MAX_SAMPLES - shown.len()));
    }
    shown
}

/// The ticks at which the first frame begins and the last ends.
fn span(samples: &[Sample], shown: &[(usize, i64)]) -> (i64, i64) {
    let begin = shown.iter().map(|(_, at)| *at).min().unwrap_or(0);
    let end = shown
        .iter()
        .map(|(index, at)| at.saturating_add(i64::from(samples[*index].duration)));
    (begin, end.max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(shown_at: i64) -> Sample {
        Sample {
            offset: 0,
            size: 0,
            shown_at,
            duration: 10,
            is_sync: true,
        }
    }

    #[test]
    fn frames_are_shown_by_their_time_and_within_the_edits() {
        let samples = [10, 40, 20, 30].map(sample);
        let all = edits(&[], 100, 100).unwrap();
        let order: Vec<usize> = shown(&samples, &all).iter().map(|(i, _)| *i).collect();
        assert_eq!(order, [0, 2, 3, 1]);
        let part = Edit {
            start: 20,
            end: 40,
            shift: -20,
        };
        assert_eq!(shown(&samples, &[part]), [(2, 0), (3, 10)]);
        let backwards = Edit {
            start: 40,
            end: 20,
            shift: 0,
        };
        assert!(shown(&samples, &[backwards]).is_empty());
    }

    #[test]
    fn a_long_size_that_is_cut_is_a_fault() {
        let file = b"\0\0\0\x08free\0\0\0\x01moov\0\0";
        let read = Track::read(&mut std::io::Cursor::new(file));
        let Err(ReadFault::Container(fault)) = read else {
            panic!("is no fault of the container");
        };
        assert_eq!(fault, ContainerFault::cut(*b"moov"));
    }

    #[test]
    fn turns_are_read_from_the_matrix() {
        assert_eq!(orientation([1, 0, 0, 1]), Orientation::NoTransforms);
        assert_eq!(orientation([0, 1, -1, 0]), Orientation::Rotate90);
        assert_eq!(orientation([0, -1, 1, 0]), Orientation::Rotate270);
    }
}
