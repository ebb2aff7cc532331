//! Products of activations with weight matrices.

mod few;
mod many;

use crate::format::{Blocks, Bytes, Dense, Format, Nibbles, NormalFloats};
use crate::lanes::{Lanes, Level, Task, run};
use crate::matrix::{BLOCK, Matrix, Weights};
use crate::scratch::{Aligned, with_shared_scratch};

/// Up to how many rows of activations the weights are multiplied as they come, for each four rows
/// anew; with more they are widened into panels that stay in the cache. Where one begins to be faster
/// than the other was measured for AVX-512 with VNNI and for AVX2.
fn few_rows(level: Level, list: &[Product<'_>]) -> usize {
    match (level, list.iter().all(|product| product.matrix.is_codes())) {
        #[cfg(target_arch = "x86_64")]
        (Level::Avx512, _) if !level.has_tiles() => MOST_FEW_ROWS,
        #[cfg(target_arch = "x86_64")]
        (Level::Avx2, true) => 24,
        #[cfg(target_arch = "x86_64")]
        (Level::Avx2, false) => MOST_FEW_ROWS,
        _ => 8,
    }
}

/// The most that [`few_rows`] says.
#[cfg(any(target_arch = "x86_64", test))]
const MOST_FEW_ROWS: usize = 32;

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
                let $format = Blocks::<Bytes>::new(codes.as_ptr().cast(), scales.as_ptr());
                $call
            }
            Weights::Q4 { codes, scales } => {
                let $format = Blocks::<Nibbles>::new(codes.as_ptr(), scales.as_ptr());
                $call
            }
            Weights::Nf4(nf4) => {
                let $format = NormalFloats::from(nf4);
                $call
            }
        }
    };
}
/// What becomes of a product's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// They stay as they are.
    #[default]
    None,
    /// The exact GELU, `x · Φ(x)`.
    Gelu,
}

/// How exactly a product of more than a few rows is computed with weights that are not in blocks of
/// 8 or 4 bits.
///
/// With those it is always [`High`](Self::High): their codes are integers already, and their own
/// rounding is a hundred times coarser. Products of a few rows are in f32, but on processors with AVX2
/// those with codes of 8 or 4 bits, which are of integers, with activations rounded to 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MatmulPrecision {
    /// In f32; on processors with AMX, as sums of products of the three bf16 that an f32 is the sum
    /// of, those left out that an f32 would hardly hold.
    #[default]
    Highest,
    /// On processors with AMX, with the sums of two bf16 in place of activations and weights, off by
    /// at most 2⁻¹⁶ of themselves. On others with AVX-512 VNNI, or AVX2 and no AVX-512, with
    /// activations and weights rounded to blocks of 32 integers of 16 bits, of which 13 to 15 are used,
    /// and a scale, and sums of a block that are exact; levels of NF4 are rounded to 13 bits. On other
    /// processors, in f32.
    High,
    /// On processors with AMX or AVX-512 BF16, with activations and weights rounded to bf16, and sums in
    /// f32: the rounding of Python's models in bf16. On others, and beside products that are to be more
    /// exact, as [`High`](Self::High).
    Medium,
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
    /// How exactly it is computed.
    pub precision: MatmulPrecision,
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
            precision: MatmulPrecision::Highest,
            y,
        }
    }

    /// Whether numbers may be rounded to 16 bits or so.
    fn is_high(&self) -> bool {
        self.matrix.is_codes() || self.precision != MatmulPrecision::Highest
    }
}

/// Computes several products with the same activations `x`, `[rows, inputs]`.
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
    with_shared_scratch(|packed| {
        if rows <= few_rows(level, list) {
            few::products(level, level.has_words(), x, rows, list, packed);
        } else {
            many_rows(level, x, rows, list, packed);
        }
    });
}

fn many_rows(level: Level, x: &[f32], rows: usize, list: &mut [Product<'_>], packed: &mut Aligned) {
    #[cfg(target_arch = "x86_64")]
    if let Some(parts) = many::Parts::new(level, list) {
        return many::products(parts, level, x, rows, list, packed);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(halves) = many::Halves::new(level, list) {
        return many::products(halves, level, x, rows, list, packed);
    }
    if level.prefers_integers() && list.iter().all(Product::is_high) {
        let integers = many::Integers::new(list);
        many::products(integers, level, x, rows, list, packed);
    } else {
        many::products(many::Floats, level, x, rows, list, packed);
    }
}

/// Writes row `row` of a matrix as f32.
///
/// # Panics
///
/// When there is no such row or `out` is not as long as one.
pub fn expand_row(matrix: &Matrix<'_>, row: usize, out: &mut [f32]) {
    assert!(row < matrix.rows() && out.len() == matrix.columns());
    with_format!(matrix, |format| run(
        Level::best(),
        Expand {
            format,
            matrix,
            row,
            out,
        }
    ));
}

struct Expand<'a, F> {
    format: F,
    matrix: &'a Matrix<'a>,
    row: usize,
    out: &'a mut [f32],
}

impl<F: Format> Task for Expand<'_, F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let columns = self.matrix.columns();
        // Quantised weights come in whole blocks.
        let whole = match self.matrix.padded_columns() == columns {
            true => columns,
            false => columns / BLOCK * BLOCK,
        };
        let out = self.out.as_mut_ptr();
        self.format.expand::<L>(self.row, columns, 0, whole, out);
        if whole < columns {
            let mut last = [0.0; BLOCK];
            let end = whole + BLOCK;
            self.format
                .expand::<L>(self.row, columns, whole, end, last.as_mut_ptr());
            self.out[whole..].copy_from_slice(&last[..columns - whole]);
        }
    }
}

use with_format;

#[cfg(test)]
mod tests;
