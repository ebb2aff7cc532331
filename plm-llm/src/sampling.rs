use std::collections::HashSet;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Error;

/// How the next token is chosen from the logits.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Sampling {
    /// The most likely token; the lowest id among equals.
    #[default]
    Greedy,
    /// A token drawn from the distribution that the settings leave.
    Random(RandomSampling),
}

/// Settings of a random draw, applied in this order: temperature, top-k, top-p, min-p.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomSampling {
    /// Divides the logits; above 0.
    pub temperature: f32,
    /// Keeps the `k` most likely tokens, and those as likely as the last of them.
    pub top_k: Option<usize>,
    /// Keeps the most likely tokens until their probability reaches `p`, in 0..=1.
    pub top_p: Option<f32>,
    /// Keeps tokens at least `p` times as likely as the most likely one, in 0..=1.
    pub min_p: Option<f32>,
}

impl Default for RandomSampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: None,
            min_p: None,
        }
    }
}

impl RandomSampling {
    /// Checks the settings against their ranges.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSampling`] with the first setting that is out of range.
    pub fn check(&self) -> Result<(), Error> {
        let fail = |setting, value: f32, rule| {
            Err(Error::InvalidSampling {
                setting,
                value: f64::from(value),
                rule,
            })
        };
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return fail(
                "temperature",
                self.temperature,
                "it must be above 0 (greedy decoding takes none)",
            );
        }
        if self.top_k == Some(0) {
            return fail("top_k", 0.0, "it must be at least 1");
        }
        for (setting, value) in [("top_p", self.top_p), ("min_p", self.min_p)] {
            if let Some(value) = value
                && !(0.0..=1.0).contains(&value)
            {
                return fail(setting, value, "it must lie in 0..=1");
            }
        }
        Ok(())
    }

    /// Probability of each token after all settings; tokens that are cut have 0.
    ///
    /// They are no numbers where no token is left, or where the logits are none.
    pub fn probabilities(&self, logits: &[f32]) -> Vec<f32> {
        // Taken from the greatest logit first, a tiny temperature cannot overflow.
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let scaled = logits.iter().map(|x| (x - max) / self.temperature);
        let mut scores: Vec<f32> = scaled.collect();
        if let Some(k) = self.top_k {
            keep_top_k(&mut scores, k);
        }
        if let Some(p) = self.top_p {
            keep_top_p(&mut scores, p);
        }
        if let Some(p) = self.min_p {
            let probabilities = softmax(&scores);
            let least = p * probabilities.iter().copied().fold(0.0, f32::max);
            for (score, probability) in scores.iter_mut().zip(probabilities) {
                if probability < least {
                    *score = f32::NEG_INFINITY;
                }
            }
        }
        softmax(&scores)
    }
}

/// Changes to the logits that depend on the tokens so far, prompt included. They come before
/// any [`Sampling`], greedy too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Penalties {
    /// Divides positive and multiplies negative logits of tokens that occurred; 1 changes nothing.
    pub repetition: f32,
    /// Forbids a token that would repeat an n-gram of this size; 0 forbids nothing.
    pub no_repeat_ngram: usize,
}

impl Default for Penalties {
    fn default() -> Self {
        Self {
            repetition: 1.0,
            no_repeat_ngram: 0,
        }
    }
}

impl Penalties {
    /// Checks the settings against their ranges.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSampling`] when the repetition penalty is not above 0.
    pub fn check(&self) -> Result<(), Error> {
        if !(self.repetition.is_finite() && self.repetition > 0.0) {
            return Err(Error::InvalidSampling {
                setting: "repetition_penalty",
                value: f64::from(self.repetition),
                rule: "it must be above 0 (1 changes nothing)",
            });
        }
        Ok(())
    }

