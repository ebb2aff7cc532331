use std::str::FromStr;

use plm_linear::BlockFormat;

use crate::Error;

/// How the weight matrices of a model are rounded.
///
/// The decoder's layers hold most weights. With `q4` and `nf4` it is they alone that take 4 bits: what
/// that would take from the few other matrices saves little and shows most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantization {
    /// 8 bits, in blocks of 32 with a scale of 16.
    Q8,
    /// 4 bits, in blocks of 32 with a scale of 16. Embedding, output projection, vision tower and
    /// projector keep 8.
    Q4,
    /// 4 bits, levels of a normal distribution in blocks of 64 with scales that are rounded to 8
    /// ([QLoRA](https://arxiv.org/abs/2305.14314) with double quantisation), as bitsandbytes has
    /// them. Embedding, output projection, vision tower and projector keep their precision.
    Nf4,
}

impl Quantization {
    /// `q8`, `q4` or `nf4`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8 => "q8",
            Self::Q4 => "q4",
            Self::Nf4 => "nf4",
        }
    }
}

impl FromStr for Quantization {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "q8" => Ok(Self::Q8),
            "q4" => Ok(Self::Q4),
            "nf4" => Ok(Self::Nf4),
            _ => Err(Error::Decoding {
                what: format!("quantisation `{name}` is none of q8, q4, nf4"),
            }),
        }
    }
}

/// How one matrix is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MatrixFormat {
    Blocks(BlockFormat),
    Nf4,
}
