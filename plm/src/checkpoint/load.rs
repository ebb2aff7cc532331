use std::collections::BTreeSet;
use std::fmt;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use plm_linear::host::is_cpu;
use plm_linear::{Blocks, MatmulPrecision, Nf4, Weight, read_back};
use plm_llm::DecoderConfig;

use super::matrices::{
    Rounded, block_shapes, codes_name, linears, matrix_format, quantize as quantize_blocks,
    scales_name, stored_format,
};
use super::{Nf4Part, Weights, nf4};
use crate::device::{check_piece, held_dtype};
use crate::quantization::MatrixFormat;
use crate::{Error, Model, Progress, ProgressFn, Quantization};

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
pub(crate) const OUTPUT: &str = "lm_head.weight";

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

/// In the names of what no checkpoint of a model holds.
const ADAPTERS: &str = ".adapters.";

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

/// Whether a part of a model is but a variant of what holds it, which no checkpoint names.
fn is_enum(container: &str) -> bool {
    container.starts_with("Enum:")
}

/// Is shown the parameters of a [`Model`].
pub trait ParameterVisitor {
    /// Sees a float parameter. Its name is that of its tensor in a checkpoint; a part of an adapter
    /// is named after its layer, such as
    /// `model.language_model.layers.0.mlp.up_proj.adapters.0.lora_a`.
    fn visit<const D: usize>(&mut self, name: &str, parameter: &Param<Tensor<D>>);
}

/// Shows the float parameters of a model, in the order of its structure.
pub(crate) fn visit_parameters(model: &Model, visitor: &mut impl ParameterVisitor) {
    struct Named<'a, V> {
        path: Vec<String>,
        visitor: &'a mut V,
    }
    impl<V: ParameterVisitor> ModuleVisitor for Named<'_, V> {
        fn enter_module(&mut self, name: &str, container: &str) {
            if !is_enum(container) {
                self.path.push(name.to_owned());
            }
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            if !is_enum(container) {
                self.path.pop();
            }
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.visitor.visit(&checkpoint_name(&self.path), param);
        }
    }
    model.visit(&mut Named {
        path: Vec::new(),
        visitor,
    });
}

/// Names and shapes of the tensors that a model's checkpoint holds.
pub(crate) fn parameters(model: &Model) -> Vec<(String, Vec<usize>)> {
    struct Shapes(Vec<(String, Vec<usize>)>);
    impl ParameterVisitor for Shapes {
        fn visit<const D: usize>(&mut self, name: &str, parameter: &Param<Tensor<D>>) {
            if !name.contains(ADAPTERS) {
                let shape = parameter.lazy_shape().as_slice().to_vec();
                self.0.push((name.to_owned(), shape));
            }
        }
    }
    let mut shapes = Shapes(Vec::new());
    visit_parameters(model, &mut shapes);
    shapes.0
}

/// Bytes that a model's parameters take.
pub(crate) fn model_bytes(model: &Model) -> u64 {
    struct Counter(u64);
    impl ModuleVisitor for Counter {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            self.0 += (value.shape().num_elements() * value.dtype().size()) as u64;
        }
        fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
            let value = param.val();
            self.0 += (value.shape().num_elements() * value.dtype().size()) as u64;
        }
    }
    let mut counter = Counter(0);
    model.visit(&mut counter);
    counter.0
}

/// How a checkpoint's tensors come into a model.
pub(crate) struct Load<'a> {
    /// The precision of matrices, unless it is the file's, or the nearest that the device has.
    pub(crate) dtype: Option<DType>,
    /// How matrices are rounded, unless they are already.
    pub(crate) quantize: Option<Quantization>,
    /// How exactly matrices are multiplied.
    pub(crate) matmul_precision: MatmulPrecision,
    /// Whether tensors that stay as they are may be left in the files, mapped into memory.
    pub(crate) share: bool,
    pub(crate) device: &'a Device,
    pub(crate) progress: Option<&'a ProgressFn>,
}

/// Puts a checkpoint's tensors into a model whose parameters are not drawn yet.
///
/// Matrices take the precision or the block format that is asked for, or keep the file's;
/// everything smaller (norms, biases, scales) and the patch and position embeddings become f32.
/// Each tensor is read on its own, so that the model never exists twice.
///
/// # Errors
///
/// [`Error::Weights`] that lists everything missing, unused, misshapen or of an unsupported
/// precision, before any tensor is read; [`Error::Device`] that names a matrix for which the device has
/// no memory.
pub(crate) fn load_model(
    mut model: Model,
    weights: &Weights,
    load: &Load<'_>,
) -> Result<Model, Error> {
    check(&parameters(&model), weights)?;
    let mut loader = Loader {
        path: Vec::new(),
        weights,
        load,
        in_weight: false,
        bytes: 0,
        error: None,
    };
    let embedding = &mut model.language_model.embed_tokens.weight;
    *embedding = loader.held_matrix(EMBEDDING, embedding.dims())?;
    for (name, linear) in linears(&mut model) {
        linear.weight = loader.held_matrix(&name, linear.weight.dims())?;
        linear.precision = load.matmul_precision;
    }
    let model = model.map(&mut loader);
    match loader.error {
        Some(error) => Err(error),
        None => Ok(model),
    }
}