    /// Changes the logits (or log-probabilities) of the token that follows `previous`.
    pub fn apply(&self, logits: &mut [f32], previous: &[u32]) {
        if self.repetition != 1.0 {
            let seen: HashSet<u32> = previous.iter().copied().collect();
            for id in seen {
                if let Some(logit) = logits.get_mut(id as usize) {
                    if *logit < 0.0 {
                        *logit *= self.repetition;
                    } else {
                        *logit /= self.repetition;
                    }
                }
            }
        }
        let n = self.no_repeat_ngram;
        if n > 0 && previous.len() + 1 >= n {
            let prefix = &previous[previous.len() + 1 - n..];
            for window in previous.windows(n) {
                if window[..n - 1] == *prefix
                    && let Some(logit) = logits.get_mut(window[n - 1] as usize)
                {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }
}

/// Chooses token after token, with penalties, sampling and a random state of its own.
#[derive(Debug, Clone)]
pub struct Sampler {
    penalties: Penalties,
    sampling: Sampling,
    rng: ChaCha8Rng,
}

impl Sampler {
    /// A sampler whose draws follow from `seed`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSampling`] when a setting is out of range.
    pub fn new(penalties: Penalties, sampling: Sampling, seed: u64) -> Result<Self, Error> {
        penalties.check()?;
        if let Sampling::Random(random) = &sampling {
            random.check()?;
        }
        Ok(Self {
            penalties,
            sampling,
            rng: ChaCha8Rng::seed_from_u64(seed),
        })
    }

    /// Whether it takes the most likely token whatever came before, so that only the place of the greatest
    /// logit need be known.
    pub fn takes_greatest(&self) -> bool {
        self.sampling == Sampling::Greedy && self.penalties == Penalties::default()
    }

    /// The token that follows `previous` (the prompt and what was generated), from its logits.
    ///
    /// # Errors
    ///
    /// [`Error::NotFinite`] when a logit is no number, or no token is left to choose.
    pub fn next(&mut self, mut logits: Vec<f32>, previous: &[u32]) -> Result<u32, Error> {
        check_finite(&logits)?;
        self.penalties.apply(&mut logits, previous);
        match &self.sampling {
            Sampling::Greedy => {
                let best = argmax(&logits);
                match logits.get(best as usize) {
                    Some(logit) if *logit > f32::NEG_INFINITY => Ok(best),
                    _ => Err(Error::NotFinite),
                }
            }
            Sampling::Random(random) => {
                let probabilities = random.probabilities(&logits);
                let sum: f32 = probabilities.iter().sum();
                if !(sum.is_finite() && sum > 0.0) {
                    return Err(Error::NotFinite);
                }
                let mut left = self.rng.random::<f32>() * sum;
                let mut last = 0;
                for (id, &probability) in probabilities.iter().enumerate() {
                    if probability > 0.0 {
                        last = id;
                        if left < probability {
                            break;
                        }
                        left -= probability;
                    }
                }
                Ok(last as u32)
            }
        }
    }
}

/// Log-probabilities of logits.
pub fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from((x - max).exp())).sum();
    let log_sum = sum.ln() as f32;
    logits.iter().map(|x| x - max - log_sum).collect()
}

pub(crate) fn check_finite(logits: &[f32]) -> Result<(), Error> {
    if logits.iter().any(|x| x.is_nan() || *x == f32::INFINITY) {
        return Err(Error::NotFinite);
    }
    Ok(())
}

/// The id of the greatest logit, the lowest among equals; those that are no number are passed over, and
/// where there is no other, or none at all, it is 0.
pub fn argmax(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            best = (id, logit);
        }
    }
    best.0 as u32
}

fn softmax(scores: &[f32]) -> Vec<f32> {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exps: Vec<f32> = scores.iter().map(|x| (x - max).exp()).collect();
    let sum = exps.iter().map(|&x| f64::from(x)).sum::<f64>() as f32;
    exps.into_iter().map(|x| x / sum).collect()
}

fn keep_top_k(scores: &mut [f32], k: usize) {
    if k >= scores.len() {
        return;
    }
    let mut sorted = scores.to_vec();
    let kth = k.saturating_sub(1);
    let (_, kth, _) = sorted.select_nth_unstable_by(kth, |a, b| b.total_cmp(a));
    let least = *kth;
    for score in scores {
        if *score < least {
            *score = f32::NEG_INFINITY;
        }
    }
}

