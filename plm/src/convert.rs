//! From one layout of a checkpoint to the other.

mod folder;
mod meta;
mod safetensors;
mod torch;

use std::path::{Path, PathBuf};

use half::f16;
use plm_linear::BlockFormat;

use self::folder::NewFolder;
pub use self::safetensors::CHECKPOINT_TEXTS;
use crate::adapter::{misfit, read_adapter};
use crate::checkpoint::{
    CheckpointFiles, Nf4Part, Weights, block_shapes, check, codes_name, is_codes, matrix_format,
    original_folder, parameters, scales_name, settle_tying, stored_format,
};
use crate::device::device_of_shapes;
use crate::quantization::MatrixFormat;
use crate::{AdapterSource, Checkpoint, Error, Precision, Progress, ProgressFn, Quantization};

/// How the files of a checkpoint are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `config.json`, `tokenizer.json`, safetensors.
    HuggingFace,
    /// Meta's `original/`: `params.json`, `tokenizer.model`, `consolidated*.pth`.
    Original,
}

/// The layout of a checkpoint's folder: Meta's where only its files are there.
pub fn layout_of(dir: impl AsRef<Path>) -> Layout {
    match original_folder(dir.as_ref()) {
        Some(_) => Layout::Original,
        None => Layout::HuggingFace,
    }
}

/// How a checkpoint is converted.
#[derive(Clone)]
pub struct ConvertOptions {
    /// The layout to write.
    pub layout: Layout,
    /// Most bytes of tensors in a weight file; a larger tensor gets a file of its own.
    pub max_shard_bytes: Option<u64>,
    /// Rounds all numbers that are floats, or widens them; with [`Precision::Auto`] each stays as it
    /// is stored. It comes before `quantize`.
    pub precision: Precision,
    /// Rounds the matrices, in Hugging Face's layout; what is rounded already stays as it is. NF4 is
    /// written as transformers with bitsandbytes reads it; 8 and 4 bits are plm's alone.
    pub quantize: Option<Quantization>,
    /// Adapters that are merged into the matrices, in this order.
    pub merge: Vec<AdapterSource>,
    /// Told of progress, as [`Progress::Loading`].
    pub progress: Option<ProgressFn>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// The folder.
    pub dir: PathBuf,
    /// The weight files, in order.
    pub weight_files: Vec<String>,
    /// Tensors in them.
    pub num_tensors: usize,
    /// Bytes of the tensors.
    pub num_bytes: u64,
}

/// A tensor to be written.
struct Planned {
    /// Hugging Face's name.
    name: String,
    num_bytes: u64,
    part: Part,
}

/// Where a tensor's numbers come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// From the tensor of this name, as they are.
    Stored,
    /// They are the codes of a matrix that is rounded.
    Codes { matrix: String, format: BlockFormat },
    /// They are the scales of the matrix that was rounded last.
    Scales,
    /// They are the codes of a matrix that is rounded to NF4, or what belongs to them.
    Nf4 { matrix: String, part: Nf4Part },
}

impl Part {
    /// Whether they were made with the numbers of the tensor before.
    fn follows(&self) -> bool {
        match self {
            Self::Stored | Self::Codes { .. } => false,
            Self::Scales => true,
            Self::Nf4 { part, .. } => *part != Nf4Part::Codes,
        }
    }
}

/// How the matrices of a checkpoint are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rounding {
    None,
    /// Some to blocks.
    Blocks,
    /// To NF4, as bitsandbytes reads it.
    Nf4,
}

impl Rounding {
    fn of(planned: &[Planned]) -> Self {
        let state = Nf4Part::State.name("");
        if planned.iter().any(|tensor| is_codes(&tensor.name)) {
            Self::Blocks
        } else if planned.iter().any(|tensor| tensor.name.ends_with(&state)) {
            Self::Nf4
        } else {
            Self::None
        }
    }
}

impl Planned {
    fn stored(name: String, weights: &Weights) -> Self {
        Self {
            num_bytes: weights.tensor_bytes(&name),
            name,
            part: Part::Stored,
        }
    }
}

/// Reads the checkpoint of a folder, in either layout, and writes it to a new folder.
///
/// Every number that the options do not round stays as it is, to the last bit; tensors are copied in pieces, so that no model
/// has to fit into memory. The folder appears when it is complete.
///
/// # Errors
///
/// As [`PerceptionLM::from_dir`](crate::PerceptionLM::from_dir) for what is read;
/// [`Error::Write`] when the folder exists and is not empty or cannot be written;
/// [`Error::Inexpressible`] for what the other layout has no words for.
pub fn convert(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    options: &ConvertOptions,
) -> Result<Converted, Error> {
    let files = CheckpointFiles::find(from.as_ref())?;
    let mut checkpoint = Checkpoint::from_files(&files)?;
    let mut weights = Weights::from_files(&files)?;
    settle_tying(&mut checkpoint.config.text, &mut weights)?;
    let model = checkpoint.config.init(&device_of_shapes()?)?;
    let parameters = parameters(&model);
    check(&parameters, &weights)?;
    for source in &options.merge {
        merge(source, &mut weights)?;
    }
    if let Some(dtype) = options.precision.file_dtype() {
        for (name, _) in &parameters {
            weights.cast(name, dtype);
        }
    }
    let planned = plan(&parameters, &weights, options.quantize);
    let rounded = Rounding::of(&planned);
    if rounded != Rounding::None && options.layout == Layout::Original {
        return Err(Error::Inexpressible {
            what: "matrices in blocks of 8 or 4 bits".into(),
        });
    }
    let folder = NewFolder::create(to.as_ref())?;
    let shards = shards(planned, options.max_shard_bytes);
    let mut written = Written::new(&shards, options.progress.clone());
    let weight_files = match options.layout {
        Layout::HuggingFace => {
            let is_cast = options.precision != Precision::Auto;
            let config = &checkpoint.config;
            safetensors::write_texts(&folder, &files, config, &weights, rounded, is_cast)?;
            safetensors::write(&folder, &shards, &weights, &mut written)?
        }
        Layout::Original => {
            meta::write_texts(&folder, &files, &checkpoint, &weights)?;
            weights.toggle_head_rows(checkpoint.config.text.head_dim);
            torch::write(&folder, &shards, &weights, &checkpoint.config, &mut written)?
        }
    };
    Ok(Converted {
        dir: folder.finish()?,
        weight_files,
        num_tensors: shards.iter().map(Vec::len).sum(),
        num_bytes: written.total_bytes,
    })
}

