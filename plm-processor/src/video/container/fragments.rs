//! Fragments of a movie, each with an index of its own.

use super::super::boxes::{Fields, boxes, find, need};
use super::{ContainerFault, MAX_SAMPLES, Sample};

/// A fragment's index.
pub(super) struct Moof {
    /// Where the box begins in the file.
    pub(super) start: u64,
    pub(super) body: Vec<u8>,
}

impl Moof {
    /// Adds a track's samples of this fragment.
    pub(super) fn add_samples(
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
