use plm_llm::{BeamConfig, EarlyStopping, Penalties, Sampling};

use crate::Error;

/// New tokens where the caller names no number, as in Meta's own code.
pub const DEFAULT_MAX_NEW_TOKENS: usize = 256;

/// How an answer is generated.
///
/// The default is the reference's: greedy, one beam, no penalties.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoding {
    /// Most tokens that an answer may have.
    pub max_new_tokens: usize,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// Changes to the logits that depend on the tokens so far.
    pub penalties: Penalties,
    /// Seed of random sampling; the same seed gives the same answer.
    pub seed: u64,
    /// Token ids that end the answer, besides the checkpoint's own.
    pub stop_ids: Vec<u32>,
    /// Texts that end the answer; the answer's text stops before them.
    pub stop_strings: Vec<String>,
    /// Beams of a beam search; 1 searches none.
    pub num_beams: usize,
    /// Exponent of the length by which a beam's score is divided.
    pub length_penalty: f32,
    /// When a beam search may stop early.
    pub early_stopping: EarlyStopping,
}

impl Default for Decoding {
    fn default() -> Self {
        Self {
            max_new_tokens: DEFAULT_MAX_NEW_TOKENS,
            sampling: Sampling::Greedy,
            penalties: Penalties::default(),
            seed: 0,
            stop_ids: Vec::new(),
            stop_strings: Vec::new(),
            num_beams: 1,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::default(),
        }
    }
}

impl Decoding {
    /// Checks the settings against each other.
    ///
    /// # Errors
    ///
    /// [`Error::Decoding`] with the first rule that is broken; the sampler's own error when one of
    /// its settings is out of range.
    pub fn check(&self) -> Result<(), Error> {
        let fail = |what: &str| Err(Error::Decoding { what: what.into() });
        if self.max_new_tokens == 0 {
            return fail("max_new_tokens is 0; it must be at least 1");
        }
        if self.num_beams > 1 && self.sampling != Sampling::Greedy {
            return fail(
                "num_beams is above 1, which searches; it cannot be combined with temperature, top-k, top-p or min-p",
            );
        }
        if self.stop_strings.iter().any(String::is_empty) {
            return fail("a stop string is empty; it would end every answer at once");
        }
        self.penalties.check()?;
        self.beams(self.max_new_tokens, 0).check()?;
        if let Sampling::Random(random) = &self.sampling {
            random.check()?;
        }
        Ok(())
    }
}

impl Decoding {
    /// The settings of a beam search for so many tokens and stop ids.
    pub(crate) fn beams(&self, max_new_tokens: usize, num_stop_ids: usize) -> BeamConfig {
        BeamConfig {
            num_beams: self.num_beams,
            length_penalty: self.length_penalty,
            early_stopping: self.early_stopping,
            max_new_tokens,
            num_stop_ids,
        }
    }
}

#[cfg(test)]
mod tests {
    use plm_llm::RandomSampling;

    use super::*;

    #[test]
    fn contradictions_are_named() {
        let error = |decoding: Decoding| decoding.check().unwrap_err().to_string();
        let beams = Decoding {
            num_beams: 2,
            sampling: Sampling::Random(RandomSampling::default()),
            ..Default::default()
        };
        assert!(error(beams).contains("num_beams is above 1"));
        let empty = Decoding {
            stop_strings: vec![String::new()],
            ..Default::default()
        };
        assert!(error(empty).contains("stop string is empty"));
        assert!(Decoding::default().check().is_ok());
    }
}
