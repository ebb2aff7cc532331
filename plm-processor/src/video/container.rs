//! The index of an MP4 or QuickTime file: where the samples of its video track stand, and when
//! they are shown.

use std::io::{self, Read, Seek, SeekFrom};

use image::metadata::Orientation;

use super::boxes::{Fields, boxes, entries, find, name, need, table};
use super::kind::Kind;

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

/// A fragment's index.
struct Moof {
    /// Where the box begins in the file.
    start: u64,
    body: Vec<u8>,
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

/// The samples that the tables of `stbl` describe.
fn samples(stbl: &[u8]) -> Result<Vec<Sample>, ContainerFault> {
    let sizes = sample_sizes(need(stbl, *b"stsz")?)?;
    let mut times = runs(table::<2>(*b"stts", need(stbl, *b"stts")?)?);
    let mut delays = find(stbl, *b"ctts")?
        .map(|ctts| Ok(runs(table::<2>(*b"ctts", ctts)?)))
        .transpose()?;
    let offsets = chunk_offsets(stbl)?;
    let mut chunks = Chunks::new(need(stbl, *b"stsc")?, &offsets)?;
    let mut samples = Vec::with_capacity(sizes.len());
    let mut decoded_at: i64 = 0;
    for size in sizes {
        let duration = times
            .next()
            .ok_or(ContainerFault::index("not every sample has a time"))?;
        let delay = delays.as_mut().and_then(Iterator::next).unwrap_or(0);
        samples.push(Sample {
            offset: chunks.place(size)?,
            size,
            // Delays may be negative, whatever the version says.
            shown_at: decoded_at + i64::from(delay.cast_signed()),
            duration,
            is_sync: true,
        });
        decoded_at += i64::from(duration);
    }
    if let Some(stss) = find(stbl, *b"stss")? {
        samples.iter_mut().for_each(|sample| sample.is_sync = false);
        for [number] in table::<1>(*b"stss", stss)? {
            let index = (number as usize).wrapping_sub(1);
            if let Some(sample) = samples.get_mut(index) {
                sample.is_sync = true;
            }
        }
    }
    Ok(samples)
}

fn sample_sizes(stsz: &[u8]) -> Result<Vec<u32>, ContainerFault> {
    let mut fields = Fields::new(*b"stsz", stsz);
    fields.version_and_flags()?;
    let (size, count) = (fields.u32()?, fields.u32()?);
    if count as usize > MAX_SAMPLES {
        return Err(ContainerFault::index("it has too many samples"));
    }
    if size > 0 {
        return Ok(vec![size; count as usize]);
    }
    let sizes = entries::<1>(*b"stsz", fields.rest(), count)?;
    Ok(sizes.map(|[size]| size).collect())
}

/// Values that are stored as (count, value).
fn runs(entries: impl Iterator<Item = [u32; 2]>) -> impl Iterator<Item = u32> {
    entries.flat_map(|[count, value]| std::iter::repeat_n(value, count as usize))
}

fn chunk_offsets(stbl: &[u8]) -> Result<Vec<u64>, ContainerFault> {
    if let Some(co64) = find(stbl, *b"co64")? {
        let offsets = table::<2>(*b"co64", co64)?;
        return Ok(offsets
            .map(|[high, low]| u64::from(high) << 32 | u64::from(low))
            .collect());
    }
    let offsets = table::<1>(*b"stco", need(stbl, *b"stco")?)?;
    Ok(offsets.map(|[offset]| u64::from(offset)).collect())
}

/// Places samples in chunks, one after another.
struct Chunks<'a> {
    offsets: &'a [u64],
    /// (first chunk from 0, samples in each from there on).
    runs: Vec<(usize, u32)>,
    run: usize,
    chunk: usize,
    left_in_chunk: u32,
    next_offset: u64,
}

impl<'a> Chunks<'a> {
    fn new(stsc: &[u8], offsets: &'a [u64]) -> Result<Self, ContainerFault> {
        let runs = table::<3>(*b"stsc", stsc)?;
        Ok(Self {
            offsets,
            runs: runs
                .map(|[first, count, _]| ((first as usize).saturating_sub(1), count))
                .collect(),
            run: 0,
            chunk: 0,
            left_in_chunk: 0,
            next_offset: 0,
        })
    }

    fn place(&mut self, size: u32) -> Result<u64, ContainerFault> {
        while self.left_in_chunk == 0 {
            let offset = self.offsets.get(self.chunk).ok_or(ContainerFault::index(
                "its chunks hold fewer samples than it has",
            ))?;
            while self
                .runs
                .get(self.run + 1)
                .is_some_and(|(first, _)| *first <= self.chunk)
            {
                self.run += 1;
            }
            let run = self.runs.get(self.run);
            self.left_in_chunk = run.map_or(0, |(_, count)| *count);
            self.next_offset = *offset;
            self.chunk += 1;
        }
        self.left_in_chunk -= 1;
        let offset = self.next_offset;
        self.next_offset = offset
            .checked_add(u64::from(size))
            .ok_or(ContainerFault::index("a sample lies beyond every file"))?;
        Ok(offset)
    }
}

