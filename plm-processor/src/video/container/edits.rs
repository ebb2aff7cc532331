//! The edit list of a track: which parts of it are shown.

use super::super::boxes::{Fields, find};
use super::ContainerFault;

/// A part of the track that is shown: from `start` to `end` in its ticks, shown `shift` later.
#[derive(Debug, PartialEq)]
pub(super) struct Edit {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) shift: i64,
}

/// The parts that the edit list shows, one after another.
pub(super) fn edits(
    trak: &[u8],
    timescale: u32,
    movie_timescale: u32,
) -> Result<Vec<Edit>, ContainerFault> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
