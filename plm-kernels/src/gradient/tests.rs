//! Gradients against quotients of differences, in f64.

use super::activations::{gelu_gradient_at, silu_mul_gradient_at};
use super::attention::attention_gradient_at;
use super::norms::normalize_gradient_at;
use super::products::{input_gradient_at, weight_gradient_at};
use super::*;
use crate::{
    Attention, BlockFormat, Level, MatmulPrecision, Matrix, Norm, Weights, attention, normalize,
    quantize,
};
use half::f16;

fn numbers(count: usize, seed: f32) -> Vec<f32> {
    (0..count)
        .map(|i| (i as f32 * 0.731 + seed).sin() * 1.5)
        .collect()
}

/// Checks `found`, the gradient of `Σ y · f(x)`, in some places.
fn check(what: &str, x: &[f32], y: &[f32], found: &[f32], f: impl Fn(&[f32]) -> Vec<f32>) {
    assert_eq!(x.len(), found.len());
    let value = |x: &[f32]| -> f64 {
        let products = f(x).into_iter().zip(y);
        products.map(|(a, b)| f64::from(a) * f64::from(*b)).sum()
    };
    let step = 1e-2;
    for i in (0..x.len()).step_by(x.len().div_ceil(23)) {
        let mut moved = x.to_vec();
        moved[i] = x[i] + step;
        let above = value(&moved);
        moved[i] = x[i] - step;
        let expected = (above - value(&moved)) / (2.0 * f64::from(step));
        let difference = (f64::from(found[i]) - expected).abs();
        assert!(
            difference <= 4e-3 * (1.0 + expected.abs()),
            "{what}: [{i}] is {}, not {expected}",
            found[i]
        );
    }
}

#[test]
fn products_give_what_sums_in_f64_give() {
    use MatmulPrecision::{High, Highest, Medium};
    for (rows, outputs, inputs) in [
        (1, 1, 1),
        (3, 5, 17),
        (50, 40, 33),
        (700, 19, 70),
        (9, 600, 64),
        (330, 45, 40),
        (1100, 70, 530),
    ] {
        for (precision, tolerance) in [(Highest, 3e-6), (High, 3.2e-5), (Medium, 7.9e-3)] {
            check_products(rows, outputs, inputs, precision, tolerance);
        }
    }
}

fn check_products(
    rows: usize,
    outputs: usize,
    inputs: usize,
    precision: MatmulPrecision,
    tolerance: f64,
) {
    let (y, w) = (numbers(rows * outputs, 0.3), numbers(outputs * inputs, 1.7));
    let x = numbers(rows * inputs, 0.9);
    let matrix = Matrix::new(outputs, inputs, Weights::F32(&w));
    let check = |what: &str, found: f32, terms: &mut dyn Iterator<Item = (f32, f32)>| {
        let terms = terms.map(|(a, b)| f64::from(a) * f64::from(b));
        let (sum, size) = terms.fold((0.0, 1.0), |(sum, size), t| (sum + t, size + t.abs()));
        let off = (f64::from(found) - sum).abs();
        assert!(
            off <= tolerance * size,
            "{what} {precision:?} {rows} {outputs}x{inputs}: {found}, not {sum}"
        );
    };
    let bias = vec![1.0; outputs];
    let product = product_of_rows(&x, rows, &matrix, Some(&bias), precision);
    for i in (0..rows * outputs).step_by(7) {
        let (r, o) = (i / outputs, i % outputs);
        let mut terms = (0..inputs).map(|k| (x[r * inputs + k], w[o * inputs + k]));
        check("product", product[i] - 1.0, &mut terms);
    }
    for level in Level::available() {
        let of_input = input_gradient_at(level, &y, rows, &matrix, precision);
        for i in (0..rows * inputs).step_by(7) {
            let (r, k) = (i / inputs, i % inputs);
            let mut terms = (0..outputs).map(|o| (y[r * outputs + o], w[o * inputs + k]));
            check("input", of_input[i], &mut terms);
        }
        let of_weight = weight_gradient_at(level, &y, &x, rows, precision);
        for i in (0..outputs * inputs).step_by(7) {
            let (o, k) = (i / inputs, i % inputs);
            let mut terms = (0..rows).map(|r| (y[r * outputs + o], x[r * inputs + k]));
            check("weight", of_weight[i], &mut terms);
        }
    }
}