/// Checks that the files hold a model's tensors and no others. A matrix may be there rounded.
pub(crate) fn check(parameters: &[(String, Vec<usize>)], weights: &Weights) -> Result<(), Error> {
    let mut error = WeightsError::default();
    let mut unused: BTreeSet<&str> = weights.names().collect();
    for (name, shape) in parameters {
        if shape.len() == 2
            && let Some(format) = stored_format(weights, name)
        {
            let MatrixFormat::Blocks(format) = format else {
                nf4::check(weights, name, shape, &mut unused, &mut error);
                continue;
            };
            let names = [codes_name(name), scales_name(name)];
            for (name, shape) in names.into_iter().zip(block_shapes(shape, format)) {
                unused.remove(name.as_str());
                match weights.shape(&name) {
                    None => error.missing.push(name),
                    Some(found) if found != shape => {
                        error.misshapen.push((name, found.to_vec(), shape));
                    }
                    Some(_) => {}
                }
            }
            let dtype = weights.dtype_name(&scales_name(name));
            if dtype != "F16" && !dtype.is_empty() {
                error.unsupported.push((scales_name(name), dtype));
            }
            continue;
        }
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
    load: &'a Load<'a>,
    /// Whether the parameters that come are a matrix's, which has been read.
    in_weight: bool,
    bytes: u64,
    error: Option<Error>,
}

impl Loader<'_> {
    /// A [`matrix`](Self::matrix) of which it is certain that the device holds it: a GPU takes memory when it
    /// gets to it, and says only when something is read back that there was none.
    fn held_matrix(&mut self, name: &str, dims: [usize; 2]) -> Result<Weight, Error> {
        let weight = self.matrix(name, dims)?;
        let device = self.load.device;
        if is_cpu(device) {
            return Ok(weight);
        }
        match read_back(weight.rows(&[0], device)) {
            Ok(_) => Ok(weight),
            Err(error) => Err(Error::device(
                device,
                format!("it cannot hold {name}: {error}"),
            )),
        }
    }

    /// Reads a matrix `[d_output, d_input]`.
    fn matrix(&mut self, name: &str, dims: [usize; 2]) -> Result<Weight, Error> {
        let (device, share) = (self.load.device, self.load.share);
        match stored_format(self.weights, name) {
            Some(MatrixFormat::Blocks(format)) => {
                let names = [codes_name(name), scales_name(name)];
                let [codes, scales] = names
                    .each_ref()
                    .map(|name| self.weights.stored(name, share));
                let codes = self.fitting(name, codes?)?;
                let blocks = Blocks::from_data(codes, scales?, dims[1], format, device);
                names.iter().for_each(|name| self.count(name));
                return Ok(Weight::Blocks(blocks));
            }
            Some(MatrixFormat::Nf4) => {
                let mut data = nf4::read(self.weights, name, dims, share)?;
                data.codes = self.fitting(name, data.codes)?;
                let weight = Nf4::from_data(data, dims, device);
                Nf4Part::ALL
                    .iter()
                    .for_each(|part| self.count(&part.name(name)));
                return Ok(Weight::Nf4(weight));
            }
            None => {}
        }
        let quantize = self.load.quantize;
        match quantize.and_then(|quantize| matrix_format(name, quantize)) {
            Some(MatrixFormat::Blocks(format)) => {
                let Rounded { codes, scales } = quantize_blocks(self.weights, name, format)?;
                let codes = self.fitting(name, codes)?;
                let blocks = Blocks::from_data(codes, scales, dims[1], format, device);
                self.count(name);
                return Ok(Weight::Blocks(blocks));
            }
            Some(MatrixFormat::Nf4) => {
                let mut data = nf4::round(self.weights, name)?.into_data();
                data.codes = self.fitting(name, data.codes)?;
                self.count(name);
                return Ok(Weight::Nf4(Nf4::from_data(data, dims, device)));
            }
            None => {}
        }
        let stored = self.weights.dtype(name).unwrap_or(DType::F32);
        let dtype = self.load.dtype;
        let dtype = dtype.unwrap_or_else(|| held_dtype(stored, dims[1], device));
        if !Weight::is_read(device, dtype, dims[1]) {
            let what = format!(
                "it cannot multiply with {name} in {}, whose rows have {} numbers",
                dtype.name(),
                dims[1]
            );
            return Err(Error::device(device, what));
        }
        let data = match dtype == stored {
            true => self.weights.stored(name, share)?,
            false => self.weights.read(name, dtype)?,
        };
        let tensor = Tensor::from_data(self.fitting(name, data)?, (device, dtype));
        self.count(name);
        Ok(Weight::Float(Param::initialized(ParamId::new(), tensor)))
    }

    fn read<const D: usize>(&mut self) -> Result<Tensor<D>, Error> {
        let name = checkpoint_name(&self.path);
        let data = self.fitting(&name, self.weights.read(&name, DType::F32)?)?;
        self.count(&name);
        Ok(Tensor::from_data(data, (self.load.device, DType::F32)))
    }

    /// A tensor's numbers, if the device can hold so many in one piece.
    fn fitting(&self, name: &str, data: TensorData) -> Result<TensorData, Error> {
        check_piece(self.load.device, name, data.bytes().len() as u64)?;
        Ok(data)
    }

    /// Tells of a tensor that has been read.
    fn count(&mut self, name: &str) {
        self.bytes += self.weights.tensor_bytes(name);
        if let Some(progress) = self.load.progress {
            progress(Progress::Loading {
                bytes: self.bytes,
                total_bytes: self.weights.num_bytes(),
            });
        }
    }
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        if is_enum(container) {
            self.in_weight = true;
        } else {
            self.path.push(name.to_owned());
        }
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        if is_enum(container) {
            self.in_weight = false;
        } else {
            self.path.pop();
        }
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.error.is_some() || self.in_weight {
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
