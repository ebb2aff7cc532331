use half::{bf16, f16};
use proptest::prelude::*;

use super::*;
use crate::{BlockFormat, Nf4Rounding, Nf4Scales, quantize};

/// Weights in every format, made from the same numbers.
struct Formats {
    f32: Vec<f32>,
    bf16: Vec<bf16>,
    f16: Vec<f16>,
    q8: (Vec<i8>, Vec<f16>),
    q4: (Vec<u8>, Vec<f16>),
    nf4: (Vec<u8>, Nf4Scales),
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
        let mut codes = vec![0; (rows * columns).div_ceil(2)];
        let mut rounding = Nf4Rounding::new(&mut codes);
        rounding.push(&matrix);
        let scales = rounding.finish();
        let nf4 = (codes, scales);
        let q8 = (q8.0.into_iter().map(|code| code as i8).collect(), q8.1);
        Self {
            bf16: f32.iter().map(|&x| bf16::from_f32(x)).collect(),
            f16: f32.iter().map(|&x| f16::from_f32(x)).collect(),
            f32,
            q8,
            q4,
            nf4,
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
            Weights::Nf4(self.nf4.1.nf4(&self.nf4.0)),
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

/// Rows of numbers.
type Table = Vec<Vec<f32>>;

fn weights(matrix: &Matrix<'_>) -> Table {
    (0..matrix.rows())
        .map(|row| {
            let mut weights = vec![0.0; matrix.columns()];
            expand_row(matrix, row, &mut weights);
            weights
        })
        .collect()
}

/// The numbers that integers of 16 bits with a scale for each block stand for.
fn rounded(table: &Table, longest: f32) -> Table {
    let round = |block: &[f32]| {
        let largest = block.iter().fold(1e-30f32, |m, x| m.max(x.abs()));
        let factor = 32_767.0 / largest;
        let length = block.iter().map(|x| (x * factor).powi(2)).sum::<f32>();
        let factor = factor / (length.sqrt() / longest).max(1.0);
        let round = |x: &f32| (x * factor).round_ties_even() / factor;
        block.iter().map(round).collect::<Vec<_>>()
    };
    let row = |row: &Vec<f32>| row.chunks(BLOCK).flat_map(round).collect();
    table.iter().map(row).collect()
}

fn rounded_to_bf16(table: &Table) -> Table {
    let round = |x: &f32| bf16::from_f32(*x).to_f32();
    let rows = table.iter().map(|row| row.iter().map(round).collect());
    rows.collect()
}

/// Products by their definition, in f64, and the sizes of their terms.
fn reference(x: &Table, weights: &Table, bias: &[f32]) -> Vec<(f64, f64)> {
    let product = |x: &[f32], w: &[f32], bias: f32| {
        let terms = x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w));
        terms.fold((f64::from(bias), 1.0), |(a, b), t| (a + t, b + t.abs()))
    };
    let rows = x.iter().flat_map(|x| {
        let outputs = weights.iter().zip(bias);
        outputs.map(|(w, &bias)| product(x, w, bias))
    });
    rows.collect()
}

/// A way to compute products.
#[derive(Debug, Clone, Copy)]
enum Way {
    Floats,
    Integers,
    /// Of few rows.
    Words(bool),
    /// Of many rows, as is fastest: in parts of bf16 where there is a unit for them.
    Many(MatmulPrecision),
    /// As is fastest.
    Chosen(MatmulPrecision),
}

