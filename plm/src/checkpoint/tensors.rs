use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{AllocationProperty, Bytes, DType, TensorData};
use half::{bf16, f16};
use plm_kernels::Matrix;
use safetensors::tensor::Dtype;
use serde::Deserialize;

use super::arrangement::{Arrangement, RowOrder};
use super::chunks::Chunks;
use super::files::{CheckpointFiles, Source, open};
use super::header::read_header;
use super::low_rank::LowRank;
use super::numbers;
use super::original::{is_rotated, torch_weights};
use crate::Error;

const SINGLE_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";

/// The tensors of a checkpoint, read one by one: of safetensors files, or of Meta's
/// `consolidated*.pth` under the names, shapes and order of rows that Hugging Face gives them.
#[derive(Debug, Default)]
pub struct Weights {
    shards: Vec<Shard>,
    tensors: BTreeMap<String, TensorEntry>,
}

#[derive(Debug)]
pub(super) struct Shard {
    pub(super) path: PathBuf,
    pub(super) source: Source,
}

/// Where a tensor stands, and how.
#[derive(Debug, Clone)]
pub(crate) struct TensorEntry {
    pub(crate) shard: usize,
    /// The type of the stored numbers.
    pub(crate) dtype: Dtype,
    /// What floats are rounded to, or widened to, as they are read.
    pub(crate) cast: Option<Dtype>,
    pub(crate) shape: Vec<usize>,
    pub(crate) offset: u64,
    /// Bytes of the stored numbers.
    pub(crate) num_bytes: usize,
    pub(crate) arrangement: Arrangement,
    /// How it is stored, if it is not contiguous.
    pub(crate) strided: Option<Strided>,
    /// What is merged into it as it is read.
    pub(crate) merged: Vec<Arc<LowRank>>,
}

/// A stored tensor of any strides.
#[derive(Debug, Clone)]
pub(crate) struct Strided {
    pub(crate) shape: Vec<usize>,
    /// Numbers between neighbours, by dimension.
    pub(crate) strides: Vec<usize>,
    /// Bytes from the first number to the last.
    pub(crate) span: usize,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl TensorEntry {
    /// The type of the numbers as they are read.
    pub(super) fn read_dtype(&self) -> Dtype {
        self.cast.unwrap_or(self.dtype)
    }
}

impl Weights {
    /// Opens the weights of a folder and reads their headers, no tensor yet.
    ///
    /// # Errors
    ///
    /// [`Error::MissingFile`] when there is neither a weight file nor an index, or a shard that
    /// the index names is missing; [`Error::WeightFile`] when a header lies or a file is
    /// truncated; [`Error::Shards`] when index and shards disagree.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::from_files(&CheckpointFiles::find(dir)?)
    }

    /// Opens the tensors of one file of `torch.save`, such as a part of Meta's weights, under their
    /// own names and as they are stored. Nothing in it is executed.
    ///
    /// # Errors
    ///
    /// [`Error::MissingFile`] or [`Error::Read`] for the file; [`Error::WeightFile`] when it is
    /// damaged, truncated, or holds anything but tensors.
    pub fn open_torch(path: impl AsRef<Path>) -> Result<Self, Error> {
        torch_weights(path.as_ref())
    }

    /// Opens one file of safetensors.
    pub(crate) fn open_file(path: &Path) -> Result<Self, Error> {
        let mut weights = Self::default();
        weights.add_shard(path.to_owned(), open(path)?)?;
        Ok(weights)
    }

    /// Merges an adapter's part into a matrix of floats, which is read so from here on.
    pub(crate) fn merge(&mut self, name: &str, part: LowRank) {
        if let Some(entry) = self.tensors.get_mut(name) {
            entry.merged.push(Arc::new(part));
        }
    }

    /// Rounds a tensor of floats to another precision, in which it is read from here on; what is
    /// merged into it is added before.
    pub(crate) fn cast(&mut self, name: &str, dtype: Dtype) {
        if let Some(entry) = self.tensors.get_mut(name)
            && float_dtype(entry.dtype).is_some()
        {
            entry.cast = (dtype != entry.dtype).then_some(dtype);
        }
    }

