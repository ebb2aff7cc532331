//! Matrices in NF4 as transformers and bitsandbytes store them: the tensor of the matrix's own name
//! holds its codes, and tensors with a suffix its scales.

use std::borrow::Cow;
use std::collections::BTreeSet;

use burn::tensor::{AllocationProperty, Bytes, DType, TensorData};
use plm_kernels::{NF4_BLOCK, NF4_LEVELS, NF4_NESTED_BLOCK, Nf4Rounding, Nf4Scales, dynamic_map};
use plm_linear::Nf4Data;
use serde::Deserialize;
use serde_json::json;

use super::matrices::room;
use super::{Weights, WeightsError};
use crate::Error;

/// One of the tensors that make a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nf4Part {
    /// Half a byte a weight.
    Codes,
    /// Scales, a byte each.
    Absmax,
    /// Scales of scales.
    NestedAbsmax,
    /// What codes stand for. It is NF4's, and so never read.
    QuantMap,
    /// What the bytes of scales stand for.
    NestedQuantMap,
    /// Sizes and the offset of scales, as JSON.
    State,
}

/// Bytes that the JSON is filled up to, so that its length does not hang on numbers.
const STATE_BYTES: usize = 256;

impl Nf4Part {
    /// All parts. Codes come first.
    pub(crate) const ALL: [Self; 6] = [
        Self::Codes,
        Self::Absmax,
        Self::NestedAbsmax,
        Self::QuantMap,
        Self::NestedQuantMap,
        Self::State,
    ];

    /// The tensor's name.
    pub(crate) fn name(self, matrix: &str) -> String {
        let suffix = match self {
            Self::Codes => "",
            Self::Absmax => ".absmax",
            Self::NestedAbsmax => ".nested_absmax",
            Self::QuantMap => ".quant_map",
            Self::NestedQuantMap => ".nested_quant_map",
            Self::State => ".quant_state.bitsandbytes__nf4",
        };
        format!("{matrix}{suffix}")
    }

    /// The type of its numbers, as files name it.
    pub(crate) fn dtype(self) -> &'static str {
        match self {
            Self::Codes | Self::Absmax | Self::State => "U8",
            Self::NestedAbsmax | Self::QuantMap | Self::NestedQuantMap => "F32",
        }
    }

    /// Its shape for a matrix `[d_output, d_input]`.
    pub(crate) fn shape(self, matrix: &[usize]) -> Vec<usize> {
        let weights: usize = matrix.iter().product();
        let blocks = weights.div_ceil(NF4_BLOCK);
        match self {
            Self::Codes => vec![weights.div_ceil(2), 1],
            Self::Absmax => vec![blocks],
            Self::NestedAbsmax => vec![blocks.div_ceil(NF4_NESTED_BLOCK)],
            Self::QuantMap => vec![NF4_LEVELS.len()],
            Self::NestedQuantMap => vec![dynamic_map().len()],
            Self::State => vec![STATE_BYTES],
        }
    }

    /// Bytes of its numbers.
    pub(crate) fn num_bytes(self, matrix: &[usize]) -> u64 {
        let width = if self.dtype() == "U8" { 1 } else { 4 };
        self.shape(matrix).iter().product::<usize>() as u64 * width
    }
}

/// Whether the files hold a matrix in a format of bitsandbytes: then it is of bytes.
pub(crate) fn is_nf4(weights: &Weights, matrix: &str) -> bool {
    weights.dtype_name(matrix) == "U8"
}

/// Checks that the files hold the tensors of a matrix `[d_output, d_input]`.
pub(super) fn check(
    weights: &Weights,
    matrix: &str,
    shape: &[usize],
    unused: &mut BTreeSet<&str>,
    error: &mut WeightsError,
) {
    for part in Nf4Part::ALL {
        let name = part.name(matrix);
        unused.remove(name.as_str());
        let (found, dtype) = (weights.shape(&name), weights.dtype_name(&name));
        match found {
            // Another of bitsandbytes' formats lacks one of these.
            None => error.missing.push(name),
            Some(_) if dtype != part.dtype() => error.unsupported.push((name, dtype)),
            // Its length is that of the JSON.
            Some(_) if part == Nf4Part::State => {}
            Some(found) if found != part.shape(shape) => {
                error
                    .misshapen
                    .push((name, found.to_vec(), part.shape(shape)));
            }
            Some(_) => {}
        }
    }
}

/// The JSON beside a matrix.
#[derive(Deserialize)]
struct State {
    quant_type: String,
    blocksize: usize,
    shape: Vec<usize>,
    nested_blocksize: usize,
    nested_offset: f32,
}