impl Moof {
    /// Adds a track's samples of this fragment.
    fn add_samples(
        &self,
        moov: &[u8],
        track_id: u32,
        samples: &mut Vec<Sample>,
        decoded_at: &mut i64,
    ) -> Result<(), ContainerFault> {
        for found in boxes(&self.body) {
            let (kind, traf) = found?;
            if kind == *b"traf" {
                let header = FragmentHeader::read(need(traf, *b"tfhd")?, moov)?;
                if header.track_id == track_id {
                    self.add_runs(traf, &header, samples, decoded_at)?;
                }
            }
        }
        Ok(())
    }

    fn add_runs(
        &self,
        traf: &[u8],
        header: &FragmentHeader,
        samples: &mut Vec<Sample>,
        decoded_at: &mut i64,
    ) -> Result<(), ContainerFault> {
        let base = header.base_offset.unwrap_or(self.start);
        let mut offset = base;
        if let Some(tfdt) = find(traf, *b"tfdt")? {
            let mut fields = Fields::new(*b"tfdt", tfdt);
            let (version, _) = fields.version_and_flags()?;
            let time = if version == 1 {
                fields.u64()?
            } else {
                u64::from(fields.u32()?)
            };
            *decoded_at = i64::try_from(time)
                .map_err(|_| ContainerFault::index("a fragment begins after all time"))?;
        }
        for found in boxes(traf) {
            let (kind, trun) = found?;
            if kind != *b"trun" {
                continue;
            }
            let run = Run::read(trun)?;
            if let Some(relative) = run.data_offset {
                offset = base
                    .checked_add_signed(i64::from(relative))
                    .ok_or(ContainerFault::index("a sample lies before its file"))?;
            }
            for index in 0..run.count {
                if samples.len() >= MAX_SAMPLES {
                    return Err(ContainerFault::index("it has too many samples"));
                }
                let field = |values: &[u32]| values.get(index as usize).copied();
                let first_flags = run.first_flags.filter(|_| index == 0);
                let flags = field(&run.flags).or(first_flags).unwrap_or(header.flags);
                let size = field(&run.sizes).unwrap_or(header.size);
                let duration = field(&run.durations).unwrap_or(header.duration);
                let delay = field(&run.delays).unwrap_or(0).cast_signed();
                samples.push(Sample {
                    offset,
                    size,
                    shown_at: decoded_at.saturating_add(i64::from(delay)),
                    duration,
                    is_sync: flags & NOT_SYNC == 0,
                });
                *decoded_at = decoded_at.saturating_add(i64::from(duration));
                offset = offset
                    .checked_add(u64::from(size))
                    .ok_or(ContainerFault::index("a sample lies beyond every file"))?;
            }
        }
        Ok(())
    }
}

/// Flag of a sample at which decoding cannot begin.
const NOT_SYNC: u32 = 0x0001_0000;

/// What a fragment's samples have in common.
struct FragmentHeader {
    track_id: u32,
    base_offset: Option<u64>,
    duration: u32,
    size: u32,
    flags: u32,
}

impl FragmentHeader {
    fn read(tfhd: &[u8], moov: &[u8]) -> Result<Self, ContainerFault> {
        let mut fields = Fields::new(*b"tfhd", tfhd);
        let (_, present) = fields.version_and_flags()?;
        let track_id = fields.u32()?;
        let mut header = Self {
            track_id,
            base_offset: None,
            ..Self::defaults(moov, track_id)?
        };
        if present & 0x01 != 0 {
            header.base_offset = Some(fields.u64()?);
        }
        if present & 0x02 != 0 {
            fields.skip(4)?;
        }
        for (bit, field) in [
            (0x08, &mut header.duration),
            (0x10, &mut header.size),
            (0x20, &mut header.flags),
        ] {
            if present & bit != 0 {
                *field = fields.u32()?;
            }
        }
        Ok(header)
    }

    /// What the movie says of all fragments of a track.
    fn defaults(moov: &[u8], track_id: u32) -> Result<Self, ContainerFault> {
        let mut header = Self {
            track_id,
            base_offset: None,
            duration: 0,
            size: 0,
            flags: 0,
        };
        for found in boxes(find(moov, *b"mvex")?.unwrap_or(&[])) {
            let (kind, trex) = found?;
            let mut fields = Fields::new(kind, trex);
            if kind != *b"trex" {
                continue;
            }
            fields.skip(4)?;
            if fields.u32()? == track_id {
                fields.skip(4)?;
                header.duration = fields.u32()?;
                header.size = fields.u32()?;
                header.flags = fields.u32()?;
            }
        }
        Ok(header)
    }
}

/// A run of samples that stand one after another.
struct Run {
    count: u32,
    data_offset: Option<i32>,
    first_flags: Option<u32>,
    durations: Vec<u32>,
    sizes: Vec<u32>,
    flags: Vec<u32>,
    delays: Vec<u32>,
}