fn keep_top_p(scores: &mut [f32], p: f32) {
    if p >= 1.0 || scores.is_empty() {
        return;
    }
    let probabilities = softmax(scores);
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    // From the least likely upwards, all but the last may go while at most `1 - p` has gone.
    let mut gone = 0.0;
    for &id in &order[..order.len() - 1] {
        gone += probabilities[id];
        if gone > 1.0 - p {
            break;
        }
        scores[id] = f32::NEG_INFINITY;
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};
    use plm_linear::greatest;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        let sampling = |random| Sampler::new(Penalties::default(), Sampling::Random(random), 0);
        let random = RandomSampling {
            temperature: 0.0,
            ..Default::default()
        };
        assert_eq!(
            sampling(random).unwrap_err().to_string(),
            "temperature is 0; it must be above 0 (greedy decoding takes none)"
        );
        let random = RandomSampling {
            top_p: Some(1.5),
            ..Default::default()
        };
        assert_eq!(
            sampling(random).unwrap_err().to_string(),
            "top_p is 1.5; it must lie in 0..=1"
        );
    }

    #[test]
    fn the_greatest_and_the_wrong_are_found_wherever_they_are() {
        for len in [1, 63, 64, 65, 200] {
            for at in 0..len {
                let mut logits: Vec<f32> = (0..len).map(|i| (i % 7) as f32 - 20.0).collect();
                logits[at] = -1.0;
                logits[len - 1] = -1.0;
                assert_eq!(argmax(&logits), at as u32, "{at} of {len}");
                assert!(check_finite(&logits).is_ok());
                for wrong in [f32::NAN, f32::INFINITY] {
                    logits[at] = wrong;
                    assert!(check_finite(&logits).is_err(), "{wrong} at {at} of {len}");
                }
            }
        }
        assert_eq!(argmax(&[]), 0);
        assert_eq!(argmax(&[f32::NEG_INFINITY; 3]), 0);
        assert_eq!(argmax(&[f32::NAN, -5.0, f32::NAN]), 1);
        assert!(check_finite(&[f32::NEG_INFINITY]).is_ok());
    }

    #[test]
    fn repetition_moves_seen_tokens_towards_unlikely() {
        let penalties = Penalties {
            repetition: 2.0,
            no_repeat_ngram: 0,
        };
        let mut logits = vec![2.0, -2.0, 3.0];
        penalties.apply(&mut logits, &[0, 1, 1]);
        assert_eq!(logits, [1.0, -4.0, 3.0]);
    }

    #[test]
    fn repeated_ngrams_are_forbidden() {
        let penalties = Penalties {
            repetition: 1.0,
            no_repeat_ngram: 2,
        };
        let mut logits = vec![0.0; 4];
        penalties.apply(&mut logits, &[1, 2, 3, 1]);
        assert_eq!(logits, [0.0, 0.0, f32::NEG_INFINITY, 0.0]);
    }

    #[test]
    fn a_tiny_temperature_is_greedy_and_not_nonsense() {
        let random = RandomSampling {
            temperature: 1e-38,
            ..Default::default()
        };
        let mut sampler = Sampler::new(Penalties::default(), Sampling::Random(random), 0).unwrap();
        assert_eq!(sampler.next(vec![1.0, 30.0, 2.0], &[]), Ok(1));
    }

    #[test]
    fn logits_that_leave_no_token_are_an_error() {
        let none = vec![f32::NEG_INFINITY; 3];
        for sampling in [Sampling::Greedy, Sampling::Random(Default::default())] {
            let mut sampler = Sampler::new(Penalties::default(), sampling, 0).unwrap();
            assert_eq!(sampler.next(none.clone(), &[]), Err(Error::NotFinite));
            assert_eq!(sampler.next(vec![], &[]), Err(Error::NotFinite));
        }
    }

    #[test]
    fn logits_that_are_not_numbers_are_an_error() {
        let mut sampler = Sampler::new(Penalties::default(), Sampling::Greedy, 0).unwrap();
        assert_eq!(
            sampler.next(vec![0.0, f32::NAN], &[]),
            Err(Error::NotFinite)
        );
    }

    proptest! {
        #[test]
        fn the_greatest_alone_is_what_a_sampler_takes_without_settings(
            logits in prop::collection::vec(-3i8..3, 1..40), odd in 0usize..200,
        ) {
            let number = |x: i8| f32::from(x) / f32::from(x != -3);
            let mut logits: Vec<f32> = logits.into_iter().map(number).collect();
            let odds = [f32::NAN, f32::INFINITY, -0.0];
            if let (Some(&wrong), Some(logit)) = (odds.get(odd % 4), logits.get_mut(odd / 4)) {
                *logit = wrong;
            }
            let mut sampler = Sampler::new(Penalties::default(), Sampling::Greedy, 0).unwrap();
            prop_assert!(sampler.takes_greatest());
            let row = TensorData::new(logits.clone(), [1, logits.len()]);
            let found = greatest(Tensor::<2>::from_data(row, &Device::flex()));
            prop_assert_eq!(found.unwrap()[0], sampler.next(logits, &[]).ok());
        }

        #[test]
        fn draws_are_repeatable_and_allowed(
            logits in prop::collection::vec(-5.0f32..5.0, 1..60),
            temperature in 0.2f32..2.0, k in 1usize..70, p in 0.0f32..=1.0, min_p in 0.0f32..=1.0,
            seed in any::<u64>(),
        ) {
            let random = RandomSampling {
                temperature, top_k: Some(k), top_p: Some(p), min_p: Some(min_p),
            };
            let probabilities = random.probabilities(&logits);
            let sum: f32 = probabilities.iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-4);
            let draw = || Sampler::new(Penalties::default(), Sampling::Random(random), seed)
                .unwrap().next(logits.clone(), &[]).unwrap();
            prop_assert_eq!(draw(), draw());
            prop_assert!(probabilities[draw() as usize] > 0.0);
        }

        #[test]
        fn one_candidate_is_greedy(logits in prop::collection::vec(-5.0f32..5.0, 1..60)) {
            let greedy = Sampler::new(Penalties::default(), Sampling::Greedy, 0)
                .unwrap().next(logits.clone(), &[]).unwrap();
            let random = RandomSampling { top_k: Some(1), ..Default::default() };
            let top = Sampler::new(Penalties::default(), Sampling::Random(random), 0)
                .unwrap().next(logits.clone(), &[]).unwrap();
            prop_assert_eq!(logits[greedy as usize], logits[top as usize]);
        }
    }
}