#[test]
fn numbers_that_are_none_are_not_lost() {
    let (rows, outputs, inputs) = (40, 64, 48);
    let (w, x) = (numbers(outputs * inputs, 1.7), numbers(rows * inputs, 0.9));
    let matrix = Matrix::new(outputs, inputs, Weights::F32(&w));
    for odd in [f32::NAN, f32::from_bits(0x7fff_ffff), f32::INFINITY] {
        let mut y = numbers(rows * outputs, 0.3);
        y[3 * outputs + 40] = odd;
        for precision in [
            MatmulPrecision::Highest,
            MatmulPrecision::High,
            MatmulPrecision::Medium,
        ] {
            let of_input = input_gradient(&y, rows, &matrix, precision);
            for (row, found) in of_input.chunks(inputs).enumerate() {
                assert!(
                    found.iter().all(|x| x.is_finite() == (row != 3)),
                    "{odd} {precision:?}"
                );
            }
            let of_weight = weight_gradient(&y, &x, rows, precision);
            for (o, found) in of_weight.chunks(inputs).enumerate() {
                assert!(
                    found.iter().all(|x| x.is_finite() == (o != 40)),
                    "{odd} {precision:?}"
                );
            }
        }
    }
}

#[test]
fn quantised_weights_give_the_gradient_of_what_they_stand_for() {
    let (rows, outputs, inputs) = (7, 1100, 64);
    let (y, w) = (numbers(rows * outputs, 0.3), numbers(outputs * inputs, 1.7));
    let matrix = Matrix::new(outputs, inputs, Weights::F32(&w));
    let (mut codes, mut scales) = (vec![0; outputs * inputs], vec![f16::ZERO; outputs * 2]);
    quantize(&matrix, BlockFormat::Q8, &mut codes, &mut scales);
    let codes: Vec<i8> = codes.into_iter().map(|code| code as i8).collect();
    let rounded = Matrix::new(
        outputs,
        inputs,
        Weights::Q8 {
            codes: &codes,
            scales: &scales,
        },
    );
    let mut wide = vec![0.0; outputs * inputs];
    for (row, out) in wide.chunks_mut(inputs).enumerate() {
        crate::expand_row(&rounded, row, out);
    }
    let wide = Matrix::new(outputs, inputs, Weights::F32(&wide));
    let [expected, found] =
        [wide, rounded].map(|w| input_gradient(&y, rows, &w, MatmulPrecision::Highest));
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() < 1e-3);
    }
}

#[test]
fn norms() {
    for width in [3, 16, 37, 64] {
        let rows = 300;
        let (x, y) = (numbers(rows * width, 0.1), numbers(rows * width, 2.2));
        let (weight, bias) = (numbers(width, 0.6), numbers(width, 1.1));
        for rms in [true, false] {
            let run = |x: &[f32], weight: &[f32], bias: &[f32]| {
                let norm = match rms {
                    true => Norm::Rms { weight },
                    false => Norm::Layer { weight, bias },
                };
                let mut out = vec![0.0; x.len()];
                normalize(x, norm, 1e-5, &mut out);
                out
            };
            let norm = match rms {
                true => Norm::Rms { weight: &weight },
                false => Norm::Layer {
                    weight: &weight,
                    bias: &bias,
                },
            };
            for level in Level::available() {
                let found = normalize_gradient_at(level, &x, norm, 1e-5, &y);
                check("x", &x, &y, &found.x, |x| run(x, &weight, &bias));
                check("scale", &weight, &y, &found.weight, |w| run(&x, w, &bias));
                if !rms {
                    check("shift", &bias, &y, &found.bias, |b| run(&x, &weight, b));
                }
            }
        }
    }
}

