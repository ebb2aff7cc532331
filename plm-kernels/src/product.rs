//! Products of activations with weight matrices.

mod few;
mod many;

use std::cell::Cell;
use std::marker::PhantomData;

use crate::format::{Blocks, Bytes, Dense, Nibbles};
use crate::lanes::Level;
use crate::matrix::{BLOCK, Matrix, Weights};
use crate::scratch::Aligned;

/// Up to so many rows of activations, the weights are read once for all of them and multiplied as
/// they come; from there on they are widened into panels that stay in the cache.
const FEW_ROWS: usize = 8;

/// What becomes of a product's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// They stay as they are.
    #[default]
    None,
    /// The exact GELU, `x · Φ(x)`.
    Gelu,
}

/// One product `y = activation(x · matrixᵀ + bias)`, row-major throughout.
#[derive(Debug)]
pub struct Product<'a> {
    /// The weights, `[outputs, inputs]`.
    pub matrix: Matrix<'a>,
    /// Added to each row, `[outputs]`.
    pub bias: Option<&'a [f32]>,
    /// Applied at the end.
    pub activation: Activation,
    /// The result, `[rows, outputs]`.
    pub y: &'a mut [f32],
}

impl<'a> Product<'a> {
    /// A product without bias or activation.
    pub fn new(matrix: Matrix<'a>, y: &'a mut [f32]) -> Self {
        Self {
            matrix,
            bias: None,
            activation: Activation::None,
            y,
        }
    }
}

/// Computes several products with the same activations `x`, `[rows, inputs]`, in f32.
///
/// Small matrices, such as the keys and values beside the queries, share one round of the threads.
///
/// # Panics
///
/// When shapes do not match.
pub fn products(x: &[f32], rows: usize, list: &mut [Product<'_>]) {
    products_at(Level::best(), x, rows, list);
}

fn products_at(level: Level, x: &[f32], rows: usize, list: &mut [Product<'_>]) {
    let Some(first) = list.first() else {
        return;
    };
    let columns = first.matrix.columns();
    assert_eq!(x.len(), rows * columns, "activations of a product");
    for product in list.iter() {
        let outputs = product.matrix.rows();
        assert_eq!(product.matrix.columns(), columns, "inputs of a product");
        assert_eq!(product.y.len(), rows * outputs, "outputs of a product");
        let bias = product.bias.map_or(outputs, <[f32]>::len);
        assert_eq!(bias, outputs, "biases of a product");
    }
    if rows == 0 {
        return;
    }
    thread_local! {
        static PACKED: Cell<Aligned> = Cell::default();
    }
    // Taken rather than borrowed: while this thread waits for the others, it may begin another
    // product.
    let mut packed = PACKED.take();
    if rows <= FEW_ROWS {
        // Quantised rows end at a whole block, and so must the activations; rows that begin at a
        // cache line load faster, and at different places of it do not evict each other.
        let padded = list.iter().map(|p| p.matrix.padded_columns()).max();
        let ldx = padded.unwrap_or(columns).next_multiple_of(16) + 16;
        let filled = packed.room(rows * ldx);
        for (to, from) in filled.chunks_mut(ldx).zip(x.chunks(columns)) {
            to[..columns].copy_from_slice(from);
            to[columns..].fill(0.0);
        }
        few::products(level, filled, ldx, rows, list);
    } else {
        many::products(level, x, rows, list, &mut packed);
    }
    PACKED.set(packed);
}

/// Writes row `row` of a matrix as f32.
///
/// # Panics
///
/// When there is no such row or `out` is not as long as one.
pub fn expand_row(matrix: &Matrix<'_>, row: usize, out: &mut [f32]) {
    assert!(row < matrix.rows() && out.len() == matrix.columns());
    match matrix.weights() {
        Weights::F32(values) => out.copy_from_slice(&values[row * out.len()..][..out.len()]),
        Weights::Bf16(values) => widen(&values[row * out.len()..], out, |w| w.to_f32()),
        Weights::F16(values) => widen(&values[row * out.len()..], out, |w| w.to_f32()),
        Weights::Q8 { codes, scales } => {
            let blocks = out.len().div_ceil(BLOCK);
            for (i, out) in out.iter_mut().enumerate() {
                let at = row * blocks + i / BLOCK;
                *out = f32::from(codes[at * BLOCK + i % BLOCK]) * scales[at].to_f32();
            }
        }
        Weights::Q4 { codes, scales } => {
            let blocks = out.len().div_ceil(BLOCK);
            for (i, out) in out.iter_mut().enumerate() {
                let at = row * blocks + i / BLOCK;
                let byte = codes[at * BLOCK / 2 + i % (BLOCK / 2)];
                let code = if i % BLOCK < BLOCK / 2 {
                    byte & 15
                } else {
                    byte >> 4
                };
                *out = (f32::from(code) - 8.0) * scales[at].to_f32();
            }
        }
    }
}

fn widen<T: Copy>(weights: &[T], out: &mut [f32], value: impl Fn(T) -> f32) {
    for (out, &weight) in out.iter_mut().zip(weights) {
        *out = value(weight);
    }
}

/// Calls a generic function with the format of a matrix.
macro_rules! with_format {
    ($matrix:expr, |$format:ident| $call:expr) => {
        match $matrix.weights() {
            Weights::F32(values) => {
                let $format = Dense(values.as_ptr());
                $call
            }
            Weights::Bf16(values) => {
                let $format = Dense(values.as_ptr());
                $call
            }
            Weights::F16(values) => {
                let $format = Dense(values.as_ptr());
                $call
            }
            Weights::Q8 { codes, scales } => {
                let $format = Blocks {
                    codes: codes.as_ptr().cast(),
                    scales: scales.as_ptr(),
                    kind: PhantomData::<Bytes>,
                };
                $call
            }
            Weights::Q4 { codes, scales } => {
                let $format = Blocks {
                    codes: codes.as_ptr(),
                    scales: scales.as_ptr(),
                    kind: PhantomData::<Nibbles>,
                };
                $call
            }
        }
    };
}
use with_format;

#[cfg(test)]
mod tests;
