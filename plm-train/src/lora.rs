use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use plm::{Model, Weights};
use plm_linear::{Adapter, Weight};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use regex::Regex;

use crate::Error;

/// The linear layers of the decoder, as PEFT names modules.
const DECODER_LAYERS: &str =
    r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)";

/// Which linear layers get an adapter. Names are those of a checkpoint's tensors without
/// `.weight`, such as `model.language_model.layers.0.mlp.up_proj`.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq)]
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

    /// Adds new adapters to a model: `A` uniform within `1/√d_input`, `B` zero, so that the model
    /// answers as before.
    ///
    /// With a folder, the adapters are those that were saved there.
    pub(crate) fn attach(
        &self,
        model: &mut Model,
        seed: u64,
        saved: Option<&Path>,
    ) -> Result<(), Error> {
        self.check()?;
        let saved = saved.map(SavedAdapter::open).transpose()?;
        let matcher = self.target_modules.matcher()?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut found = false;
        for (name, linear) in model.linears() {
            if !matcher.is_match(name.strip_suffix(".weight").unwrap_or(&name)) {
                continue;
            }
            found = true;
            let device = linear.weight.device();
            let mut adapter = self.adapter(&linear.weight, &device, &mut rng);
            if let Some(saved) = &saved {
                adapter = saved.adapter(&name, &adapter, &device)?;
            }
            linear.adapters.push(adapter);
        }
        if found {
            return Ok(());
        }
        Err(Error::Config {
            what: "target_modules name no linear layer of the model".into(),
        })
    }

    fn adapter(&self, weight: &Weight, device: &Device, rng: &mut ChaCha8Rng) -> Adapter {
        let [d_output, d_input] = weight.dims();
        let bound = 1.0 / (d_input as f32).sqrt();
        let a: Vec<f32> = (0..self.rank * d_input)
            .map(|_| rng.random_range(-bound..=bound))
            .collect();
        let a = Tensor::from_data(TensorData::new(a, [self.rank, d_input]), device);
        let b = Tensor::zeros([d_output, self.rank], device);
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

/// The tensors of an adapter that a run saved.
struct SavedAdapter(Weights);

impl SavedAdapter {
    fn open(dir: &Path) -> Result<Self, Error> {
        Ok(Self(Weights::open_adapter(dir)?))
    }

    /// The numbers of one layer, in place of a new adapter's.
    fn adapter(&self, name: &str, new: &Adapter, device: &Device) -> Result<Adapter, Error> {
        let module = name.strip_suffix(".weight").unwrap_or(name);
        let read = |part| {
            let name = format!("base_model.model.{module}.{part}");
            self.0.read(&name, DType::F32)
        };
        let a = Tensor::from_data(read("lora_A.weight")?, device);
        let b = Tensor::from_data(read("lora_B.weight")?, device);
        let adapter = Adapter::new(a, b, new.scale()).with_dropout(new.dropout.prob);
        Ok(match new.magnitude {
            Some(_) => {
                let magnitude = read("lora_magnitude_vector")?;
                adapter.with_magnitude(Tensor::from_data(magnitude, device))
            }
            None => adapter,
        })
    }
}
