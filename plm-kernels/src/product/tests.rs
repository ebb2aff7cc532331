use half::{bf16, f16};
use proptest::prelude::*;

use super::*;
use crate::{BlockFormat, quantize};

/// Weights in every format, made from the same numbers.
struct Formats {
    f32: Vec<f32>,
    bf16: Vec<bf16>,
    f16: Vec<f16>,
    q8: (Vec<i8>, Vec<f16>),
    q4: (Vec<u8>, Vec<f16>),
    shape: [usize; 2],
}

impl Formats {
    fn new(rows: usize, columns: usize, scale: f32) -> Self {
        let f32: Vec<f32> = numbers(rows * columns, 1)
            .iter()
            .map(|x| x * scale)
            .collect();
        let blocks = columns.div_ceil(BLOCK);
        let mut q8 = (
            vec![0u8; rows * blocks * BLOCK],
            vec![f16::ZERO; rows * blocks],
        );
        let mut q4 = (
            vec![0; rows * blocks * BLOCK / 2],
            vec![f16::ZERO; rows * blocks],
        );
        let matrix = Matrix::new(rows, columns, Weights::F32(&f32));
        quantize(&matrix, BlockFormat::Q8, &mut q8.0, &mut q8.1);
        quantize(&matrix, BlockFormat::Q4, &mut q4.0, &mut q4.1);
        let q8 = (q8.0.into_iter().map(|code| code as i8).collect(), q8.1);
        Self {
            bf16: f32.iter().map(|&x| bf16::from_f32(x)).collect(),
            f16: f32.iter().map(|&x| f16::from_f32(x)).collect(),
            f32,
            q8,
            q4,
            shape: [rows, columns],
        }
    }

    fn matrices(&self) -> Vec<Matrix<'_>> {
        let [rows, columns] = self.shape;
        [
            Weights::F32(&self.f32),
            Weights::Bf16(&self.bf16),
            Weights::F16(&self.f16),
            Weights::Q8 {
                codes: &self.q8.0,
                scales: &self.q8.1,
            },
            Weights::Q4 {
                codes: &self.q4.0,
                scales: &self.q4.1,
            },
        ]
        .map(|weights| Matrix::new(rows, columns, weights))
        .into()
    }
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1000.0 - 1.0)
        .collect()
}

/// The product by its definition, in f64, and the size of its terms.
fn reference(x: &[f32], rows: usize, matrix: &Matrix<'_>, bias: &[f32]) -> Vec<(f64, f64)> {
    let (outputs, columns) = (matrix.rows(), matrix.columns());
    let mut weights = vec![0.0; columns];
    let mut y = vec![(0.0, 0.0); rows * outputs];
    for o in 0..outputs {
        expand_row(matrix, o, &mut weights);
        for r in 0..rows {
            let terms = x[r * columns..][..columns].iter().zip(&weights);
            let terms = terms.map(|(&x, &w)| f64::from(x) * f64::from(w));
            let (sum, size) = terms.fold((0.0, 0.0), |(a, b), t| (a + t, b + t.abs()));
            y[r * outputs + o] = (sum + f64::from(bias[o]), size + 1.0);
        }
    }
    y
}

fn check(rows: usize, outputs: usize, columns: usize, scale: f32) {
    let formats = Formats::new(outputs, columns, scale);
    let (x, bias) = (numbers(rows * columns, 2), numbers(outputs, 3));
    let levels = Level::available().into_iter();
    let matrices = formats.matrices();
    for (level, matrix) in levels.flat_map(|level| matrices.iter().map(move |m| (level, *m))) {
        let (mut y, mut z) = (
            vec![f32::NAN; rows * outputs],
            vec![f32::NAN; rows * outputs],
        );
        let mut biased = Product::new(matrix, &mut y);
        biased.bias = Some(&bias);
        products_at(level, &x, rows, &mut [biased, Product::new(matrix, &mut z)]);
        for (i, (expected, size)) in reference(&x, rows, &matrix, &bias).iter().enumerate() {
            let bound = size * 3e-6;
            let without = expected - f64::from(bias[i % outputs]);
            assert!(
                (f64::from(y[i]) - expected).abs() <= bound
                    && (f64::from(z[i]) - without).abs() <= bound,
                "{level:?}: {rows} rows, {outputs}x{columns}, {i}: {} {}, not {expected}",
                y[i],
                z[i],
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_format_is_the_sum_of_its_weights(
        rows in 1usize..40, outputs in 1usize..70, columns in 1usize..300,
    ) {
        check(rows, outputs, columns, 1.0);
    }
}

#[test]
fn several_stretches_panels_and_row_blocks_are_joined() {
    check(9, 200, 700, 1.0);
    check(1100, 13, 33, 1.0);
    check(1, 1030, 2048, 1.0);
}

#[test]
fn extreme_weights_stay_what_they_are() {
    for scale in [1e4, 1e-6, 0.0] {
        check(3, 20, 96, scale);
        check(17, 20, 96, scale);
    }
}

#[test]
fn no_row_is_no_work() {
    let formats = Formats::new(4, 32, 1.0);
    products(&[], 0, &mut [Product::new(formats.matrices()[0], &mut [])]);
}

#[test]
fn gelu_follows_the_bias() {
    let weights = [1.0; 4];
    let bias = [1.0; 1];
    for rows in [1, 20] {
        let mut y = vec![0.0; rows];
        let mut product = Product::new(Matrix::new(1, 4, Weights::F32(&weights)), &mut y);
        product.bias = Some(&bias);
        product.activation = Activation::Gelu;
        products(&vec![0.0; 4 * rows], rows, &mut [product]);
        assert!(y.iter().all(|y| (y - 0.841_344_7).abs() < 1e-6), "{y:?}");
    }
}
