//! Numbers of a weight file, little-endian, as f32 and back.

use burn::tensor::DType;
use half::{bf16, f16};

/// The numbers of `bytes`, which are f16, bf16 or else f32.
pub(super) fn to_f32(bytes: &[u8], dtype: DType) -> Vec<f32> {
    match dtype {
        DType::F16 => map(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
        DType::BF16 => map(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        _ => map(bytes, f32::from_le_bytes),
    }
}

fn map<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let numbers = bytes.as_chunks().0.iter();
    numbers.map(|&bytes| value(bytes)).collect()
}

/// The bytes of numbers as f16, bf16 or else f32, rounded to nearest.
pub(super) fn from_f32(values: &[f32], dtype: DType) -> Vec<u8> {
    let values = values.iter();
    match dtype {
        DType::F16 => values
            .flat_map(|&x| f16::from_f32(x).to_le_bytes())
            .collect(),
        DType::BF16 => values
            .flat_map(|&x| bf16::from_f32(x).to_le_bytes())
            .collect(),
        _ => values.flat_map(|x| x.to_le_bytes()).collect(),
    }
}