fn check(rows: usize, outputs: usize, columns: usize, scale: f32) {
    let formats = Formats::new(outputs, columns, scale);
    let (x, bias) = (numbers(rows * columns, 2), numbers(outputs, 3));
    let table: Table = x.chunks(columns).map(<[f32]>::to_vec).collect();
    for matrix in formats.matrices() {
        let weights = weights(&matrix);
        let exact = reference(&table, &weights, &bias);
        let integers = match matrix.is_codes() {
            true => reference(&rounded(&table, f32::INFINITY), &weights, &bias),
            false => {
                let [x, w] = [&table, &weights].map(|table| rounded(table, 46_336.0));
                reference(&x, &w, &bias)
            }
        };
        let [x_halves, w_halves] = [&table, &weights].map(rounded_to_bf16);
        let in_halves = reference(&x_halves, &w_halves, &bias);
        let precisions = [
            MatmulPrecision::Highest,
            MatmulPrecision::High,
            MatmulPrecision::Medium,
        ];
        let few = [Way::Words(false), Way::Words(true)].into_iter();
        let ways = [Way::Floats, Way::Integers]
            .into_iter()
            .chain(few.filter(|_| rows <= MOST_FEW_ROWS))
            .chain(precisions.map(Way::Many))
            .chain(precisions.map(Way::Chosen));
        for (way, level) in
            ways.flat_map(|way| Level::available().into_iter().map(move |l| (way, l)))
        {
            let mut results = [(); 2].map(|()| vec![f32::NAN; rows * outputs]);
            let [y, z] = &mut results;
            let mut list = [Product::new(matrix, y), Product::new(matrix, z)];
            list[0].bias = Some(&bias);
            let mut packed = Aligned::default();
            let in_integers = match way {
                Way::Floats => {
                    many::products(many::Floats, level, &x, rows, &mut list, &mut packed);
                    false
                }
                Way::Integers => {
                    let arithmetic = many::Integers::new(&list);
                    many::products(arithmetic, level, &x, rows, &mut list, &mut packed);
                    true
                }
                Way::Words(in_words) => {
                    few::products(level, in_words, &x, rows, &mut list, &mut packed);
                    in_words && matrix.is_codes()
                }
                Way::Many(precision) => {
                    list.iter_mut().for_each(|p| p.precision = precision);
                    many_rows(level, &x, rows, &mut list, &mut packed);
                    false
                }
                Way::Chosen(precision) => {
                    list.iter_mut().for_each(|p| p.precision = precision);
                    products_at(level, &x, rows, &mut list);
                    rows <= few_rows(level, &list) && level.has_words() && matrix.is_codes()
                }
            };
            let in_many = match way {
                Way::Many(_) => true,
                Way::Chosen(_) => rows > few_rows(level, &list),
                _ => false,
            };
            let is_medium = list[0].precision == MatmulPrecision::Medium;
            let has_bf16 = level.has_tiles() || level.has_halves() && !matrix.is_codes();
            let in_bf16 = in_many && is_medium && has_bf16;
            let in_two_parts = in_many && list[0].is_high() && level.has_tiles();
            let in_many_integers = in_many && list[0].is_high() && level.prefers_integers();
            let in_integers = in_integers || in_many_integers && !in_bf16 && !in_two_parts;
            // Sums that a scale depends on may be rounded in another order, and then a number.
            let (expected, tolerance) = match (in_integers, matrix.weights()) {
                (false, _) if in_bf16 => (&in_halves, 1e-5),
                (false, _) if in_two_parts => (&exact, 3.2e-5),
                (false, _) => (&exact, 3e-6),
                (true, Weights::Q8 { .. } | Weights::Q4 { .. }) => (&integers, 3e-6),
                // Half a step of a level's 13 bits, if all weights were off in one direction.
                (true, Weights::Nf4(_)) => (&integers, 1.5e-4),
                (true, _) => (&integers, 3e-5),
            };
            for (i, (expected, size)) in expected.iter().enumerate() {
                let without = expected - f64::from(bias[i % outputs]);
                let off = [
                    f64::from(results[0][i]) - expected,
                    f64::from(results[1][i]) - without,
                ];
                assert!(
                    off.iter().all(|off| off.abs() <= size * tolerance),
                    "{way:?} {level:?}: {rows} rows, {outputs}x{columns}, {i}: {off:?} of {expected}",
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_format_is_the_sum_of_its_weights(
        rows in 1usize..40, outputs in 1usize..70, columns in 1usize..600,
    ) {
        check(rows, outputs, columns, 1.0);
    }
}

#[test]
fn several_stretches_panels_and_row_blocks_are_joined() {
    check(9, 200, 700, 1.0);
    check(1100, 13, 33, 1.0);
    check(1, 1030, 2048, 1.0);
    for rows in [4, 5, 6, 7, 8, 12, 13, 24, 25, 32, 33] {
        check(rows, 21, 2048 + 1024 + 37, 1.0);
        check(rows, 21, 2048 + 64, 1.0);
    }
}

#[test]
fn extreme_weights_stay_what_they_are() {
    for scale in [1e4, 1e-6, 0.0] {
        check(3, 20, 96, scale);
        check(17, 20, 96, scale);
    }
}

#[test]
fn integers_are_as_precise_as_they_are_said_to_be() {
    let columns = 512;
    let (x, w) = (numbers(64 * columns, 2), numbers(32 * columns, 1));
    let table = |x: &[f32]| x.chunks(columns).map(<[f32]>::to_vec).collect::<Table>();
    let expected = reference(&table(&x), &table(&w), &[0.0; 32]);
    let mut y = vec![0.0; 64 * 32];
    let mut list = [Product::new(
        Matrix::new(32, columns, Weights::F32(&w)),
        &mut y,
    )];
    let arithmetic = many::Integers::new(&list);
    let mut packed = Aligned::default();
    many::products(arithmetic, Level::best(), &x, 64, &mut list, &mut packed);
    let squares = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>();
    let off = squares(&mut y.iter().zip(&expected).map(|(&y, e)| f64::from(y) - e.0));
    let off = (off / squares(&mut expected.iter().map(|e| e.0))).sqrt();
    assert!(off < 1e-4, "{off}");
}

#[test]
fn numbers_that_are_none_are_not_lost() {
    let rows = MOST_FEW_ROWS + 8;
    let lower = [MatmulPrecision::High, MatmulPrecision::Medium];
    for (level, precision) in Level::available()
        .into_iter()
        .flat_map(|level| lower.map(|precision| (level, precision)))
    {
        for odd in [f32::NAN, f32::INFINITY] {
            let (mut x, w) = (numbers(rows * 64, 2), numbers(8 * 64, 1));
            x[3 * 64 + 40] = odd;
            let mut y = vec![0.0; rows * 8];
            let mut list = [Product::new(Matrix::new(8, 64, Weights::F32(&w)), &mut y)];
            list[0].precision = precision;
            products_at(level, &x, rows, &mut list);
            for (row, y) in y.chunks(8).enumerate() {
                assert!(y.iter().all(|y| y.is_finite() == (row != 3)), "{row} {y:?}");
            }
        }
    }
}

#[test]
fn numbers_that_are_none_are_not_lost_in_few_rows() {
    for columns in [64, 576] {
        let formats = Formats::new(8, columns, 1.0);
        for (matrix, level) in with_levels(&formats.matrices()) {
            for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = numbers(7 * columns, 2);
                x[columns + 40] = odd;
                let mut y = vec![0.0; 7 * 8];
                products_at(level, &x, 7, &mut [Product::new(matrix, &mut y)]);
                for (row, y) in y.chunks(8).enumerate() {
                    assert!(y.iter().all(|y| y.is_finite() == (row != 1)), "{row} {y:?}");
                }
            }
        }
    }
}

/// Each matrix with each instruction set that there is.
fn with_levels<'a>(matrices: &[Matrix<'a>]) -> Vec<(Matrix<'a>, Level)> {
    let levels = Level::available();
    let pairs = matrices
        .iter()
        .flat_map(|&matrix| levels.iter().map(move |&level| (matrix, level)));
    pairs.collect()
}

#[test]
fn formats_do_not_mind_each_other() {
    let (outputs, columns) = (21, 700);
    let formats = Formats::new(outputs, columns, 1.0);
    let matrices = formats.matrices();
    for (rows, level) in [1, 3, 7, 12, 24, 32]
        .into_iter()
        .flat_map(|rows| Level::available().into_iter().map(move |l| (rows, l)))
    {
        let x = numbers(rows * columns, 2);
        let mut packed = Aligned::default();
        let mut alone = vec![vec![0.0; rows * outputs]; matrices.len()];
        let mut together = alone.clone();
        for (&matrix, y) in matrices.iter().zip(&mut alone) {
            let mut list = [Product::new(matrix, y)];
            few::products(level, true, &x, rows, &mut list, &mut packed);
        }
        let list = matrices.iter().zip(&mut together);
        let mut list: Vec<_> = list.map(|(&matrix, y)| Product::new(matrix, y)).collect();
        few::products(level, true, &x, rows, &mut list, &mut packed);
        assert_eq!(alone, together, "{rows} {level:?}");
    }
}

#[test]
fn the_largest_integers_do_not_overflow() {
    let (columns, rows) = (16 * BLOCK + 40, 5);
    let blocks = columns.div_ceil(BLOCK);
    let scales = &vec![f16::ONE; blocks];
    for (byte, nibbles, nibble) in [(-127i8, 0x00u8, -8.0), (127, 0xff, 7.0)] {
        let q8 = Weights::Q8 {
            codes: &vec![byte; blocks * BLOCK],
            scales,
        };
        let q4 = Weights::Q4 {
            codes: &vec![nibbles; blocks * BLOCK / 2],
            scales,
        };
        let matrices = [q8, q4].map(|weights| Matrix::new(1, columns, weights));
        for ((matrix, level), x) in with_levels(&matrices)
            .into_iter()
            .flat_map(|pair| [1.0, -1.0].map(|x| (pair, x)))
        {
            let weight = match matrix.weights() {
                Weights::Q8 { .. } => f32::from(byte),
                _ => nibble,
            };
            let expected = weight * x * columns as f32;
            let (x, mut y) = (vec![x; rows * columns], vec![0.0; rows]);
            let mut list = [Product::new(matrix, &mut y)];
            few::products(level, true, &x, rows, &mut list, &mut Aligned::default());
            let is_near = |y: &f32| (y - expected).abs() <= 1e-6 * expected.abs();
            assert!(y.iter().all(is_near), "{level:?}: {y:?} for {expected}");
        }
    }
}

#[test]
fn no_row_is_no_work() {
    let formats = Formats::new(4, 32, 1.0);
    products(&[], 0, &mut [Product::new(formats.matrices()[0], &mut [])]);
}

#[test]
fn gelu_follows_the_bias() {
    for (rows, columns) in [(1, 4), (40, 4), (5, 2048), (40, 2048)] {
        let (x, weights) = (
            vec![1.0 / columns as f32; rows * columns],
            vec![1.0; columns],
        );
        let mut y = vec![0.0; rows];
        let mut product = Product::new(Matrix::new(1, columns, Weights::F32(&weights)), &mut y);
        product.bias = Some(&[1.0]);
        product.activation = Activation::Gelu;
        products(&x, rows, &mut [product]);
        assert!(y.iter().all(|y| (y - 1.954_499_7).abs() < 1e-6), "{y:?}");
    }
}
