use burn::tensor::{Tensor, TensorData};
use plm::Model;
use plm_linear::{Adapter, Weight};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The linear layers of the decoder, as PEFT names modules.
const DECODER_LAYERS: &str =
    r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)";

/// Which linear layers get an adapter. Names are those of a checkpoint's tensors without
/// `.weight`, such as `model.language_model.layers.0.mlp.up_proj`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetModules {
    /// Those whose whole name matches a regular expression.
    Pattern(String),
    /// Those whose name is one of these or ends so after a dot, such as `q_proj`.
    Names(Vec<String>),
}

impl Default for TargetModules {
    /// All linear layers of the decoder.
    fn default() -> Self {
        Self::Pattern(DECODER_LAYERS.into())
    }
}

impl TargetModules {
    /// A test of names.
    fn matcher(&self) -> Result<Regex, Error> {
        let pattern = match self {
            Self::Pattern(pattern) => format!("^(?:{pattern})$"),
            Self::Names(names) => {
                let names: Vec<String> = names.iter().map(|name| regex::escape(name)).collect();
                format!(r"^(?:.*\.)?(?:{})$", names.join("|"))
            }
        };
        Regex::new(&pattern).map_err(|source| Error::Config {
            what: format!("target_modules: {source}"),
        })
    }
}

/// Low-rank adapters, as PEFT's `LoraConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// The rank, `r`.
    pub rank: usize,
    /// Adapters are scaled by `alpha / rank`.
    pub alpha: f64,
    /// Probability with which an adapter's input is dropped in training.
    pub dropout: f64,
    /// The layers that are adapted.
    pub target_modules: TargetModules,
    /// Whether the lengths of the weights' rows are learnt too (DoRA).
    pub use_dora: bool,
}

impl Default for LoraConfig {
    /// Rank and alpha 8 for all linear layers of the decoder, as PEFT.
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 8.0,
            dropout: 0.0,
            target_modules: TargetModules::default(),
            use_dora: false,
        }
    }
}

impl LoraConfig {
    fn check(&self) -> Result<(), Error> {
        let what = if self.rank == 0 {
            "rank must be at least 1"
        } else if !self.alpha.is_finite() || self.alpha <= 0.0 {
            "alpha must be above 0"
        } else if !(0.0..1.0).contains(&self.dropout) {
            "dropout must be at least 0 and below 1"
        } else {
            return Ok(());
        };
        Err(Error::Config { what: what.into() })
    }

    /// Gives a model adapters that can be trained: those that it has go on, and other layers get new
    /// ones, `A` uniform within `1/√d_input` and `B` zero, so that the model answers as before.
    pub(crate) fn attach(&self, model: &mut Model, seed: u64) -> Result<(), Error> {
        self.check()?;
        let matcher = self.target_modules.matcher()?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut found = false;
        for (name, linear) in model.linears() {
            let wanted = matcher.is_match(name.strip_suffix(".weight").unwrap_or(&name));
            found |= wanted;
            let adapter = match (wanted, linear.adapters.pop()) {
                (false, None) => continue,
                (true, None) => self.adapter(&linear.weight, &mut rng),
                (true, Some(adapter)) if linear.adapters.is_empty() && self.describes(&adapter) => {
                    adapter.trainable(self.dropout)
                }
                (_, Some(_)) => {
                    return Err(Error::Config {
                        what: format!("`{name}` has an adapter, which is another than `lora` says"),
                    });
                }
            };
            linear.adapters.push(adapter);
        }
        if found {
            return Ok(());
        }
        Err(Error::Config {
            what: "target_modules name no linear layer of the model".into(),
        })
    }

    /// Whether an adapter is one of these.
    fn describes(&self, adapter: &Adapter) -> bool {
        adapter.lora_a.dims()[0] == self.rank
            && adapter.magnitude.is_some() == self.use_dora
            && adapter.scale() == self.alpha / self.rank as f64
    }

    fn adapter(&self, weight: &Weight, rng: &mut ChaCha8Rng) -> Adapter {
        let ([d_output, d_input], device) = (weight.dims(), weight.device());
        let bound = 1.0 / (d_input as f32).sqrt();
        let a: Vec<f32> = (0..self.rank * d_input)
            .map(|_| rng.random_range(-bound..=bound))
            .collect();
        let a = Tensor::from_data(TensorData::new(a, [self.rank, d_input]), &device);
        let b = Tensor::zeros([d_output, self.rank], &device);
        let scale = self.alpha / self.rank as f64;
        let adapter = Adapter::new(a, b, scale).with_dropout(self.dropout);
        match self.use_dora {
            // As the adapter adds nothing yet, these are the lengths of the weight's own rows.
            true => {
                let magnitude = adapter.norms(weight);
                adapter.with_magnitude(magnitude)
            }
            false => adapter,
        }
    }
}
