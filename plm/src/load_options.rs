use std::fmt;
use std::str::FromStr;

use burn::tensor::DType;
use plm_linear::MatmulPrecision;
use plm_processor::EncodeOptions;
use safetensors::tensor::Dtype;

use crate::{AdapterSource, DeviceChoice, Error, ProgressFn, Quantization};

/// In which precision the weight matrices are held.
///
/// Activations are f32 always, and so are norms, biases, scales and positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Each matrix as the checkpoint stores it, or, on a device that cannot hold it so, in f16 or else f32.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// 16 bits, the exponent of f32.
    Bf16,
    /// 16 bits, a wider mantissa and a smaller range than bf16.
    F16,
}

impl Precision {
    /// The precision, unless it is the file's.
    pub(crate) fn dtype(self) -> Option<DType> {
        match self {
            Self::Auto => None,
            Self::F32 => Some(DType::F32),
            Self::Bf16 => Some(DType::BF16),
            Self::F16 => Some(DType::F16),
        }
    }

    /// The same, as weight files name it.
    pub(crate) fn file_dtype(self) -> Option<Dtype> {
        match self {
            Self::Auto => None,
            Self::F32 => Some(Dtype::F32),
            Self::Bf16 => Some(Dtype::BF16),
            Self::F16 => Some(Dtype::F16),
        }
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            _ => Err(Error::Decoding {
                what: format!("dtype `{name}` is none of auto, f32, bf16, f16"),
            }),
        }
    }
}

/// How a model is loaded.
#[derive(Clone)]
pub struct LoadOptions {
    /// Where it computes.
    pub device: DeviceChoice,
    /// In which precision it holds its matrices.
    pub precision: Precision,
    /// Rounds the matrices while loading, instead; with [`Quantization::Nf4`], those of the
    /// decoder's layers. What the checkpoint holds rounded stays as it is.
    pub quantize: Option<Quantization>,
    /// How exactly prompts and pictures are multiplied with matrices that are not in blocks of 8 or
    /// 4 bits.
    /// [`High`](MatmulPrecision::High) is faster on processors that have the instructions for it,
    /// and changes logits by some ten-thousandths; [`Medium`](MatmulPrecision::Medium) is faster
    /// still, and rounds as Python's models in bf16 do. GPUs know `Medium` alone, for weights in bf16.
    pub matmul_precision: MatmulPrecision,
    /// Adapters that are added to the model's linear layers, in this order.
    pub adapters: Vec<AdapterSource>,
    /// Copies weights into memory of the process's own. Otherwise those that stay as they are in
    /// the files are mapped from there, which takes no time; the files must then not be changed
    /// while the model lives.
    pub copy_weights: bool,
    /// How conversations become prompts, unless a call says otherwise.
    pub encoding: EncodeOptions,
    /// Most bytes of picture and video features that are kept, so that the same picture is not
    /// encoded again; 0 keeps none. One tile takes 1 to 4 MB.
    pub feature_cache_bytes: usize,
    /// Most bytes of keys and values that are kept of answers, so that a prompt which begins alike
    /// is read from there on; 0 keeps none. A thousand tokens take 64 to 256 MB.
    pub prefix_cache_bytes: usize,
    /// Told of the progress of loading, and later of encoding pictures and reading prompts.
    pub progress: Option<ProgressFn>,
}

impl Default for LoadOptions {
    /// The checkpoint's own precision, on the best device; 256 MiB for each of the two caches.
    fn default() -> Self {
        Self {
            device: DeviceChoice::default(),
            precision: Precision::default(),
            quantize: None,
            matmul_precision: MatmulPrecision::default(),
            adapters: Vec::new(),
            copy_weights: false,
            encoding: EncodeOptions::default(),
            feature_cache_bytes: 256 << 20,
            prefix_cache_bytes: 256 << 20,
            progress: None,
        }
    }
}

impl fmt::Debug for LoadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions")
            .field("device", &self.device)
            .field("precision", &self.precision)
            .field("quantize", &self.quantize)
            .field("matmul_precision", &self.matmul_precision)
            .field("adapters", &self.adapters)
            .field("copy_weights", &self.copy_weights)
            .field("encoding", &self.encoding)
            .field("feature_cache_bytes", &self.feature_cache_bytes)
            .field("prefix_cache_bytes", &self.prefix_cache_bytes)
            .finish_non_exhaustive()
    }
}
