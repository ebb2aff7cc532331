use std::path::Path;

use safetensors::tensor::Metadata;

use super::files::Source;
use crate::Error;

/// Largest header of a weight file that is read; PLM-8B's is below 200 kB.
const MAX_HEADER_BYTES: u64 = 100 << 20;

/// Reads and checks a safetensors header; returns where the data starts and what it holds.
pub(super) fn read_header(path: &Path, source: &Source) -> Result<(u64, Metadata), Error> {
    let fail = |what: String| Error::WeightFile {
        path: path.to_owned(),
        what,
    };
    let io = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let file_bytes = source.len().map_err(io)?;
    let mut length = [0; 8];
    if file_bytes < 8 {
        return Err(fail(format!(
            "it is only {file_bytes} bytes long; download it again"
        )));
    }
    source.read_exact_at(&mut length, 0).map_err(io)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES || length > file_bytes - 8 {
        return Err(fail(format!(
            "its header claims {length} bytes in a file of {file_bytes}; it is truncated or no safetensors file"
        )));
    }
    let mut header = vec![0; length as usize];
    source.read_exact_at(&mut header, 8).map_err(io)?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|error| fail(format!("its header is damaged: {error}")))?;
    let expected = 8 + length + metadata.data_len() as u64;
    if expected != file_bytes {
        return Err(fail(format!(
            "its header describes {expected} bytes, the file has {file_bytes}; download it again"
        )));
    }
    Ok((8 + length, metadata))
}