/// Reads a matrix `[d_output, d_input]` that is stored in NF4; without copies where `share` allows it.
pub(super) fn read(
    weights: &Weights,
    matrix: &str,
    dims: [usize; 2],
    share: bool,
) -> Result<Nf4Data, Error> {
    let part = |part: Nf4Part| weights.stored(&part.name(matrix), share);
    let name = Nf4Part::State.name(matrix);
    let json = part(Nf4Part::State)?.into_bytes();
    let damaged = |what: String| Error::WeightFile {
        path: weights.path(&name).to_owned(),
        what: format!("tensor `{name}`: {what}"),
    };
    let state: State =
        serde_json::from_slice(&json).map_err(|source| damaged(source.to_string()))?;
    let sizes = [state.blocksize, state.nested_blocksize];
    if state.quant_type != "nf4"
        || sizes != [NF4_BLOCK, NF4_NESTED_BLOCK]
        || state.shape != dims
        || !state.nested_offset.is_finite()
    {
        return Err(damaged(format!(
            "it is not of nf4 in blocks of {NF4_BLOCK} and {NF4_NESTED_BLOCK} for a matrix {dims:?}"
        )));
    }
    Ok(Nf4Data {
        codes: part(Nf4Part::Codes)?,
        absmax: part(Nf4Part::Absmax)?,
        nested_absmax: part(Nf4Part::NestedAbsmax)?,
        map: part(Nf4Part::NestedQuantMap)?,
        offset: state.nested_offset,
    })
}

/// A matrix that was rounded.
pub(crate) struct RoundedNf4 {
    codes: Bytes,
    scales: Nf4Scales,
    shape: Vec<usize>,
    /// The precision that it had, as PyTorch names it.
    dtype: &'static str,
}

/// Reads a matrix and rounds it piece by piece, so that it never exists in full.
pub(crate) fn round(weights: &Weights, name: &str) -> Result<RoundedNf4, Error> {
    let shape = weights.shape(name).unwrap_or(&[0, 0]).to_vec();
    let mut codes = room(shape.iter().product::<usize>().div_ceil(2));
    let mut rounding = Nf4Rounding::new(&mut codes);
    weights.rows(name, |rows| rounding.push(rows))?;
    let scales = rounding.finish();
    Ok(RoundedNf4 {
        codes: Bytes::from_shared(codes.into(), AllocationProperty::Native),
        scales,
        shape,
        dtype: match weights.dtype(name) {
            Some(DType::F16) => "float16",
            Some(DType::BF16) => "bfloat16",
            _ => "float32",
        },
    })
}

impl RoundedNf4 {
    /// The matrix as it is in memory.
    pub(super) fn into_data(self) -> Nf4Data {
        let floats = |numbers: Vec<f32>| {
            let len = numbers.len();
            TensorData::new(numbers, [len])
        };
        let codes = [self.codes.len()];
        let absmax = [self.scales.absmax.len()];
        Nf4Data {
            codes: TensorData::from_bytes(self.codes, codes, DType::U8),
            absmax: TensorData::new(self.scales.absmax, absmax),
            nested_absmax: floats(self.scales.nested_absmax),
            map: TensorData::from(*dynamic_map()),
            offset: self.scales.offset,
        }
    }

    /// The bytes of one of its tensors.
    pub(crate) fn part(&self, part: Nf4Part) -> Cow<'_, [u8]> {
        let floats = |numbers: &[f32]| {
            let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
            Cow::Owned(bytes.collect())
        };
        match part {
            Nf4Part::Codes => Cow::Borrowed(&self.codes),
            Nf4Part::Absmax => Cow::Borrowed(&self.scales.absmax),
            Nf4Part::NestedAbsmax => floats(&self.scales.nested_absmax),
            Nf4Part::QuantMap => floats(&NF4_LEVELS),
            Nf4Part::NestedQuantMap => floats(dynamic_map()),
            Nf4Part::State => {
                let mut json = json!({
                    "quant_type": "nf4",
                    "blocksize": NF4_BLOCK,
                    "dtype": self.dtype,
                    "shape": self.shape,
                    "nested_blocksize": NF4_NESTED_BLOCK,
                    "nested_dtype": "float32",
                    "nested_offset": self.scales.offset,
                })
                .to_string()
                .into_bytes();
                json.resize(STATE_BYTES, b' ');
                Cow::Owned(json)
            }
        }
    }
}
