//! The tables of a track: where its samples stand, and when they are shown.

use super::super::boxes::{Fields, entries, find, need, table};
use super::{ContainerFault, MAX_SAMPLES, Sample};

/// The samples that the tables of `stbl` describe.
pub(super) fn samples(stbl: &[u8]) -> Result<Vec<Sample>, ContainerFault> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_fill_chunks() {
        let stsc =
            b"\0\0\0\0\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0\x01";
        let mut chunks = Chunks::new(stsc, &[100, 200, 300]).unwrap();
        let offsets: Vec<u64> = (0..4).map(|_| chunks.place(7).unwrap()).collect();
        assert_eq!(offsets, [100, 107, 200, 300]);
        assert!(chunks.place(7).is_err());
    }
}
