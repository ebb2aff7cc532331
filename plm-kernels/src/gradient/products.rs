use crate::fresh::fresh;
use crate::gemm::Gemm;
use crate::lanes::Level;
use crate::matrix::{Matrix, Weights};
use crate::product::{MatmulPrecision, Product, expand_row, products};
use crate::threads::{Shared, for_each};

/// Rows of a weight in another format than f32 that are widened together.
const PANEL: usize = 512;

/// The gradient of the input of a product, `y · weight`: `[rows, columns of the matrix]`.
///
/// - `y`: the gradient of the result, `[rows, rows of the matrix]`
/// - `precision`: below the highest, parts of bf16 are multiplied on processors with AMX; others
///   compute in f32
///
/// # Panics
///
/// When shapes do not match.
pub fn input_gradient(
    y: &[f32],
    rows: usize,
    matrix: &Matrix<'_>,
    precision: MatmulPrecision,
) -> Vec<f32> {
    input_gradient_at(Level::best(), y, rows, matrix, precision)
}

pub(super) fn input_gradient_at(
    level: Level,
    y: &[f32],
    rows: usize,
    matrix: &Matrix<'_>,
    precision: MatmulPrecision,
) -> Vec<f32> {
    let (outputs, inputs) = (matrix.rows(), matrix.columns());
    assert_eq!(y.len(), rows * outputs, "gradient of a product");
    let part = |x: *mut f32, first: usize, count: usize, weights: &[f32]| {
        let part = Gemm {
            m: rows,
            n: inputs,
            k: count,
            b: y[first..].as_ptr(),
            os: outputs,
            ks: 1,
            a: weights.as_ptr(),
            lda: inputs,
            c: x,
            ldc: inputs,
            add: first > 0,
        };
        // SAFETY: row `i` of `y` has `count` numbers from `first` on, and the weights so many rows.
        unsafe { part.compute_shared(level, precision) };
    };
    if outputs == 0 {
        return vec![0.0; rows * inputs];
    }
    if let Weights::F32(weights) = matrix.weights() {
        // SAFETY: a product of at least one step writes all.
        return unsafe { fresh(rows * inputs, |x| part(x, 0, outputs, weights)) };
    }
    let mut x = vec![0.0; rows * inputs];
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
        part(x.as_mut_ptr(), first, count, &panel);
    }
    x
}

/// The gradient of the weight of a product, `yᵀ · x`: `[outputs, inputs]`.
///
/// - `y`: the gradient of the result, `[rows, outputs]`
/// - `x`: the input, `[rows, inputs]`
/// - `precision`: as of [`input_gradient`]
///
/// # Panics
///
/// When shapes do not match.
pub fn weight_gradient(y: &[f32], x: &[f32], rows: usize, precision: MatmulPrecision) -> Vec<f32> {
    weight_gradient_at(Level::best(), y, x, rows, precision)
}

pub(super) fn weight_gradient_at(
    level: Level,
    y: &[f32],
    x: &[f32],
    rows: usize,
    precision: MatmulPrecision,
) -> Vec<f32> {
    assert!(rows > 0 && y.len().is_multiple_of(rows) && x.len().is_multiple_of(rows));
    let (outputs, inputs) = (y.len() / rows, x.len() / rows);
    let product = |c| Gemm {
        m: outputs,
        n: inputs,
        k: rows,
        b: y.as_ptr(),
        os: 1,
        ks: outputs,
        a: x.as_ptr(),
        lda: inputs,
        c,
        ldc: inputs,
        add: false,
    };
    // SAFETY: both have `rows` rows, of which there is one; so all is written.
    unsafe {
        fresh(outputs * inputs, |c| {
            product(c).compute_shared(level, precision)
        })
    }
}

/// The product `x · weightᵀ + bias` of very many rows: `[rows, rows of the matrix]`. Where there
/// are many more rows than the weight has inputs, it is faster than [`products`](crate::products()),
/// because the weight is turned instead of the rows.
///
/// # Panics
///
/// When shapes do not match.
pub fn product_of_rows(
    x: &[f32],
    rows: usize,
    matrix: &Matrix<'_>,
    bias: Option<&[f32]>,
    precision: MatmulPrecision,
) -> Vec<f32> {
    let (outputs, inputs) = (matrix.rows(), matrix.columns());
    assert_eq!(x.len(), rows * inputs, "rows of a product");
    assert!(bias.is_none_or(|bias| bias.len() == outputs), "bias");
    let Weights::F32(weights) = matrix.weights() else {
        return other_product(x, rows, matrix, bias, precision);
    };
    if rows < 4 * inputs || inputs == 0 || outputs < 16 {
        return other_product(x, rows, matrix, bias, precision);
    }
    let mut turned = vec![0.0; weights.len()];
    for (o, row) in weights.chunks_exact(inputs).enumerate() {
        for (k, w) in row.iter().enumerate() {
            turned[k * outputs + o] = *w;
        }
    }
    // SAFETY: all shapes were checked; each row is written by the bias or the product.
    unsafe {
        fresh(rows * outputs, |c| {
            if let Some(bias) = bias {
                let c = Shared(c);
                for_each(rows.div_ceil(64), |i| {
                    for row in i * 64..rows.min((i + 1) * 64) {
                        let to = c.get().add(row * outputs);
                        to.copy_from_nonoverlapping(bias.as_ptr(), outputs);
                    }
                });
            }
            let product = Gemm {
                m: rows,
                n: outputs,
                k: inputs,
                b: x.as_ptr(),
                os: inputs,
                ks: 1,
                a: turned.as_ptr(),
                lda: outputs,
                c,
                ldc: outputs,
                add: bias.is_some(),
            };
            product.compute_shared(Level::best(), precision);
        })
    }
}

fn other_product(
    x: &[f32],
    rows: usize,
    matrix: &Matrix<'_>,
    bias: Option<&[f32]>,
    precision: MatmulPrecision,
) -> Vec<f32> {
    let mut y = vec![0.0; rows * matrix.rows()];
    let mut product = Product::new(*matrix, &mut y);
    product.bias = bias;
    product.precision = precision;
    products(x, rows, &mut [product]);
    y
}
