//! Weights of 4 bits that are levels of a normal distribution, as QLoRA and bitsandbytes have them.

mod dynamic;
mod round;

pub use dynamic::dynamic_map;
pub use round::{Nf4Rounding, Nf4Scales};

/// Weights that share a scale: so many that follow each other in the matrix, also from one row to
/// the next.
pub const NF4_BLOCK: usize = 64;

/// Scales that share a scale.
pub const NF4_NESTED_BLOCK: usize = 256;

/// Numbers that scales are rounded to.
pub(crate) const MAP: usize = 256;

/// The numbers that the codes stand for: where a normal distribution that is cut into parts of equal
/// probability has their middles, scaled to -1 and 1, with a zero
/// ([QLoRA](https://arxiv.org/abs/2305.14314), appendix E).
pub const NF4_LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The numbers of a matrix in NF4 with scales that are rounded too, as bitsandbytes stores them.
///
/// Weight `i` of the matrix, row-major, is `NF4_LEVELS[code] · scale`. Its code is half of byte
/// `i / 2`, the high one where `i` is even; the scale of its block `b = i / 64` is
/// `map[absmax[b]] · nested_absmax[b / 256] + offset`.
#[derive(Debug, Clone, Copy)]
pub struct Nf4<'a> {
    pub(crate) codes: &'a [u8],
    pub(crate) absmax: &'a [u8],
    pub(crate) nested_absmax: &'a [f32],
    pub(crate) map: &'a [f32],
    pub(crate) offset: f32,
    /// Weights that come before those of the matrix.
    pub(crate) first: usize,
}

impl<'a> Nf4<'a> {
    /// Takes the numbers as they are stored.
    ///
    /// - `codes`: half a byte a weight
    /// - `absmax`: one byte for [`NF4_BLOCK`] weights
    /// - `nested_absmax`: one number for [`NF4_NESTED_BLOCK`] bytes of `absmax`
    /// - `map`: the 256 numbers that bytes of `absmax` stand for; [`dynamic_map`] unless a file says
    ///   otherwise
    /// - `offset`: what all scales were lowered by
    ///
    /// # Panics
    ///
    /// When there are not as many numbers as that.
    pub fn new(
        codes: &'a [u8],
        absmax: &'a [u8],
        nested_absmax: &'a [f32],
        map: &'a [f32],
        offset: f32,
    ) -> Self {
        let found = [absmax.len(), nested_absmax.len(), map.len()];
        let blocks = codes.len().div_ceil(NF4_BLOCK / 2);
        let expected = [blocks, blocks.div_ceil(NF4_NESTED_BLOCK), MAP];
        assert_eq!(found, expected, "scales of {} bytes of codes", codes.len());
        Self {
            codes,
            absmax,
            nested_absmax,
            map,
            offset,
            first: 0,
        }
    }

    /// The weights `start..end` of these.
    pub(crate) fn narrow(&self, start: usize, end: usize) -> Self {
        let (first, end) = (self.first + start, self.first + end);
        let blocks = end.div_ceil(NF4_BLOCK);
        Self {
            codes: &self.codes[..end.div_ceil(2)],
            absmax: &self.absmax[..blocks],
            nested_absmax: &self.nested_absmax[..blocks.div_ceil(NF4_NESTED_BLOCK)],
            first,
            ..*self
        }
    }

    /// Bytes that so many weights take with their scales.
    pub fn bytes_of(weights: usize) -> usize {
        let blocks = weights.div_ceil(NF4_BLOCK);
        let nested = blocks.div_ceil(NF4_NESTED_BLOCK) + MAP;
        weights.div_ceil(2) + blocks + nested * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::tests::normal;
    use crate::{Matrix, Weights, expand_row};

    /// Rounds a matrix in pieces of some rows.
    fn round(matrix: &Matrix<'_>, rows: usize) -> (Vec<u8>, Nf4Scales) {
        let mut codes = vec![0; (matrix.rows() * matrix.columns()).div_ceil(2)];
        let mut rounding = Nf4Rounding::new(&mut codes);
        for start in (0..matrix.rows()).step_by(rows) {
            rounding.push(&matrix.narrow(start..(start + rows).min(matrix.rows())));
        }
        let scales = rounding.finish();
        (codes, scales)
    }

    fn widened(matrix: &Matrix<'_>) -> Vec<f32> {
        let mut weights = vec![0.0; matrix.rows() * matrix.columns()];
        let rows = weights.chunks_mut(matrix.columns());
        rows.enumerate()
            .for_each(|(i, row)| expand_row(matrix, i, row));
        weights
    }

    #[test]
    fn the_error_of_normal_weights_is_the_known_one() {
        let (rows, columns) = (256, 1024);
        let weights = normal(rows * columns);
        let (codes, scales) = round(&Matrix::new(rows, columns, Weights::F32(&weights)), rows);
        let nf4 = Matrix::new(rows, columns, Weights::Nf4(scales.nf4(&codes)));
        let squares = |numbers: &mut dyn Iterator<Item = f32>| {
            numbers.map(|x| f64::from(x).powi(2)).sum::<f64>()
        };
        let off = squares(&mut widened(&nf4).iter().zip(&weights).map(|(a, b)| a - b));
        let error = (off / squares(&mut weights.iter().copied())).sqrt();
        // bitsandbytes: 0.0926.
        assert!((0.091..0.094).contains(&error), "{error}");
        let bits = 8.0 * nf4.num_bytes() as f64 / weights.len() as f64;
        assert!((4.12..4.17).contains(&bits), "{bits}");
    }

    #[test]
    fn pieces_are_rounded_as_a_whole_and_narrowed_as_one() {
        let (rows, columns) = (37, 45);
        let weights = normal(rows * columns);
        let whole = Matrix::new(rows, columns, Weights::F32(&weights));
        let expected = round(&whole, rows);
        for step in [1, 3, 36] {
            assert_eq!(round(&whole, step), expected);
        }
        let nf4 = Matrix::new(rows, columns, Weights::Nf4(expected.1.nf4(&expected.0)));
        let all = widened(&nf4);
        let part = nf4.narrow(3..30).narrow(2..9);
        assert_eq!(widened(&part), all[5 * columns..12 * columns]);
    }

    #[test]
    fn zeros_stay_zeros() {
        let (codes, scales) = round(&Matrix::new(2, 65, Weights::F32(&[0.0; 130])), 2);
        assert!(codes.iter().all(|&byte| byte == 0x77));
        let nf4 = Matrix::new(2, 65, Weights::Nf4(scales.nf4(&codes)));
        assert!(widened(&nf4).iter().all(|&weight| weight == 0.0));
        let none = round(&Matrix::new(0, 8, Weights::F32(&[])), 1);
        assert!(none.0.is_empty() && none.1.absmax.is_empty());
    }
}
