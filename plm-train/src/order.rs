//! In which order samples come: the same for the same seed, from any place on.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// An endless order of the samples of some files. A file is chosen by its weight, and gives its
/// samples in a new random order each time all have come.
pub(crate) struct Order {
    files: Vec<FileOrder>,
    /// The files' weights, summed up.
    bounds: Vec<f64>,
    choice: ChaCha8Rng,
    seed: u64,
}

struct FileOrder {
    order: Vec<u32>,
    next: usize,
    epoch: u64,
}

impl Order {
    /// An order of files with so many samples each, and weights.
    pub(crate) fn new(lens: &[usize], weights: &[f64], seed: u64) -> Self {
        let mut sum = 0.0;
        Self {
            files: lens
                .iter()
                .map(|&len| FileOrder {
                    order: (0..len as u32).collect(),
                    next: len,
                    epoch: 0,
                })
                .collect(),
            bounds: weights
                .iter()
                .map(|weight| {
                    sum += weight;
                    sum
                })
                .collect(),
            choice: ChaCha8Rng::seed_from_u64(seed),
            seed,
        }
    }

    /// File and sample that come next.
    pub(crate) fn next(&mut self) -> (usize, usize) {
        let total = self.bounds.last().copied().unwrap_or(0.0);
        let at = self.choice.random_range(0.0..total);
        let index = self.bounds.partition_point(|&bound| bound <= at);
        let index = index.min(self.files.len() - 1);
        let file = &mut self.files[index];
        if file.next == file.order.len() {
            // An order of its own for each file and time.
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(1 + ((index as u64) << 32) + file.epoch);
            file.order.sort_unstable();
            file.order.shuffle(&mut rng);
            file.next = 0;
            file.epoch += 1;
        }
        file.next += 1;
        (index, file.order[file.next - 1] as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_comes_once_a_round_and_rounds_differ() {
        let mut order = Order::new(&[50], &[1.0], 3);
        let mut rounds: Vec<Vec<usize>> = (0..3)
            .map(|_| (0..50).map(|_| order.next().1).collect())
            .collect();
        assert!(rounds[0] != rounds[1] && rounds[1] != rounds[2]);
        for round in &mut rounds {
            round.sort_unstable();
            assert_eq!(*round, (0..50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn files_come_by_their_weights() {
        let mut order = Order::new(&[10, 1000], &[3.0, 1.0], 5);
        let first = (0..4000).filter(|_| order.next().0 == 0).count();
        assert!((2800..3200).contains(&first), "{first}");
    }
}