impl Run {
    fn read(trun: &[u8]) -> Result<Self, ContainerFault> {
        let mut fields = Fields::new(*b"trun", trun);
        let (_, present) = fields.version_and_flags()?;
        let mut run = Self {
            count: fields.u32()?,
            data_offset: None,
            first_flags: None,
            durations: Vec::new(),
            sizes: Vec::new(),
            flags: Vec::new(),
            delays: Vec::new(),
        };
        if present & 0x01 != 0 {
            run.data_offset = Some(fields.i32()?);
        }
        if present & 0x04 != 0 {
            run.first_flags = Some(fields.u32()?);
        }
        for _ in 0..run.count {
            for (bit, column) in [
                (0x100, &mut run.durations),
                (0x200, &mut run.sizes),
                (0x400, &mut run.flags),
                (0x800, &mut run.delays),
            ] {
                if present & bit != 0 {
                    column.push(fields.u32()?);
                }
            }
            // A run without columns has nothing that could end.
            if present & 0xF00 == 0 {
                break;
            }
        }
        Ok(run)
    }
}

/// A part of the track that is shown: from `start` to `end` in its ticks, shown `shift` later.
#[derive(Debug, PartialEq)]
struct Edit {
    start: i64,
    end: i64,
    shift: i64,
}

/// The parts that the edit list shows, one after another.
fn edits(trak: &[u8], timescale: u32, movie_timescale: u32) -> Result<Vec<Edit>, ContainerFault> {
    let whole = Edit {
        start: i64::MIN,
        end: i64::MAX,
        shift: 0,
    };
    let elst = match find(trak, *b"edts")? {
        Some(edts) => find(edts, *b"elst")?,
        None => None,
    };
    let Some(elst) = elst else {
        return Ok(vec![whole]);
    };
    let mut fields = Fields::new(*b"elst", elst);
    let (version, _) = fields.version_and_flags()?;
    let count = fields.u32()?;
    let mut edits = Vec::new();
    let mut elapsed: i64 = 0;
    for _ in 0..count {
        let (duration, start) = if version == 1 {
            (fields.u64()?, fields.u64()?.cast_signed())
        } else {
            (u64::from(fields.u32()?), i64::from(fields.i32()?))
        };
        fields.skip(4)?;
        let ticks = i128::from(duration) * i128::from(timescale);
        let ticks = (ticks + i128::from(movie_timescale) / 2) / i128::from(movie_timescale);
        let ticks = i64::try_from(ticks).unwrap_or(i64::MAX);
        // An edit that begins at -1 is a pause.
        if start >= 0 {
            edits.push(Edit {
                start,
                // A fragmented file does not know its duration and writes 0.
                end: match ticks {
                    0 => i64::MAX,
                    ticks => start.saturating_add(ticks),
                },
                shift: elapsed.saturating_sub(start),
            });
        }
        elapsed = elapsed.saturating_add(ticks);
    }
    if edits.is_empty() {
        edits.push(whole);
    }
    Ok(edits)
}

/// The samples that are shown, in the order of showing, with their ticks.
fn shown(samples: &[Sample], edits: &[Edit]) -> Vec<(usize, i64)> {
    let mut order: Vec<usize> = (0..samples.len()).collect();
    order.sort_by_key(|&index| samples[index].shown_at);
    let mut shown = Vec::new();
    for edit in edits {
        let part = order.iter().filter(|&&index| {
            let at = samples[index].shown_at;
            at >= edit.start && at < edit.end
        });
        let part = part.map(|&index| (index, samples[index].shown_at.saturating_add(edit.shift)));
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
    }

    #[test]
    fn edits_are_measured_in_the_movies_ticks() {
        let elst =
            b"\0\0\0\0\0\0\0\x02\0\0\0\x01\xFF\xFF\xFF\xFF\0\x01\0\0\0\0\0\x02\0\0\0\x05\0\x01\0\0";
        let mut edts = (elst.len() as u32 + 8).to_be_bytes().to_vec();
        edts.extend(b"elst");
        edts.extend(elst);
        let mut trak = (edts.len() as u32 + 8).to_be_bytes().to_vec();
        trak.extend(b"edts");
        trak.extend(edts);
        let expected = Edit {
            start: 5,
            end: 25,
            shift: 5,
        };
        assert_eq!(edits(&trak, 100, 10).unwrap(), [expected]);
    }

    #[test]
    fn samples_fill_chunks() {
        let stsc =
            b"\0\0\0\0\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0\x01";
        let mut chunks = Chunks::new(stsc, &[100, 200, 300]).unwrap();
        let offsets: Vec<u64> = (0..4).map(|_| chunks.place(7).unwrap()).collect();
        assert_eq!(offsets, [100, 107, 200, 300]);
        assert!(chunks.place(7).is_err());
    }

    #[test]
    fn turns_are_read_from_the_matrix() {
        assert_eq!(orientation([1, 0, 0, 1]), Orientation::NoTransforms);
        assert_eq!(orientation([0, 1, -1, 0]), Orientation::Rotate90);
        assert_eq!(orientation([0, -1, 1, 0]), Orientation::Rotate270);
    }
}
