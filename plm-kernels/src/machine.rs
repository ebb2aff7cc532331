//! What a machine can do at most: the limits that the kernels are measured against. Each is the median of
//! several times, as what is held against it should be.

use std::hint::black_box;
use std::time::Instant;

use half::bf16;

use crate::lanes::{Lanes, Level, Task, run};
use crate::matrix::{Matrix, Weights};
use crate::product::{Product, products};
use crate::threads::for_each;

/// Bytes that are read to measure the bandwidth: more than any cache of a core holds, and read
/// often enough that what a large shared cache keeps is known to be an exception.
const READ_BYTES: usize = 1 << 30;

/// Bytes that a thread reads at a time.
const PIECE_BYTES: usize = 4 << 20;

/// Bytes a second that all threads together read from memory, the median of `repeat` times.
pub fn read_bandwidth(repeat: usize) -> f64 {
    let numbers = vec![1.0f32; READ_BYTES / size_of::<f32>()];
    let piece = PIECE_BYTES / size_of::<f32>();
    let seconds = median_seconds(repeat, || {
        for_each(numbers.len() / piece, |i| {
            let part = &numbers[i * piece..][..piece];
            black_box(run(Level::best(), Sum(part)));
        });
    });
    READ_BYTES as f64 / seconds
}

struct Sum<'a>(&'a [f32]);

impl Task for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> f32 {
        let mut sums = [L::splat(0.0); 8];
        let mut i = 0;
        while i + 8 * L::N <= self.0.len() {
            for u in 0..8 {
                let x = L::load(self.0.as_ptr().add(i + u * L::N));
                sums[u] = L::add(sums[u], x);
            }
            i += 8 * L::N;
        }
        let [a, b, c, d, e, f, g, h] = sums;
        let (a, b) = (
            L::add(L::add(a, b), L::add(c, d)),
            L::add(L::add(e, f), L::add(g, h)),
        );
        L::sum(L::add(a, b))
    }
}

/// Multiply-add operations a second, two each, that all threads together do in registers, the
/// median of `repeat` times. No product of matrices can be faster on vectors of f32.
pub fn arithmetic_rate(repeat: usize) -> f64 {
    const STEPS: usize = 20_000_000;
    let threads = rayon::current_num_threads();
    let lanes = Level::best().lanes();
    let seconds = median_seconds(repeat, || {
        for_each(threads, |_| {
            black_box(run(Level::best(), MultiplyAdd(STEPS)));
        });
    });
    (2 * threads * STEPS * SUMS * lanes) as f64 / seconds
}

/// Sums that do not wait for each other.
const SUMS: usize = 12;

struct MultiplyAdd(usize);

impl Task for MultiplyAdd {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> f32 {
        let (a, b) = (L::splat(black_box(0.999)), L::splat(black_box(0.001)));
        let mut sums = [L::splat(1.0); SUMS];
        for _ in 0..self.0 {
            for sum in &mut sums {
                *sum = L::fma(*sum, a, b);
            }
        }
        let mut total = sums[0];
        for sum in &sums[1..] {
            total = L::add(total, *sum);
        }
        L::sum(total)
    }
}

/// Operations a second of a large product with weights in bf16, the median of `repeat` times.
pub fn matrix_rate(repeat: usize) -> f64 {
    const SIZE: usize = 2048;
    let x = vec![0.5; SIZE * SIZE];
    let weights = vec![bf16::from_f32(0.5); SIZE * SIZE];
    let matrix = Matrix::new(SIZE, SIZE, Weights::Bf16(&weights));
    let mut y = vec![0.0; SIZE * SIZE];
    let seconds = median_seconds(repeat, || {
        products(&x, SIZE, &mut [Product::new(matrix, &mut y)]);
    });
    2.0 * (SIZE as f64).powi(3) / seconds
}

/// The median seconds of several times that `work` is done, after one that does not count.
pub fn median_seconds(repeat: usize, mut work: impl FnMut()) -> f64 {
    work();
    let times = (0..repeat.max(1)).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_product_is_faster_than_the_arithmetic() {
        // Twice, and several times, for a machine that does other things meanwhile; a unit for matrices is
        // another thing.
        let most = if Level::best().has_tiles() { 40.0 } else { 2.0 };
        let is_within = |_| {
            let rate = arithmetic_rate(2);
            assert!(rate.is_finite() && rate > 1e8);
            matrix_rate(1) < most * rate
        };
        assert!((0..5).any(is_within));
    }
}
