//! The step of AdamW.

use crate::lanes::{Lanes, Level, Task, run};
use crate::threads::{Shared, for_each};

/// Numbers that a thread takes at a time.
const PIECE: usize = 16 << 10;

/// A step of AdamW (Loshchilov and Hutter, 2019).
#[derive(Debug, Clone, Copy)]
pub struct AdamW {
    /// The learning rate.
    pub learning_rate: f32,
    /// Decay rates of the moments.
    pub betas: [f32; 2],
    /// The least denominator.
    pub epsilon: f32,
    /// Decay of the weights, which the learning rate multiplies.
    pub weight_decay: f32,
    /// Steps with this one.
    pub time: i32,
}

impl AdamW {
    /// Moves weights along a gradient, and the moments with them. What comes out does not depend on
    /// the number of threads.
    ///
    /// # Panics
    ///
    /// When the four are not of one length.
    pub fn step(&self, weights: &mut [f32], gradient: &[f32], moments: [&mut [f32]; 2]) {
        let len = weights.len();
        assert!(gradient.len() == len && moments.iter().all(|m| m.len() == len));
        let weights = Shared(weights.as_mut_ptr());
        let moments = moments.map(|moment| Shared(moment.as_mut_ptr()));
        for_each(len.div_ceil(PIECE), |i| {
            let start = i * PIECE;
            let gradient = &gradient[start..len.min(start + PIECE)];
            // SAFETY: each piece is another part of all.
            let part = |shared: Shared<f32>| unsafe {
                std::slice::from_raw_parts_mut(shared.get().add(start), gradient.len())
            };
            let piece = Piece {
                step: self,
                weights: part(weights),
                gradient,
                moments: moments.map(part),
            };
            run(Level::best(), piece);
        });
    }
}

struct Piece<'a> {
    step: &'a AdamW,
    weights: &'a mut [f32],
    gradient: &'a [f32],
    moments: [&'a mut [f32]; 2],
}

impl Task for Piece<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let AdamW {
            learning_rate,
            betas: [beta_1, beta_2],
            epsilon,
            weight_decay,
            time,
        } = *self.step;
        let corrections = [
            1.0 / (1.0 - beta_1.powi(time)),
            1.0 / (1.0 - beta_2.powi(time)),
        ];
        let kept = 1.0 - learning_rate * weight_decay;
        let [first, second] = self.moments;
        let numbers = self.weights.iter_mut().zip(self.gradient);
        for ((w, &g), (m, v)) in numbers.zip(first.iter_mut().zip(second.iter_mut())) {
            *m = *m * beta_1 + g * (1.0 - beta_1);
            *v = *v * beta_2 + g * g * (1.0 - beta_2);
            let denominator = (*v * corrections[1]).sqrt() + epsilon;
            *w = *w * kept - learning_rate * (*m * corrections[0] / denominator);
        }
    }
}

/// The sum of all squares, in f64.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    struct Squares<'a>(&'a [f32]);
    impl Task for Squares<'_> {
        type Output = f32;
        #[inline(always)]
        unsafe fn run<L: Lanes>(self) -> f32 {
            let whole = self.0.len() / L::N * L::N;
            let mut sum = L::splat(0.0);
            for x in self.0[..whole].chunks_exact(L::N) {
                let x = L::load(x.as_ptr());
                sum = L::fma(x, x, sum);
            }
            self.0[whole..]
                .iter()
                .fold(L::sum(sum), |sum, x| sum + x * x)
        }
    }
    let pieces = x
        .chunks(4096)
        .map(|x| f64::from(run(Level::best(), Squares(x))));
    pieces.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_those_of_the_paper() {
        let step = |time| AdamW {
            learning_rate: 0.01,
            betas: [0.9, 0.99],
            epsilon: 1e-6,
            weight_decay: 0.1,
            time,
        };
        let len = 40_001;
        let gradient: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut weights: Vec<f32> = (0..len).map(|i| (i as f32 * 0.11).cos()).collect();
        let before = weights.clone();
        let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
        for time in 1..=3 {
            step(time).step(&mut weights, &gradient, [&mut m, &mut v]);
        }
        for i in (0..len).step_by(501) {
            let (g, mut w) = (f64::from(gradient[i]), f64::from(before[i]));
            let (mut m, mut v) = (0.0, 0.0);
            for time in 1..=3 {
                m = 0.9 * m + 0.1 * g;
                v = 0.99 * v + 0.01 * g * g;
                let (m, v) = (
                    m / (1.0 - 0.9f64.powi(time)),
                    v / (1.0 - 0.99f64.powi(time)),
                );
                w = w * (1.0 - 0.01 * 0.1) - 0.01 * m / (v.sqrt() + 1e-6);
            }
            assert!((f64::from(weights[i]) - w).abs() < 2e-5, "{i}");
        }
        let squares: f64 = gradient.iter().map(|&g| f64::from(g).powi(2)).sum();
        assert!((sum_of_squares(&gradient) - squares).abs() < 1e-3 * squares);
    }
}