#[test]
fn activations() {
    let (x, up, y) = (numbers(1000, 0.4), numbers(1000, 1.4), numbers(1000, 2.4));
    for level in Level::available() {
        let found = gelu_gradient_at(level, &x, &y);
        check("gelu", &x, &y, &found, crate::gelus);
        let [gate, values] = silu_mul_gradient_at(level, &x, &up, &y);
        let run = |gate: &[f32], up: &[f32]| {
            let mut gate = gate.to_vec();
            crate::silu_mul(&mut gate, up);
            gate
        };
        check("gate", &x, &y, &gate, |x| run(x, &up));
        check("values", &up, &y, &values, |up| run(&x, up));
    }
}

#[test]
fn residual_sums() {
    let (branch, y) = (numbers(600 * 21, 0.4), numbers(600 * 21, 1.4));
    let gamma = numbers(21, 0.2);
    let run = |branch: &[f32], gamma: &[f32]| {
        let mut x = vec![0.5; branch.len()];
        crate::add(&mut x, branch, Some(gamma));
        x
    };
    let [of_branch, of_gamma] = add_gradient(&branch, &gamma, &y);
    check("branch", &branch, &y, &of_branch, |x| run(x, &gamma));
    check("scale", &gamma, &y, &of_gamma, |g| run(&branch, g));
    let sums = sum_rows(&y, 21);
    let expected: f32 = y.iter().skip(4).step_by(21).sum();
    assert!((sums[4] - expected).abs() < 1e-3);
}

#[test]
fn attention_of_whole_sequences() {
    for (batch, seq, heads, kv_heads, dim) in [
        (1, 1, 1, 1, 2),
        (2, 5, 4, 2, 6),
        (1, 53, 6, 2, 16),
        (3, 17, 4, 4, 32),
    ] {
        for causal in [false, true] {
            let width = heads * dim;
            let q = numbers(batch * seq * width, 0.2);
            let kv = batch * kv_heads * seq * dim;
            let (keys, values) = (numbers(kv, 1.2), numbers(kv, 2.9));
            let y = numbers(batch * seq * width, 0.8);
            let run = |q: &[f32], keys: &[f32], values: &[f32]| {
                let mut out = vec![0.0; q.len()];
                attention(Attention {
                    q,
                    q_stride: width,
                    keys,
                    values,
                    batch,
                    seq,
                    heads,
                    kv_heads,
                    head_dim: dim,
                    len: seq,
                    capacity: seq,
                    causal,
                    padding: &[],
                    out: &mut out,
                });
                out
            };
            let out = run(&q, &keys, &values);
            for level in Level::available() {
                let work = AttentionGradient {
                    q: &q,
                    q_stride: width,
                    keys: &keys,
                    values: &values,
                    out: &out,
                    y: &y,
                    batch,
                    seq,
                    heads,
                    kv_heads,
                    head_dim: dim,
                    causal,
                };
                let [of_q, of_keys, of_values] = attention_gradient_at(level, &work);
                check("queries", &q, &y, &of_q, |q| run(q, &keys, &values));
                check("keys", &keys, &y, &of_keys, |k| run(&q, k, &values));
                check("values", &values, &y, &of_values, |v| run(&q, &keys, v));
            }
        }
    }
}

#[test]
fn cross_entropy_of_rows() {
    for width in [1, 7, 40] {
        let (x, targets) = (numbers(5 * width, 0.7), [0, 0, width as u32 - 1, 0, 0]);
        let mut found = x.clone();
        let losses = softmax_losses(&mut found, &targets, 1.0);
        for (row, &target) in targets.iter().enumerate() {
            let scores = &x[row * width..][..width];
            let sum: f64 = scores.iter().map(|&x| f64::from(x).exp()).sum();
            let expected = sum.ln() - f64::from(scores[target as usize]);
            assert!((f64::from(losses[row]) - expected).abs() < 1e-5);
        }
        check("scores", &x, &[1.0; 5], &found, |x| {
            softmax_losses(&mut x.to_vec(), &targets, 1.0)
        });
    }
}
