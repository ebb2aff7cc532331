//! The records of a `torch.save` file, which is a zip archive without compression.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use super::pickle::{self, MAX_PICKLE_BYTES, TensorView};
use crate::Error;
use crate::checkpoint::files::Source;

/// More than any checkpoint has; each costs memory.
const MAX_RECORDS: usize = 100_000;

/// A tensor of a `torch.save` file and where its storage lies.
#[derive(Debug)]
pub(super) struct StoredTensor {
    pub(super) view: TensorView,
    /// The storage's first byte in the file.
    pub(super) start: u64,
    /// Bytes of the storage.
    pub(super) length: u64,
}

/// Where a record's bytes lie.
#[derive(Debug, Clone, Copy)]
struct Record {
    start: u64,
    length: u64,
}

/// Lists the tensors of a `torch.save` file; no tensor is read.
pub(super) fn stored_tensors(
    path: &Path,
    source: &Source,
) -> Result<Vec<(String, StoredTensor)>, Error> {
    let fail = |what: String| Error::WeightFile {
        path: path.to_owned(),
        what,
    };
    let read = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let records = records(source).map_err(fail)?;
    // All records stand in one folder, whose name is the file's when it was saved.
    let folder = records
        .keys()
        .filter_map(|name| name.strip_suffix("data.pkl"))
        .next()
        .ok_or_else(|| fail("it holds no `data.pkl`, so it is no file of torch.save".into()))?;
    let contents = |name: &str, limit: u64| match records.get(&format!("{folder}{name}")) {
        Some(record) if record.length > limit => Err(fail(format!(
            "its record `{name}` has {} bytes, more than {limit}",
            record.length
        ))),
        Some(record) => {
            let mut bytes = vec![0; record.length as usize];
            let result = source.read_exact_at(&mut bytes, record.start);
            result.map(|()| bytes).map_err(read)
        }
        None => Ok(Vec::new()),
    };
    if contents("byteorder", 16)? == b"big" {
        return Err(fail(
            "its numbers are big-endian, which no checkpoint's are".into(),
        ));
    }
    let pickle = contents("data.pkl", MAX_PICKLE_BYTES)?;
    let mut tensors = Vec::new();
    for (name, view) in pickle::tensors(&pickle).map_err(fail)? {
        let record = records.get(&format!("{folder}data/{}", view.storage));
        let record = record.ok_or_else(|| {
            fail(format!(
                "tensor `{name}` stands in record `{}`, which is missing; download it again",
                view.storage
            ))
        })?;
        let stored = StoredTensor {
            view,
            start: record.start,
            length: record.length,
        };
        tensors.push((name, stored));
    }
    Ok(tensors)
}

fn records(source: &Source) -> Result<HashMap<String, Record>, String> {
    let length = source.len().map_err(|error| error.to_string())?;
    let mut start = [0; 2];
    if length < 2 || source.read_exact_at(&mut start, 0).is_err() || start != *b"PK" {
        return Err(
            "it is no zip archive, as torch.save writes since version 1.6; load it in Python and save it anew"
                .into(),
        );
    }
    let damaged = |error: zip::result::ZipError| format!("it is damaged or cut short: {error}");
    let reader = SourceReader {
        source,
        position: 0,
        length,
    };
    let mut archive = ZipArchive::new(reader).map_err(damaged)?;
    if archive.len() > MAX_RECORDS {
        return Err(format!(
            "it has {} records, more than {MAX_RECORDS}",
            archive.len()
        ));
    }
    let mut records = HashMap::new();
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index).map_err(damaged)?;
        let name = file.name().map_err(damaged)?.into_owned();
        if file.encrypted() || file.compression() != CompressionMethod::Stored {
            return Err(format!(
                "its record `{name}` is compressed or encrypted, which torch.save does not do"
            ));
        }
        let record = Record {
            start: file.data_start().unwrap_or(length),
            length: file.size(),
        };
        if record
            .start
            .checked_add(record.length)
            .is_none_or(|end| end > length)
        {
            return Err(format!(
                "its record `{name}` reaches beyond its end; download it again"
            ));
        }
        records.insert(name, record);
    }
    Ok(records)
}

/// A reader of a source with a position of its own.
struct SourceReader<'a> {
    source: &'a Source,
    position: u64,
    length: u64,
}

impl Read for SourceReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.length.saturating_sub(self.position);
        let count = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        self.source
            .read_exact_at(&mut buffer[..count], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for SourceReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}
