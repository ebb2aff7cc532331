//! Adapters in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use burn::tensor::{DType, Device, Tensor};
use plm_linear::{Adapter, Linear};
use regex::Regex;
use serde::Deserialize;

use crate::checkpoint::{LowRank, Weights, linears, read_file};
use crate::{Error, Model};

const CONFIG_FILE: &str = "adapter_config.json";
const ADAPTER_FILE: &str = "adapter_model.safetensors";

/// Before a module's name, in PEFT's names of tensors.
const PREFIX: &str = "base_model.model.";

/// A folder with an adapter in PEFT's layout (LoRA or DoRA), and how much of it is applied.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterSource {
    /// The folder, with `adapter_config.json` and `adapter_model.safetensors`.
    pub dir: PathBuf,
    /// What the adapter's own scale is multiplied by; 1 applies it as it was trained.
    pub scale: f64,
}

impl AdapterSource {
    /// An adapter as it was trained.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            scale: 1.0,
        }
    }
}

impl FromStr for AdapterSource {
    type Err = std::convert::Infallible;

    /// Reads `DIR`, or `DIR:SCALE` with a number after the last colon.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let scaled = text.rsplit_once(':').and_then(|(dir, scale)| {
            let scale: f64 = scale.parse().ok().filter(|scale: &f64| scale.is_finite())?;
            Some(Self {
                dir: dir.into(),
                scale,
            })
        });
        Ok(scaled.unwrap_or_else(|| Self::new(text)))
    }
}

/// What is read of `adapter_config.json`.
#[derive(Deserialize)]
struct RawConfig {
    peft_type: String,
    lora_alpha: f64,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
}

/// The scales of an adapter's modules.
struct Scales {
    raw: RawConfig,
    patterns: Vec<(Regex, f64)>,
    /// The adapter's weight, as its user wants it.
    wanted: f64,
}

impl Scales {
    fn read(source: &AdapterSource) -> Result<Self, Error> {
        let path = source.dir.join(CONFIG_FILE);
        let json = read_file(&path)?.ok_or_else(|| Error::MissingFile { path: path.clone() })?;
        let raw: RawConfig = serde_json::from_slice(&json).map_err(|source| Error::Json {
            path: path.clone(),
            source,
        })?;
        let refuse = |what| {
            Err(Error::Config {
                path: path.clone(),
                what,
            })
        };
        if raw.peft_type != "LORA" {
            return refuse(format!("peft_type `{}` is not LORA", raw.peft_type));
        }
        if raw.fan_in_fan_out {
            return refuse("fan_in_fan_out is for layers that this model does not have".into());
        }
        let mut patterns = Vec::new();
        for (pattern, &alpha) in &raw.alpha_pattern {
            // A pattern is to match a module's name from its beginning or from after a dot.
            match Regex::new(&format!(r"^(.*\.)?({pattern})$")) {
                Ok(regex) => patterns.push((regex, alpha)),
                Err(_) => return refuse(format!("alpha_pattern `{pattern}` is no pattern")),
            }
        }
        Ok(Self {
            raw,
            patterns,
            wanted: source.scale,
        })
    }

    /// What a module's `B·A` is multiplied by.
    fn of(&self, module: &str, rank: usize) -> f64 {
        let own = self
            .patterns
            .iter()
            .find(|(regex, _)| regex.is_match(module));
        let alpha = own.map_or(self.raw.lora_alpha, |(_, alpha)| *alpha);
        let rank = rank as f64;
        let rank = if self.raw.use_rslora {
            rank.sqrt()
        } else {
            rank
        };
        self.wanted * alpha / rank
    }
}

