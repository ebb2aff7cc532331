//! Norms over rows, and the residual sum that follows a block.

use crate::fresh::fresh;
use crate::lanes::{Lanes, Level, Task, run};
use crate::threads::{Shared, for_each};

/// Numbers that a thread takes at a time.
const PIECE: usize = 16 << 10;

/// What a norm does to a row.
#[derive(Debug, Clone, Copy)]
pub enum Norm<'a> {
    /// `x / √(mean(x²) + eps) · weight`.
    Rms {
        /// Scale, as long as a row.
        weight: &'a [f32],
    },
    /// `(x - mean) / √(variance + eps) · weight + bias`.
    Layer {
        /// Scale, as long as a row.
        weight: &'a [f32],
        /// Shift, as long as a row.
        bias: &'a [f32],
    },
}

/// Normalises rows of `x` into `out`.
///
/// # Panics
///
/// When shapes do not match.
pub fn normalize(x: &[f32], norm: Norm<'_>, eps: f32, out: &mut [f32]) {
    normalize_at(Level::best(), x, norm, eps, out);
}

/// As [`normalize`], into new memory.
///
/// # Panics
///
/// When shapes do not match.
pub fn normalized(x: &[f32], norm: Norm<'_>, eps: f32) -> Vec<f32> {
    // SAFETY: every row is written.
    unsafe {
        fresh(x.len(), |out| {
            normalize_rows(Level::best(), x, norm, eps, Shared(out));
        })
    }
}

fn normalize_at(level: Level, x: &[f32], norm: Norm<'_>, eps: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "rows of a norm");
    normalize_rows(level, x, norm, eps, Shared(out.as_mut_ptr()));
}

/// Writes as many numbers as `x` has.
fn normalize_rows(level: Level, x: &[f32], norm: Norm<'_>, eps: f32, out: Shared<f32>) {
    let width = match norm {
        Norm::Rms { weight } => weight.len(),
        Norm::Layer { weight, bias } => {
            assert_eq!(weight.len(), bias.len(), "scale and shift of a norm");
            weight.len()
        }
    };
    assert!(width > 0 && x.len().is_multiple_of(width), "rows of a norm");
    let rows = x.len() / width;
    let step = (PIECE / width).max(1);
    for_each(rows.div_ceil(step), |i| {
        for row in i * step..rows.min((i + 1) * step) {
            let row = Row {
                x: &x[row * width..][..width],
                norm,
                eps,
                // SAFETY: each row is another part of `out`.
                out: unsafe { out.get().add(row * width) },
            };
            run(level, row);
        }
    });
}

struct Row<'a> {
    x: &'a [f32],
    norm: Norm<'a>,
    eps: f32,
    out: *mut f32,
}

impl Task for Row<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (x, out) = (self.x.as_ptr(), self.out);
        let width = self.x.len();
        let whole = width / L::N * L::N;
        let mean = match self.norm {
            Norm::Rms { .. } => 0.0,
            Norm::Layer { .. } => {
                let mut sum = L::splat(0.0);
                for i in (0..whole).step_by(L::N) {
                    sum = L::add(sum, L::load(x.add(i)));
                }
                let mut sum = L::sum(sum);
                for i in whole..width {
                    sum += *x.add(i);
                }
                sum / width as f32
            }
        };
        let shift = L::splat(mean);
        let mut squares = L::splat(0.0);
        for i in (0..whole).step_by(L::N) {
            let d = L::sub(L::load(x.add(i)), shift);
            squares = L::fma(d, d, squares);
        }
        let mut squares = L::sum(squares);
        for i in whole..width {
            squares += (*x.add(i) - mean) * (*x.add(i) - mean);
        }
        let scale = 1.0 / (squares / width as f32 + self.eps).sqrt();
        let (weight, bias) = match self.norm {
            Norm::Rms { weight } => (weight.as_ptr(), None),
            Norm::Layer { weight, bias } => (weight.as_ptr(), Some(bias.as_ptr())),
        };
        let factor = L::splat(scale);
        for i in (0..whole).step_by(L::N) {
            let normed = L::mul(L::sub(L::load(x.add(i)), shift), factor);
            let mut y = L::mul(normed, L::load(weight.add(i)));
            if let Some(bias) = bias {
                y = L::add(y, L::load(bias.add(i)));
            }
            L::store(out.add(i), y);
        }
        for i in whole..width {
            let y = (*x.add(i) - mean) * scale * *weight.add(i);
            *out.add(i) = match bias {
                Some(bias) => y + *bias.add(i),
                None => y,
            };
        }
    }
}

/// Adds rows of `branch` to `x`, scaled by `gamma` (as long as a row) where there is one.
///
/// # Panics
///
/// When shapes do not match.
pub fn add(x: &mut [f32], branch: &[f32], gamma: Option<&[f32]>) {
    add_at(Level::best(), x, branch, gamma);
}