/// Merges an adapter into the matrices, which are read so from here on.
fn merge(source: &AdapterSource, weights: &mut Weights) -> Result<(), Error> {
    for (name, part) in read_adapter(source)? {
        if stored_format(weights, &name).is_some() {
            return Err(Error::WeightFile {
                path: source.dir.clone(),
                what: format!("`{name}` is quantised; merge the adapter before"),
            });
        }
        match weights.shape(&name) {
            Some(shape) if shape == [part.d_output, part.d_input] => weights.merge(&name, part),
            Some(&[d_output, d_input]) => {
                let shape = Some([d_output, d_input]);
                return Err(misfit(&source.dir, &name, &part, shape));
            }
            _ => return Err(misfit(&source.dir, &name, &part, None)),
        }
    }
    Ok(())
}

/// The tensors to write, in order.
fn plan(
    parameters: &[(String, Vec<usize>)],
    weights: &Weights,
    quantize: Option<Quantization>,
) -> Vec<Planned> {
    let mut planned = Vec::new();
    for (name, shape) in parameters {
        let names = [codes_name(name), scales_name(name)];
        let format = quantize.and_then(|quantize| matrix_format(name, quantize));
        match (shape.len(), stored_format(weights, name), format) {
            (2, Some(MatrixFormat::Blocks(_)), _) => {
                planned.extend(names.map(|name| Planned::stored(name, weights)));
            }
            (2, Some(MatrixFormat::Nf4), _) => {
                let parts = Nf4Part::ALL.map(|part| part.name(name));
                planned.extend(parts.map(|name| Planned::stored(name, weights)));
            }
            (2, None, Some(MatrixFormat::Nf4)) => {
                planned.extend(Nf4Part::ALL.map(|part| Planned {
                    name: part.name(name),
                    num_bytes: part.num_bytes(shape),
                    part: Part::Nf4 {
                        matrix: name.clone(),
                        part,
                    },
                }));
            }
            (2, None, Some(MatrixFormat::Blocks(format))) => {
                let [codes, scales] =
                    block_shapes(shape, format).map(|shape| shape.iter().product::<usize>() as u64);
                let parts = [
                    Part::Codes {
                        matrix: name.clone(),
                        format,
                    },
                    Part::Scales,
                ];
                let sizes = [codes, scales * size_of::<f16>() as u64];
                let tensors = names.into_iter().zip(parts).zip(sizes);
                planned.extend(tensors.map(|((name, part), num_bytes)| Planned {
                    name,
                    num_bytes,
                    part,
                }));
            }
            _ => planned.push(Planned::stored(name.clone(), weights)),
        }
    }
    planned
}

/// Distributes tensors over files, in order.
fn shards(tensors: Vec<Planned>, max_bytes: Option<u64>) -> Vec<Vec<Planned>> {
    let mut shards: Vec<Vec<Planned>> = Vec::new();
    let mut filled = 0;
    for tensor in tensors {
        filled += tensor.num_bytes;
        match shards.last_mut() {
            // Scales stay with their codes.
            Some(shard) if tensor.part.follows() => shard.push(tensor),
            Some(shard) if max_bytes.is_none_or(|max| filled <= max) => shard.push(tensor),
            _ => {
                filled = tensor.num_bytes;
                shards.push(vec![tensor]);
            }
        }
    }
    shards
}

/// Counts the bytes that are written.
struct Written {
    bytes: u64,
    total_bytes: u64,
    progress: Option<ProgressFn>,
}

impl Written {
    fn new(shards: &[Vec<Planned>], progress: Option<ProgressFn>) -> Self {
        Self {
            bytes: 0,
            total_bytes: shards.iter().flatten().map(|tensor| tensor.num_bytes).sum(),
            progress,
        }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if let Some(progress) = &self.progress {
            progress(Progress::Loading {
                bytes: self.bytes,
                total_bytes: self.total_bytes,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_filled_in_order_and_a_large_tensor_stands_alone() {
        let tensors = [3, 4, 20, 5, 5, 1].map(|num_bytes| Planned {
            name: String::new(),
            num_bytes,
            part: Part::Stored,
        });
        let sizes: Vec<Vec<u64>> = shards(tensors.into(), Some(10))
            .iter()
            .map(|shard| shard.iter().map(|tensor| tensor.num_bytes).collect())
            .collect();
        assert_eq!(sizes, [vec![3, 4], vec![20], vec![5, 5], vec![1]]);
    }
}
