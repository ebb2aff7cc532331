use std::sync::Arc;

use burn::tensor::DType;

use super::arrangement::{Arrangement, RowOrder, gather, resample_positions};
use super::low_rank::LowRank;
use super::numbers;
use super::tensors::{Shard, TensorEntry, float_dtype};
use crate::Error;

/// Bytes of a tensor that are read and converted at a time.
const READ_CHUNK_BYTES: usize = 8 << 20;

/// Reads a tensor's bytes chunk by chunk.
pub(super) struct Chunks<'a> {
    shard: &'a Shard,
    offset: u64,
    pub(super) left: usize,
    /// Bytes of a chunk.
    step: usize,
    /// The order that rows take, rows of a head, bytes of a row.
    rows: Option<(RowOrder, usize, usize)>,
    /// What is merged into the rows, and the numbers' precision.
    merged: Option<(&'a [Arc<LowRank>], DType)>,
    /// Rows that were read.
    done: usize,
    /// The numbers' precision in the file, and the one that they are rounded to.
    cast: Option<[DType; 2]>,
    buffer: Vec<u8>,
    /// All bytes, where they had to be read at once.
    whole: Option<Vec<u8>>,
}

impl<'a> Chunks<'a> {
    /// The bytes of a tensor, a few MiB at a time.
    ///
    /// A tensor that is not contiguous or that is interpolated is read as a whole.
    pub(super) fn of(shard: &'a Shard, entry: &'a TensorEntry) -> Result<Self, Error> {
        let size = entry.dtype.bitsize() / 8;
        let mut chunks = Self {
            shard,
            offset: entry.offset,
            left: entry.num_bytes,
            step: READ_CHUNK_BYTES,
            rows: None,
            merged: None,
            done: 0,
            cast: None,
            buffer: Vec::new(),
            whole: None,
        };
        if let Arrangement::HeadRows { head_rows, order } = entry.arrangement {
            let row_bytes = size * entry.shape[1..].iter().product::<usize>();
            let head_bytes = (head_rows * row_bytes).max(1);
            chunks.step = READ_CHUNK_BYTES.div_ceil(head_bytes) * head_bytes;
            chunks.rows = Some((order, head_rows, row_bytes));
        }
        if let Some(dtype) = float_dtype(entry.dtype)
            && !entry.merged.is_empty()
        {
            chunks.merged = Some((&entry.merged, dtype));
            chunks.whole_rows(size * entry.shape[1]);
        }
        if let (Some(from), Some(to)) = (float_dtype(entry.dtype), entry.cast.and_then(float_dtype))
        {
            chunks.cast = Some([from, to]);
        }
        if let Some(strided) = &entry.strided {
            let span = chunks.read(strided.span)?;
            chunks.whole = Some(gather(span, &strided.shape, &strided.strides, size));
        }
        if let (
            Arrangement::Positions {
                class_rows,
                from,
                to,
            },
            Some(dtype),
        ) = (&entry.arrangement, float_dtype(entry.dtype))
        {
            let stored = match chunks.whole.take() {
                Some(whole) => whole,
                None => chunks.read(entry.num_bytes)?.to_vec(),
            };
            let resampled = resample_positions(&stored, dtype, *class_rows, *from, *to);
            chunks.whole = Some(resampled);
        }
        if let Some(whole) = &chunks.whole {
            chunks.left = whole.len();
        }
        Ok(chunks)
    }

    /// Ends every piece at the end of a row of `row_bytes` bytes.
    pub(super) fn whole_rows(&mut self, row_bytes: usize) {
        // Pieces of whole heads are pieces of whole rows.
        if self.rows.is_none() {
            self.step = self.step.div_ceil(row_bytes.max(1)) * row_bytes.max(1);
        }
    }

    /// The next bytes; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        match self.whole.take() {
            Some(whole) => {
                self.buffer = whole;
                self.left = 0;
            }
            None => {
                let size = self.left.min(self.step);
                self.read(size)?;
                self.offset += size as u64;
                self.left -= size;
            }
        }
        // Adapters are in Hugging Face's order.
        let (merge_first, rows) = match self.rows {
            Some(rows @ (RowOrder::PairsFromHalves, ..)) => (true, Some(rows)),
            rows => (false, rows),
        };
        if merge_first {
            self.merge();
        }
        if let Some((order, head_rows, row_bytes)) = rows {
            order.apply(&mut self.buffer, head_rows, row_bytes);
        }
        if !merge_first {
            self.merge();
        }
        if let Some([from, to]) = self.cast {
            self.buffer = numbers::from_f32(&numbers::to_f32(&self.buffer, from), to);
        }
        Ok(Some(&self.buffer))
    }

    /// Merges adapters into the rows in the buffer.
    fn merge(&mut self) {
        let Some((adapters, dtype)) = self.merged else {
            return;
        };
        for adapter in adapters {
            adapter.merge(self.done, &mut self.buffer, dtype);
        }
        let row_bytes = adapters[0].d_input * dtype.size();
        self.done += self.buffer.len() / row_bytes;
    }

    /// Reads `size` bytes of the file into the buffer.
    fn read(&mut self, size: usize) -> Result<&[u8], Error> {
        self.buffer.resize(size, 0);
        self.shard
            .source
            .read_exact_at(&mut self.buffer, self.offset)
            .map_err(|source| Error::Read {
                path: self.shard.path.clone(),
                source,
            })?;
        Ok(&self.buffer)
    }
}