/// As [`add`], with a scale, into new memory.
///
/// # Panics
///
/// When shapes do not match.
pub fn scaled_sum(x: &[f32], branch: &[f32], gamma: &[f32]) -> Vec<f32> {
    let width = gamma.len();
    assert!(width > 0 && x.len() == branch.len() && x.len().is_multiple_of(width));
    let step = (PIECE / width).max(1) * width;
    // SAFETY: each piece is another part of the result, and all are written.
    unsafe {
        fresh(x.len(), |out| {
            let out = Shared(out);
            for_each(x.len().div_ceil(step), |i| {
                let part = i * step..x.len().min((i + 1) * step);
                let to = out.get().add(part.start);
                to.copy_from_nonoverlapping(x[part.clone()].as_ptr(), part.len());
                let sum = Sum {
                    x: std::slice::from_raw_parts_mut(to, part.len()),
                    branch: &branch[part],
                    gamma: Some(gamma),
                };
                run(Level::best(), sum);
            });
        })
    }
}

fn add_at(level: Level, x: &mut [f32], branch: &[f32], gamma: Option<&[f32]>) {
    assert_eq!(x.len(), branch.len(), "a sum's parts");
    let width = gamma.map_or(x.len(), <[f32]>::len);
    assert!(width == 0 || x.len().is_multiple_of(width), "a sum's scale");
    if x.is_empty() {
        return;
    }
    let step = match gamma {
        Some(_) => (PIECE / width).max(1) * width,
        None => PIECE,
    };
    let shared = Shared(x.as_mut_ptr());
    for_each(branch.len().div_ceil(step), |i| {
        let branch = &branch[i * step..branch.len().min((i + 1) * step)];
        // SAFETY: each piece is another part of `x`.
        let x = unsafe { std::slice::from_raw_parts_mut(shared.get().add(i * step), branch.len()) };
        run(level, Sum { x, branch, gamma });
    });
}

struct Sum<'a> {
    x: &'a mut [f32],
    branch: &'a [f32],
    gamma: Option<&'a [f32]>,
}

impl Task for Sum<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        match self.gamma {
            None => {
                for (x, branch) in self.x.iter_mut().zip(self.branch) {
                    *x += branch;
                }
            }
            Some(gamma) => {
                let rows = self.x.chunks_exact_mut(gamma.len());
                for (x, branch) in rows.zip(self.branch.chunks_exact(gamma.len())) {
                    for ((x, branch), gamma) in x.iter_mut().zip(branch).zip(gamma) {
                        *x += branch * gamma;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: f32) -> Vec<f32> {
        (0..count)
            .map(|i| (i as f32 * 0.37 + seed).sin() * 3.0)
            .collect()
    }

    #[test]
    fn rows_have_the_statistics_that_are_asked_for() {
        for width in [1, 7, 16, 45, 2048] {
            let x = numbers(3 * width, 0.1);
            let (weight, bias) = (numbers(width, 1.0), numbers(width, 2.0));
            let (mut rms, mut layer) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            for (level, row) in Level::available()
                .into_iter()
                .flat_map(|l| [(l, 0), (l, 1), (l, 2)])
            {
                normalize_at(level, &x, Norm::Rms { weight: &weight }, 1e-5, &mut rms);
                let norm = Norm::Layer {
                    weight: &weight,
                    bias: &bias,
                };
                normalize_at(level, &x, norm, 1e-5, &mut layer);
                let x: Vec<f64> = x[row * width..][..width]
                    .iter()
                    .map(|&x| x.into())
                    .collect();
                let n = width as f64;
                let mean = x.iter().sum::<f64>() / n;
                let square = x.iter().map(|x| x * x).sum::<f64>() / n;
                let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                for i in 0..width {
                    let (w, b) = (f64::from(weight[i]), f64::from(bias[i]));
                    let expected = x[i] / (square + 1e-5).sqrt() * w;
                    assert!((f64::from(rms[row * width + i]) - expected).abs() < 1e-5);
                    let expected = (x[i] - mean) / (variance + 1e-5).sqrt() * w + b;
                    assert!((f64::from(layer[row * width + i]) - expected).abs() < 2e-5);
                }
            }
        }
    }

    #[test]
    fn branches_are_scaled_feature_by_feature() {
        let (branch, gamma) = (numbers(5 * 23, 0.0), numbers(23, 1.0));
        for level in Level::available() {
            let mut x = vec![1.0; branch.len()];
            add_at(level, &mut x, &branch, Some(&gamma));
            for (i, x) in x.iter().enumerate() {
                assert!((x - (1.0 + branch[i] * gamma[i % 23])).abs() < 1e-6);
            }
            add_at(level, &mut x, &branch, None);
            assert!((x[7] - (1.0 + branch[7] * (1.0 + gamma[7]))).abs() < 1e-6);
        }
    }
}
