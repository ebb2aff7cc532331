use crate::fresh::fresh;
use crate::lanes::{Lanes, Level, Task, run};
use crate::norm::Norm;
use crate::threads::{Shared, for_each};

/// Rows whose sums are formed together; a fixed number, so that sums do not depend on the threads.
const ROWS: usize = 256;

/// Gradients of a norm's arguments.
#[derive(Debug)]
pub struct NormGradient {
    /// Of the rows.
    pub x: Vec<f32>,
    /// Of the scale.
    pub weight: Vec<f32>,
    /// Of the shift; of a norm without one, the sums of `y`.
    pub bias: Vec<f32>,
}

/// The gradients of [`normalize`](crate::normalize), given that of its result.
///
/// # Panics
///
/// When shapes do not match.
pub fn normalize_gradient(x: &[f32], norm: Norm<'_>, eps: f32, y: &[f32]) -> NormGradient {
    normalize_gradient_at(Level::best(), x, norm, eps, y)
}

pub(super) fn normalize_gradient_at(
    level: Level,
    x: &[f32],
    norm: Norm<'_>,
    eps: f32,
    y: &[f32],
) -> NormGradient {
    let (Norm::Rms { weight } | Norm::Layer { weight, .. }) = norm;
    let width = weight.len();
    assert!(x.len() == y.len() && width > 0 && x.len().is_multiple_of(width));
    let chunks = (x.len() / width).div_ceil(ROWS);
    let mut sums = vec![0.0; 2 * width * chunks];
    let partial = Shared(sums.as_mut_ptr());
    let work = |out: Shared<f32>| {
        for_each(chunks, |i| {
            let start = i * ROWS * width;
            let end = x.len().min(start + ROWS * width);
            let rows = Rows {
                x: &x[start..end],
                y: &y[start..end],
                weight,
                centred: matches!(norm, Norm::Layer { .. }),
                eps,
                // SAFETY: each piece is another part of both.
                out: unsafe { out.get().add(start) },
                sums: unsafe { partial.get().add(i * 2 * width) },
            };
            run(level, rows);
        })
    };
    // SAFETY: every row is written.
    let of_x = unsafe { fresh(x.len(), |out| work(Shared(out))) };
    let mut total = sum_rows(&sums, 2 * width);
    let bias = total.split_off(width);
    NormGradient {
        x: of_x,
        weight: total,
        bias,
    }
}

struct Rows<'a> {
    x: &'a [f32],
    y: &'a [f32],
    weight: &'a [f32],
    centred: bool,
    eps: f32,
    out: *mut f32,
    /// Sums for the scale, then for the shift.
    sums: *mut f32,
}

impl Task for Rows<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let width = self.weight.len();
        let whole = width / L::N * L::N;
        let weight = self.weight.as_ptr();
        for row in 0..self.x.len() / width {
            let x = self.x.as_ptr().add(row * width);
            let y = self.y.as_ptr().add(row * width);
            let out = self.out.add(row * width);
            let mean = match self.centred {
                true => sum::<L>(width, |i| L::load(x.add(i)), |i| *x.add(i)) / width as f32,
                false => 0.0,
            };
            let shift = L::splat(mean);
            let squares = sum::<L>(
                width,
                |i| {
                    let d = L::sub(L::load(x.add(i)), shift);
                    L::mul(d, d)
                },
                |i| (*x.add(i) - mean) * (*x.add(i) - mean),
            );
            let scale = 1.0 / (squares / width as f32 + self.eps).sqrt();
            // With `z` the normalised row and `g = y · weight`: `(g - mean(g) - z · mean(g · z)) · scale`.
            let along = scale
                * sum::<L>(
                    width,
                    |i| {
                        let g = L::mul(L::load(y.add(i)), L::load(weight.add(i)));
                        L::mul(g, L::sub(L::load(x.add(i)), shift))
                    },
                    |i| *y.add(i) * *weight.add(i) * (*x.add(i) - mean),
                )
                / width as f32;
            let level = match self.centred {
                true => {
                    let g = |i| L::mul(L::load(y.add(i)), L::load(weight.add(i)));
                    sum::<L>(width, g, |i| *y.add(i) * *weight.add(i)) / width as f32
                }
                false => 0.0,
            };
            let of_bias = self.sums.add(width);
            let (factor, along_all) = (L::splat(scale), L::splat(-along));
            let level_all = L::splat(level);
            for i in (0..whole).step_by(L::N) {
                let (y, w) = (L::load(y.add(i)), L::load(weight.add(i)));
                let z = L::mul(L::sub(L::load(x.add(i)), shift), factor);
                let g = L::sub(L::mul(y, w), level_all);
                L::store(out.add(i), L::mul(L::fma(z, along_all, g), factor));
                let at = self.sums.add(i);
                L::store(at, L::fma(y, z, L::load(at)));
                let at = of_bias.add(i);
                L::store(at, L::add(L::load(at), y));
            }
            for i in whole..width {
                let (y, z) = (*y.add(i), (*x.add(i) - mean) * scale);
                *out.add(i) = (y * *weight.add(i) - level - z * along) * scale;
                *self.sums.add(i) += y * z;
                *of_bias.add(i) += y;
            }
        }
    }
}