    /// Adds a file of tensors; returns its number.
    pub(crate) fn add_source(&mut self, path: PathBuf, source: Source) -> usize {
        self.shards.push(Shard { path, source });
        self.shards.len() - 1
    }

    /// Adds a tensor, in place of one of the same name.
    pub(crate) fn insert(&mut self, name: String, entry: TensorEntry) {
        self.tensors.insert(name, entry);
    }

    pub(crate) fn from_files(files: &CheckpointFiles) -> Result<Self, Error> {
        if let CheckpointFiles::Original(original) = files {
            return original.weights();
        }
        let mut weights = Self::default();
        // A single file is preferred to an index, as `from_pretrained` does.
        let single = files.open(SINGLE_FILE);
        match (single, files.read(INDEX_FILE)?) {
            (Ok(source), _) => weights.add_shard(files.path(SINGLE_FILE), source)?,
            (Err(Error::MissingFile { .. }), Some(index)) => weights.add_index(files, &index)?,
            (Err(error), _) => return Err(error),
        }
        Ok(weights)
    }

    fn add_index(&mut self, files: &CheckpointFiles, index: &[u8]) -> Result<(), Error> {
        let index_path = files.path(INDEX_FILE);
        let index: Index = serde_json::from_slice(index).map_err(|source| Error::Json {
            path: index_path.clone(),
            source,
        })?;
        let mut names: Vec<&String> = index.weight_map.values().collect();
        names.sort();
        names.dedup();
        for name in names {
            if name.contains(['/', '\\']) || name.as_str() == ".." {
                return Err(Error::Shards {
                    path: index_path,
                    what: format!("shard `{name}` is outside the checkpoint's folder"),
                });
            }
            self.add_shard(files.path(name), files.open(name)?)?;
        }
        for (tensor, shard) in &index.weight_map {
            let found = self.tensors.get(tensor).map(|entry| entry.shard);
            let expected = self.shards.iter().position(|s| s.path == files.path(shard));
            if found.is_none() || found != expected {
                return Err(Error::Shards {
                    path: index_path,
                    what: format!("tensor `{tensor}` is not in `{shard}`, where the index puts it"),
                });
            }
        }
        Ok(())
    }

