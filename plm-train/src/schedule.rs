/// How the learning rate changes over a run.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Schedule {
    /// It stays.
    #[default]
    Constant,
    /// It falls in a line to a part of itself.
    Linear {
        /// The part, 0 to 1.
        min_ratio: f64,
    },
    /// It falls by half a cosine to a part of itself.
    Cosine {
        /// The part, 0 to 1.
        min_ratio: f64,
    },
}

impl Schedule {
    /// What the learning rate is multiplied by in `step`, counted from 0, of `steps`, the first
    /// `warmup` of which raise it in a line.
    pub fn factor(self, step: usize, warmup: usize, steps: usize) -> f64 {
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let span = steps.saturating_sub(warmup).max(1) as f64;
        let done = ((step - warmup) as f64 / span).min(1.0);
        match self {
            Self::Constant => 1.0,
            Self::Linear { min_ratio } => 1.0 - (1.0 - min_ratio) * done,
            Self::Cosine { min_ratio } => {
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
                min_ratio + (1.0 - min_ratio) * cosine
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_in_the_warm_up_and_falls_to_the_least() {
        let factors = |schedule: Schedule| [0, 1, 2, 6, 10, 99].map(|i| schedule.factor(i, 2, 10));
        assert_eq!(factors(Schedule::Constant), [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]);
        let linear = factors(Schedule::Linear { min_ratio: 0.5 });
        assert_eq!(linear, [0.5, 1.0, 1.0, 0.75, 0.5, 0.5]);
        let cosine = factors(Schedule::Cosine { min_ratio: 0.0 });
        for (found, expected) in cosine.into_iter().zip([0.5, 1.0, 1.0, 0.5, 0.0, 0.0]) {
            assert!((found - expected).abs() < 1e-12, "{cosine:?}");
        }
    }
}
