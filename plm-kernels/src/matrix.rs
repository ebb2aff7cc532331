use std::ops::Range;

use half::{bf16, f16};

use crate::nf4::{NF4_BLOCK, Nf4};

/// Weights of a row that share a scale in the block-quantised formats.
///
/// 32 keeps the error of four bits low (a scale of 16 bits adds half a bit a weight), and divides
/// every width of the released models.
pub const BLOCK: usize = 32;

/// A weight matrix `[rows, columns]`, row-major, borrowed in the format that it is stored in.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    rows: usize,
    columns: usize,
    weights: Weights<'a>,
}

/// The numbers of a [`Matrix`].
#[derive(Debug, Clone, Copy)]
pub enum Weights<'a> {
    /// 32 bits.
    F32(&'a [f32]),
    /// 16 bits, the exponent of f32.
    Bf16(&'a [bf16]),
    /// 16 bits, a wider mantissa and a smaller range.
    F16(&'a [f16]),
    /// 8 bits: weight `i` of a row is `codes[i] · scales[i / BLOCK]`. Rows are filled up with
    /// zeros to whole blocks.
    Q8 {
        /// One byte a weight, -127..=127.
        codes: &'a [i8],
        /// One scale a block.
        scales: &'a [f16],
    },
    /// 4 bits: a block is 16 bytes; byte `i` holds weight `i` in its low half and weight `i + 16`
    /// in its high half, each as `code + 8` for a code in -8..=7; weights are `code · scale`.
    Q4 {
        /// Half a byte a weight.
        codes: &'a [u8],
        /// One scale a block.
        scales: &'a [f16],
    },
    /// 4 bits: levels of a normal distribution, in blocks of 64 that do not end with a row.
    Nf4(Nf4<'a>),
}

impl<'a> Matrix<'a> {
    /// A matrix of `rows` outputs and `columns` inputs.
    ///
    /// # Panics
    ///
    /// When there are not as many numbers as the shape and the format need.
    pub fn new(rows: usize, columns: usize, weights: Weights<'a>) -> Self {
        let blocks = columns.div_ceil(BLOCK);
        let (found, expected) = match weights {
            Weights::F32(values) => ([values.len(), 0], [rows * columns, 0]),
            Weights::Bf16(values) => ([values.len(), 0], [rows * columns, 0]),
            Weights::F16(values) => ([values.len(), 0], [rows * columns, 0]),
            Weights::Q8 { codes, scales } => (
                [codes.len(), scales.len()],
                [rows * blocks * BLOCK, rows * blocks],
            ),
            Weights::Q4 { codes, scales } => (
                [codes.len(), scales.len()],
                [rows * blocks * BLOCK / 2, rows * blocks],
            ),
            Weights::Nf4(nf4) => {
                let weights = nf4.first + rows * columns;
                let blocks = weights.div_ceil(NF4_BLOCK);
                (
                    [nf4.codes.len(), nf4.absmax.len()],
                    [weights.div_ceil(2), blocks],
                )
            }
        };
        assert_eq!(found, expected, "numbers of a matrix [{rows}, {columns}]");
        Self {
            rows,
            columns,
            weights,
        }
    }

    /// Some of its rows.
    ///
    /// # Panics
    ///
    /// When it has not so many.
    pub fn narrow(&self, rows: Range<usize>) -> Self {
        let blocks = self.columns.div_ceil(BLOCK);
        let of = |width: usize| rows.start * width..rows.end * width;
        let weights = match self.weights {
            Weights::F32(values) => Weights::F32(&values[of(self.columns)]),
            Weights::Bf16(values) => Weights::Bf16(&values[of(self.columns)]),
            Weights::F16(values) => Weights::F16(&values[of(self.columns)]),
            Weights::Q8 { codes, scales } => Weights::Q8 {
                codes: &codes[of(blocks * BLOCK)],
                scales: &scales[of(blocks)],
            },
            Weights::Q4 { codes, scales } => Weights::Q4 {
                codes: &codes[of(blocks * BLOCK / 2)],
                scales: &scales[of(blocks)],
            },
            Weights::Nf4(nf4) => {
                let weights = of(self.columns);
                Weights::Nf4(nf4.narrow(weights.start, weights.end))
            }
        };
        Self::new(rows.len(), self.columns, weights)
    }

    /// Outputs of a product with this matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs of a product with this matrix.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes that the weights take.
    pub fn num_bytes(&self) -> usize {
        match self.weights {
            Weights::F32(values) => size_of_val(values),
            Weights::Bf16(values) => size_of_val(values),
            Weights::F16(values) => size_of_val(values),
            Weights::Q8 { codes, scales } => size_of_val(codes) + size_of_val(scales),
            Weights::Q4 { codes, scales } => size_of_val(codes) + size_of_val(scales),
            Weights::Nf4(_) => Nf4::bytes_of(self.rows * self.columns),
        }
    }

    pub(crate) fn weights(&self) -> Weights<'a> {
        self.weights
    }

    /// Whether the weights are codes of at most 8 bits times a scale.
    pub(crate) fn is_codes(&self) -> bool {
        matches!(self.weights, Weights::Q8 { .. } | Weights::Q4 { .. })
    }

    /// Inputs that a row is filled up to.
    pub(crate) fn padded_columns(&self) -> usize {
        match self.weights {
            Weights::F32(_) | Weights::Bf16(_) | Weights::F16(_) | Weights::Nf4(_) => self.columns,
            Weights::Q8 { .. } | Weights::Q4 { .. } => self.columns.next_multiple_of(BLOCK),
        }
    }
}