    fn add_shard(&mut self, path: PathBuf, source: Source) -> Result<(), Error> {
        let (header_bytes, metadata) = read_header(&path, &source)?;
        let shard = self.add_source(path.clone(), source);
        for (name, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let entry = TensorEntry {
                shard,
                dtype: info.dtype,
                cast: None,
                shape: info.shape.clone(),
                offset: header_bytes + start as u64,
                num_bytes: end - start,
                arrangement: Arrangement::AsStored,
                strided: None,
                merged: Vec::new(),
            };
            if self.tensors.insert(name.clone(), entry).is_some() {
                return Err(Error::Shards {
                    path,
                    what: format!("tensor `{name}` stands in another shard too"),
                });
            }
        }
        Ok(())
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, if there is such a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.shape.as_slice())
    }

    /// The precision of a tensor, if there is such a tensor and it is f32, f16 or bf16.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        float_dtype(self.tensors.get(name)?.read_dtype())
    }

    /// The precision of a tensor as the file names it.
    pub(crate) fn dtype_name(&self, name: &str) -> String {
        self.tensors
            .get(name)
            .map_or_else(String::new, |entry| format!("{:?}", entry.read_dtype()))
    }

    /// The file that a tensor is in, if there is such a tensor.
    pub(crate) fn path(&self, name: &str) -> &Path {
        let shard = self
            .tensors
            .get(name)
            .map(|entry| &self.shards[entry.shard]);
        shard.map_or(Path::new(""), |shard| &shard.path)
    }

    /// Bytes of all tensors in the files.
    pub fn num_bytes(&self) -> u64 {
        self.tensors.values().map(|t| t.num_bytes as u64).sum()
    }

    /// Leaves a tensor out.
    pub(crate) fn forget(&mut self, name: &str) {
        self.tensors.remove(name);
    }

    /// Gives a tensor another name.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        if let Some(entry) = self.tensors.remove(from) {
            self.tensors.insert(to.to_owned(), entry);
        }
    }

    /// Bytes of a tensor as it is read, in the files' precision.
    pub(crate) fn tensor_bytes(&self, name: &str) -> u64 {
        self.tensors.get(name).map_or(0, |entry| {
            let numbers: usize = entry.shape.iter().product();
            (numbers * (entry.read_dtype().bitsize() / 8)) as u64
        })
    }

    /// Gives the rows of queries and keys, in heads of `head_rows`, Meta's order where they have
    /// Hugging Face's, and the reverse.
    pub(crate) fn toggle_head_rows(&mut self, head_rows: usize) {
        for (name, entry) in &mut self.tensors {
            if is_rotated(name) {
                entry.arrangement = match entry.arrangement {
                    Arrangement::HeadRows { .. } => Arrangement::AsStored,
                    _ => Arrangement::HeadRows {
                        head_rows,
                        order: RowOrder::PairsFromHalves,
                    },
                };
            }
        }
    }

    /// Gives a tensor's bytes piece by piece to `take`, which may fail.
    pub(crate) fn copy<E>(
        &self,
        name: &str,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, Error> {
        let entry = self.tensors.get(name);
        let entry = entry.ok_or_else(|| Error::MissingTensor { name: name.into() })?;
        let mut chunks = Chunks::of(&self.shards[entry.shard], entry)?;
        while let Some(bytes) = chunks.next()? {
            if let Err(error) = take(bytes) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// Whether two tensors of the files are the same, to the last bit.
    pub(crate) fn are_equal(&self, a: &str, b: &str) -> Result<bool, Error> {
        let (Some(a), Some(b)) = (self.tensors.get(a), self.tensors.get(b)) else {
            return Ok(false);
        };
        if (a.read_dtype(), &a.shape) != (b.read_dtype(), &b.shape) {
            return Ok(false);
        }
        let mut a = Chunks::of(&self.shards[a.shard], a)?;
        let mut b = Chunks::of(&self.shards[b.shard], b)?;
        loop {
            match (a.next()?, b.next()?) {
                (Some(a), Some(b)) if a == b => {}
                (None, None) => return Ok(true),
                _ => return Ok(false),
            }
        }
    }

    /// One tensor as it is stored, in its own precision; without a copy where `share` allows it and
    /// the file can be mapped into memory.
    ///
    /// # Errors
    ///
    /// [`Error::MissingTensor`] when there is no such tensor; [`Error::Read`] when the file cannot
    /// be read.
    pub(crate) fn stored(&self, name: &str, share: bool) -> Result<TensorData, Error> {
        let Some(entry) = self.tensors.get(name) else {
            return Err(Error::MissingTensor { name: name.into() });
        };
        let dtype = stored_dtype(entry.read_dtype())
            .ok_or_else(|| Error::MissingTensor { name: name.into() })?;
        let shard = &self.shards[entry.shard];
        let as_stored = entry.arrangement == Arrangement::AsStored
            && entry.strided.is_none()
            && entry.cast.is_none()
            && entry.merged.is_empty();
        if share
            && as_stored
            && let Some(bytes) = shard.source.shared(entry.offset, entry.num_bytes)
            && (bytes.as_ptr() as usize).is_multiple_of(dtype.size())
        {
            let bytes = Bytes::from_shared(bytes, AllocationProperty::File);
            return Ok(TensorData::from_bytes(bytes, entry.shape.clone(), dtype));
        }
        let chunks = Chunks::of(shard, entry)?;
        let shape = entry.shape.clone();
        Ok(match dtype {
            DType::F32 => TensorData::new(convert(chunks, f32::from_le_bytes)?, shape),
            DType::F16 => TensorData::new(convert(chunks, f16::from_le_bytes)?, shape),
            DType::BF16 => TensorData::new(convert(chunks, bf16::from_le_bytes)?, shape),
            DType::I8 => TensorData::new(convert(chunks, i8::from_le_bytes)?, shape),
            _ => TensorData::new(convert(chunks, u8::from_le_bytes)?, shape),
        })
    }

    /// Gives the rows of a matrix as it is stored, some at a time.
    pub(crate) fn rows(&self, name: &str, mut take: impl FnMut(&Matrix<'_>)) -> Result<(), Error> {
        let (Some(entry), Some(dtype)) = (self.tensors.get(name), self.dtype(name)) else {
            return Err(Error::MissingTensor { name: name.into() });
        };
        let columns = entry.shape.last().copied().unwrap_or(0);
        let mut chunks = Chunks::of(&self.shards[entry.shard], entry)?;
        chunks.whole_rows(columns * entry.dtype.bitsize() / 8);
        while let Some(bytes) = chunks.next()? {
            let rows = bytes.len() / (columns * dtype.size()).max(1);
            let take = &mut |weights| take(&Matrix::new(rows, columns, weights));
            match (
                dtype,
                bytemuck::try_cast_slice(bytes),
                bytemuck::try_cast_slice(bytes),
            ) {
                (DType::BF16, Ok(numbers), _) => take(plm_kernels::Weights::Bf16(numbers)),
                (DType::F16, _, Ok(numbers)) => take(plm_kernels::Weights::F16(numbers)),
                _ => take(plm_kernels::Weights::F32(&numbers::to_f32(bytes, dtype))),
            }
        }
        Ok(())
    }

    /// Reads one tensor and converts it to `dtype` on the way, without a second copy of it.
    ///
    /// `dtype` is f32, f16 or bf16; what else is asked for reads as f32.
    ///
    /// # Errors
    ///
    /// [`Error::MissingTensor`] when there is no such tensor of f32, f16 or bf16;
    /// [`Error::Read`] when the file cannot be read.
    pub fn read(&self, name: &str, dtype: DType) -> Result<TensorData, Error> {
        let (Some(entry), Some(stored)) = (self.tensors.get(name), self.dtype(name)) else {
            return Err(Error::MissingTensor { name: name.into() });
        };
        let chunks = Chunks::of(&self.shards[entry.shard], entry)?;
        let shape = entry.shape.clone();
        Ok(match (stored, dtype) {
            (DType::F32, DType::F16) => TensorData::new(
                convert(chunks, |b| f16::from_f32(f32::from_le_bytes(b)))?,
                shape,
            ),
            (DType::F32, DType::BF16) => TensorData::new(
                convert(chunks, |b| bf16::from_f32(f32::from_le_bytes(b)))?,
                shape,
            ),
            (DType::F32, _) => TensorData::new(convert(chunks, f32::from_le_bytes)?, shape),
            (DType::F16, DType::F16) => {
                TensorData::new(convert(chunks, f16::from_le_bytes)?, shape)
            }
            (DType::F16, DType::BF16) => TensorData::new(
                convert(chunks, |b| bf16::from_f32(f16::from_le_bytes(b).to_f32()))?,
                shape,
            ),
            (DType::F16, _) => {
                TensorData::new(convert(chunks, |b| f16::from_le_bytes(b).to_f32())?, shape)
            }
            (_, DType::BF16) => TensorData::new(convert(chunks, bf16::from_le_bytes)?, shape),
            (_, DType::F16) => TensorData::new(
                convert(chunks, |b| f16::from_f32(bf16::from_le_bytes(b).to_f32()))?,
                shape,
            ),
            _ => TensorData::new(convert(chunks, |b| bf16::from_le_bytes(b).to_f32())?, shape),
        })
    }
}

fn convert<const N: usize, T>(
    mut chunks: Chunks<'_>,
    value: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, Error> {
    let mut values = Vec::with_capacity(chunks.left / N);
    while let Some(bytes) = chunks.next()? {
        values.extend(bytes.as_chunks::<N>().0.iter().map(|&bytes| value(bytes)));
    }
    Ok(values)
}

/// The type of a tensor's numbers, if it is one that weights or their codes have.
fn stored_dtype(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::I8 => Some(DType::I8),
        Dtype::U8 => Some(DType::U8),
        _ => float_dtype(dtype),
    }
}

/// The precision of a tensor, if it is f32, f16 or bf16.
pub(super) fn float_dtype(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}
