use std::collections::BTreeSet;
use std::fmt;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor};
use plm_llm::DecoderConfig;

use super::Weights;
use crate::{Error, Model, Progress, ProgressFn};

/// What does not fit between a checkpoint's tensors and the model that its config describes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WeightsError {
    /// Tensors that the model needs and the files lack.
    pub missing: Vec<String>,
    /// Tensors in the files that the model has no place for.
    pub unused: Vec<String>,
    /// Tensors of another shape: name, shape in the file, shape in the model.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Tensors of a precision that is not f32, f16 or bf16: name and precision.
    pub unsupported: Vec<(String, String)>,
}

impl WeightsError {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for WeightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            parts.push(format!("missing {}", self.missing.join(", ")));
        }
        if !self.unused.is_empty() {
            parts.push(format!("not part of the model {}", self.unused.join(", ")));
        }
        let shapes: Vec<String> = self
            .misshapen
            .iter()
            .map(|(name, found, expected)| format!("{name} is {found:?}, not {expected:?}"))
            .collect();
        if !shapes.is_empty() {
            parts.push(format!("misshapen {}", shapes.join(", ")));
        }
        let dtypes: Vec<String> = self
            .unsupported
            .iter()
            .map(|(name, dtype)| format!("{name} ({dtype})"))
            .collect();
        if !dtypes.is_empty() {
            parts.push(format!("not f32, f16 or bf16 {}", dtypes.join(", ")));
        }
        f.write_str(&parts.join("; "))
    }
}

/// Where a parameter's path begins in the model, and in the checkpoint. The first match counts.
const PREFIXES: [(&str, &str); 4] = [
    ("vision_tower.", "model.vision_tower.timm_model."),
    ("multi_modal_projector.", "model.multi_modal_projector."),
    ("language_model.lm_head.", "lm_head."),
    ("language_model.", "model.language_model."),
];

/// The embedding, and the output projection that may be tied to it.
pub(crate) const EMBEDDING: &str = "model.language_model.embed_tokens.weight";
const OUTPUT: &str = "lm_head.weight";

/// Follows the files where they hold an output projection although the config ties it to the
/// embedding, as the reference does: one that differs is used, one that is equal is passed over,
/// and one without an embedding beside it is the embedding.
pub(crate) fn settle_tying(text: &mut DecoderConfig, weights: &mut Weights) -> Result<(), Error> {
    if !text.tie_word_embeddings || weights.shape(OUTPUT).is_none() {
        return Ok(());
    }
    if weights.shape(EMBEDDING).is_none() {
        weights.rename(OUTPUT, EMBEDDING);
    } else if weights.are_equal(OUTPUT, EMBEDDING)? {
        weights.forget(OUTPUT);
    } else {
        text.tie_word_embeddings = false;
    }
    Ok(())
}

/// Tensors that converted checkpoints may carry and that follow from the config.
const DERIVED_SUFFIX: &str = "rotary_emb.inv_freq";

/// The checkpoint's name of the parameter at `path`.
fn checkpoint_name(path: &[String]) -> String {
    let path = path.join(".");
    for (ours, theirs) in PREFIXES {
        if let Some(rest) = path.strip_prefix(ours) {
            return format!("{theirs}{rest}");
        }
    }
    path
}

/// Names and shapes of the tensors that a model's checkpoint holds.
pub(crate) fn parameters(model: &Model) -> Vec<(String, Vec<usize>)> {
    #[derive(Default)]
    struct Collector {
        path: Vec<String>,
        found: Vec<(String, Vec<usize>)>,
    }
    impl ModuleVisitor for Collector {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let shape = param.lazy_shape().as_slice().to_vec();
            self.found.push((checkpoint_name(&self.path), shape));
        }
    }
    let mut collector = Collector::default();
    model.visit(&mut collector);
    collector.found
}

/// Bytes that a model's parameters take.
pub(crate) fn model_bytes(model: &Model) -> u64 {
    struct Counter(u64);
    impl ModuleVisitor for Counter {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            self.0 += (value.shape().num_elements() * value.dtype().size()) as u64;
        }
    }
    let mut counter = Counter(0);
    model.visit(&mut counter);
    counter.0
}

/// Puts a checkpoint's tensors into a model whose parameters are not drawn yet.
///
/// Matrices take the precision `dtype`, or keep the file's; everything smaller (norms, biases,
/// scales) and the patch and position embeddings become f32. Each tensor is read on its own, so
/// that the model never exists twice.
///
/// # Errors
///
/// [`Error::Weights`] that lists everything missing, unused, misshapen or of an unsupported
/// precision, before any tensor is read.
pub(crate) fn load_model(
    model: Model,
    weights: &Weights,
    dtype: Option<DType>,
    device: &Device,
    progress: Option<&ProgressFn>,
) -> Result<Model, Error> {
    check(&parameters(&model), weights)?;
    let mut loader = Loader {
        path: Vec::new(),
        weights,
        dtype,
        device,
        progress,
        bytes: 0,
        error: None,
    };
    let model = model.map(&mut loader);
    match loader.error {
        Some(error) => Err(error),
        None => Ok(model),
    }
}

/// Checks that the files hold a model's tensors and no others.
pub(crate) fn check(parameters: &[(String, Vec<usize>)], weights: &Weights) -> Result<(), Error> {
    let mut error = WeightsError::default();
    let mut unused: BTreeSet<&str> = weights.names().collect();
    for (name, shape) in parameters {
        unused.remove(name.as_str());
        match weights.shape(name) {
            None => error.missing.push(name.clone()),
            Some(found) if found != shape => {
                error
                    .misshapen
                    .push((name.clone(), found.to_vec(), shape.clone()));
            }
            Some(_) if weights.dtype(name).is_none() => {
                error
                    .unsupported
                    .push((name.clone(), weights.dtype_name(name)));
            }
            Some(_) => {}
        }
    }
    error.unused = unused
        .into_iter()
        .filter(|name| !name.ends_with(DERIVED_SUFFIX))
        .map(str::to_owned)
        .collect();
    if error.is_empty() {
        Ok(())
    } else {
        Err(Error::Weights(Box::new(error)))
    }
}

struct Loader<'a> {
    path: Vec<String>,
    weights: &'a Weights,
    dtype: Option<DType>,
    device: &'a Device,
    progress: Option<&'a ProgressFn>,
    bytes: u64,
    error: Option<Error>,
}

impl Loader<'_> {
    fn read<const D: usize>(&mut self) -> Result<Tensor<D>, Error> {
        let name = checkpoint_name(&self.path);
        let stored = self.weights.dtype(&name).unwrap_or(DType::F32);
        let dtype = match D {
            2 => self.dtype.unwrap_or(stored),
            _ => DType::F32,
        };
        let data = self.weights.read(&name, dtype)?;
        self.bytes += (data.shape().num_elements() * stored.size()) as u64;
        if let Some(progress) = self.progress {
            progress(Progress::Loading {
                bytes: self.bytes,
                total_bytes: self.weights.num_bytes(),
            });
        }
        Ok(Tensor::from_data(data, (self.device, dtype)))
    }
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.error.is_some() {
            return param;
        }
        match self.read() {
            Ok(tensor) => Param::initialized(param.id, tensor),
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}