/// The sum of what `wide` gives for whole vectors and `one` for the numbers that are left.
#[inline(always)]
unsafe fn sum<L: Lanes>(
    width: usize,
    wide: impl Fn(usize) -> L::V,
    one: impl Fn(usize) -> f32,
) -> f32 {
    let whole = width / L::N * L::N;
    let mut sums = L::splat(0.0);
    for i in (0..whole).step_by(L::N) {
        sums = L::add(sums, wide(i));
    }
    (whole..width).fold(L::sum(sums), |sum, i| sum + one(i))
}

/// The gradients of the branch and the scale of `x + branch · gamma`, given that of the sum.
///
/// # Panics
///
/// When shapes do not match.
pub fn add_gradient(branch: &[f32], gamma: &[f32], y: &[f32]) -> [Vec<f32>; 2] {
    let width = gamma.len();
    assert!(width > 0 && branch.len() == y.len() && y.len().is_multiple_of(width));
    let chunk = ROWS * width;
    let chunks = branch.len().div_ceil(chunk);
    let mut sums = vec![0.0; chunks * width];
    let partial = Shared(sums.as_mut_ptr());
    let work = |out: Shared<f32>| {
        for_each(chunks, |i| {
            let start = i * chunk;
            let end = branch.len().min(start + chunk);
            let scaled = Scaled {
                branch: &branch[start..end],
                y: &y[start..end],
                gamma,
                // SAFETY: each piece is another part of both.
                out: unsafe { out.get().add(start) },
                sums: unsafe {
                    std::slice::from_raw_parts_mut(partial.get().add(i * width), width)
                },
            };
            run(Level::best(), scaled);
        })
    };
    // SAFETY: every row is written.
    let of_branch = unsafe { fresh(branch.len(), |out| work(Shared(out))) };
    [of_branch, sum_rows(&sums, width)]
}

struct Scaled<'a> {
    branch: &'a [f32],
    y: &'a [f32],
    gamma: &'a [f32],
    out: *mut f32,
    sums: &'a mut [f32],
}

impl Task for Scaled<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let width = self.gamma.len();
        let rows = self
            .branch
            .chunks_exact(width)
            .zip(self.y.chunks_exact(width));
        for (row, (branch, y)) in rows.enumerate() {
            let out = self.out.add(row * width);
            for i in 0..width {
                *out.add(i) = y[i] * self.gamma[i];
                self.sums[i] += y[i] * branch[i];
            }
        }
    }
}

/// The sum of all rows, as for the gradient of a bias.
///
/// # Panics
///
/// When `x` is not a number of rows of that width.
pub fn sum_rows(x: &[f32], width: usize) -> Vec<f32> {
    assert!(width > 0 && x.len().is_multiple_of(width), "rows of a sum");
    let chunk = ROWS * width;
    let chunks = x.len().div_ceil(chunk).max(1);
    let mut sums = vec![0.0; chunks * width];
    let partial = Shared(sums.as_mut_ptr());
    for_each(chunks, |i| {
        // SAFETY: each piece is another part of the sums.
        let sums = unsafe { std::slice::from_raw_parts_mut(partial.get().add(i * width), width) };
        let rows = &x[x.len().min(i * chunk)..x.len().min((i + 1) * chunk)];
        run(Level::best(), Sums(rows, sums));
    });
    let (total, others) = sums.split_at_mut(width);
    for other in others.chunks_exact(width) {
        total.iter_mut().zip(other).for_each(|(a, b)| *a += b);
    }
    sums.truncate(width);
    sums
}

struct Sums<'a>(&'a [f32], &'a mut [f32]);

impl Task for Sums<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for row in self.0.chunks_exact(self.1.len()) {
            for (sum, x) in self.1.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
}