/// An adapter's tensors, by the names of the matrices that they are added to.
pub(crate) fn read_adapter(source: &AdapterSource) -> Result<BTreeMap<String, LowRank>, Error> {
    let scales = Scales::read(source)?;
    let path = source.dir.join(ADAPTER_FILE);
    let weights = Weights::open_file(&path)?;
    let error = |what| Error::WeightFile {
        path: path.clone(),
        what,
    };
    let mut modules: BTreeMap<&str, [Option<&str>; 3]> = BTreeMap::new();
    for name in weights.names() {
        let found = name.strip_prefix(PREFIX).and_then(|name| {
            let parts = [".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"];
            let name = name
                .strip_suffix(".weight")
                .filter(|name| name.ends_with(parts[2]))
                .unwrap_or(name);
            let part = parts.iter().position(|part| name.ends_with(part))?;
            Some((name.strip_suffix(parts[part])?, part))
        });
        let (module, part) = found.ok_or_else(|| {
            error(format!(
                "tensor `{name}` is no part of a LoRA of linear layers"
            ))
        })?;
        modules.entry(module).or_default()[part] = Some(name);
    }
    let mut adapter = BTreeMap::new();
    for (module, [a, b, magnitude]) in modules {
        let (Some(a), Some(b)) = (a, b) else {
            return Err(error(format!("`{module}` lacks lora_A or lora_B")));
        };
        if magnitude.is_some() != scales.raw.use_dora {
            return Err(error(format!(
                "`{module}` and use_dora of {CONFIG_FILE} disagree about a magnitude"
            )));
        }
        let read = |name: &str| {
            let shape = weights.shape(name).unwrap_or_default().to_vec();
            let values = weights.read(name, DType::F32)?.try_into_vec::<f32>();
            let values = values.map_err(|_| error(format!("`{name}` is not of floats")))?;
            Ok::<_, Error>((values, shape))
        };
        let ((a, a_shape), (b, b_shape)) = (read(a)?, read(b)?);
        let magnitude = magnitude.map(read).transpose()?;
        let (&[rank, d_input], &[d_output, b_rank]) = (&a_shape[..], &b_shape[..]) else {
            return Err(error(format!("`{module}` has no matrices")));
        };
        let lengths = magnitude.as_ref().map_or(d_output, |(v, _)| v.len());
        if rank != b_rank || rank == 0 || lengths != d_output {
            return Err(error(format!(
                "`{module}` has parts {a_shape:?} and {b_shape:?} with {lengths} lengths"
            )));
        }
        let part = LowRank {
            rank,
            d_input,
            d_output,
            a,
            b,
            magnitude: magnitude.map(|(values, _)| values),
            scale: scales.of(module, rank),
        };
        adapter.insert(format!("{module}.weight"), part);
    }
    Ok(adapter)
}

/// The error for a part of an adapter that does not fit the matrix `[d_output, d_input]` of its
/// name, or has none.
pub(crate) fn misfit(dir: &Path, name: &str, part: &LowRank, shape: Option<[usize; 2]>) -> Error {
    let what = match shape {
        None => format!("`{name}` is not a linear layer of the model"),
        Some(shape) => format!(
            "`{name}` is {shape:?} in the model, and [{}, {}] in the adapter",
            part.d_output, part.d_input
        ),
    };
    Error::WeightFile {
        path: dir.join(ADAPTER_FILE),
        what,
    }
}

/// Adds an adapter to a model's linear layers.
pub(crate) fn attach(
    model: &mut Model,
    source: &AdapterSource,
    device: &Device,
) -> Result<(), Error> {
    let mut linears: BTreeMap<String, &mut Linear> = linears(model).into_iter().collect();
    for (name, part) in read_adapter(source)? {
        let linear = linears.get_mut(&name);
        let shape = linear.as_ref().map(|linear| linear.weight.dims());
        let (Some(linear), true) = (linear, shape == Some([part.d_output, part.d_input])) else {
            return Err(misfit(&source.dir, &name, &part, shape));
        };
        let tensor = |values: Vec<f32>, shape: [usize; 2]| {
            Tensor::<1>::from_data(values.as_slice(), device).reshape(shape)
        };
        let a = tensor(part.a, [part.rank, part.d_input]);
        let b = tensor(part.b, [part.d_output, part.rank]);
        let mut adapter = Adapter::new(a, b, part.scale);
        if let Some(values) = part.magnitude {
            adapter = adapter.with_magnitude(Tensor::from_data(values.as_slice(), device));
        }
        linear.adapters.push(adapter.frozen(&linear.weight));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_follows_the_last_colon() {
        let parse = |text: &str| text.parse::<AdapterSource>().unwrap();
        assert_eq!(parse("a/b"), AdapterSource::new("a/b"));
        assert_eq!(parse(r"C:\a"), AdapterSource::new(r"C:\a"));
        assert_eq!(parse("a:b:inf"), AdapterSource::new("a:b:inf"));
        let half = AdapterSource {
            dir: "a:b".into(),
            scale: 0.5,
        };
        assert_eq!(parse("a:b:0.5"), half);
    }
}
