use crate::gemm::Gemm;
use crate::lanes::Level;
use crate::matrix::{Matrix, Weights};
use crate::product::expand_row;
use crate::threads::{Shared, for_each};

/// Rows of a weight in another format than f32 that are widened together.
const PANEL: usize = 512;

/// The gradient of the input of a product, `y · weight`: `[rows, columns of the matrix]`.
///
/// - `y`: the gradient of the result, `[rows, rows of the matrix]`
///
/// # Panics
///
/// When shapes do not match.
pub fn input_gradient(y: &[f32], rows: usize, matrix: &Matrix<'_>) -> Vec<f32> {
    input_gradient_at(Level::best(), y, rows, matrix)
}

pub(super) fn input_gradient_at(
    level: Level,
    y: &[f32],
    rows: usize,
    matrix: &Matrix<'_>,
) -> Vec<f32> {
    let (outputs, inputs) = (matrix.rows(), matrix.columns());
    assert_eq!(y.len(), rows * outputs, "gradient of a product");
    let mut x = vec![0.0; rows * inputs];
    let mut part = |first: usize, count: usize, weights: &[f32]| {
        let part = Gemm {
            m: rows,
            n: inputs,
            k: count,
            b: y[first..].as_ptr(),
            os: outputs,
            ks: 1,
            a: weights.as_ptr(),
            lda: inputs,
            c: x.as_mut_ptr(),
            ldc: inputs,
            add: first > 0,
        };
        // SAFETY: row `i` of `y` has `count` numbers from `first` on, and the weights so many rows.
        unsafe { part.compute_shared(level) };
    };
    if let Weights::F32(weights) = matrix.weights() {
        if outputs > 0 {
            part(0, outputs, weights);
        }
        return x;
    }
    let mut panel = vec![0.0; PANEL.min(outputs) * inputs];
    for first in (0..outputs).step_by(PANEL) {
        let count = PANEL.min(outputs - first);
        let shared = Shared(panel.as_mut_ptr());
        for_each(count, |i| {
            // SAFETY: each row is another part of the panel, which has room for `count`.
            let row =
                unsafe { std::slice::from_raw_parts_mut(shared.get().add(i * inputs), inputs) };
            expand_row(matrix, first + i, row);
        });
        part(first, count, &panel);
    }
    x
}

/// The gradient of the weight of a product, `yᵀ · x`: `[outputs, inputs]`.
///
/// - `y`: the gradient of the result, `[rows, outputs]`
/// - `x`: the input, `[rows, inputs]`
///
/// # Panics
///
/// When shapes do not match.
pub fn weight_gradient(y: &[f32], x: &[f32], rows: usize) -> Vec<f32> {
    weight_gradient_at(Level::best(), y, x, rows)
}

pub(super) fn weight_gradient_at(level: Level, y: &[f32], x: &[f32], rows: usize) -> Vec<f32> {
    assert!(rows > 0 && y.len().is_multiple_of(rows) && x.len().is_multiple_of(rows));
    let (outputs, inputs) = (y.len() / rows, x.len() / rows);
    let mut weight = vec![0.0; outputs * inputs];
    let product = Gemm {
        m: outputs,
        n: inputs,
        k: rows,
        b: y.as_ptr(),
        os: 1,
        ks: outputs,
        a: x.as_ptr(),
        lda: inputs,
        c: weight.as_mut_ptr(),
        ldc: inputs,
        add: false,
    };
    // SAFETY: both have `rows` rows.
    unsafe { product.compute_shared(level) };
    weight
}
