//! What training made, in the layouts of Hugging Face and PEFT.

use std::borrow::Cow;
use std::cell::Cell;
use std::fs;
use std::io;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{DType, Tensor, TensorData};
use plm::{Model, ParameterVisitor};
use plm_linear::read_back;
use safetensors::tensor::{Dtype, View};
use serde_json::json;

use crate::{Error, LoraConfig};

/// Writes the adapters of a model to a new folder, as PEFT does: `adapter_config.json` and
/// `adapter_model.safetensors`. `base` names the model that they belong to. The folder appears when
/// it is complete.
///
/// # Errors
///
/// [`Error::Write`], also when the folder exists and is not empty, or when a layer has more than
/// one adapter, or none has.
pub fn save_adapter(
    model: &Model,
    config: &LoraConfig,
    base: &str,
    dir: impl AsRef<Path>,
) -> Result<(), Error> {
    write_folder(dir.as_ref(), |folder| {
        fill_adapter(model, config, base, folder)
    })
}

pub(crate) fn fill_adapter(
    model: &Model,
    config: &LoraConfig,
    base: &str,
    folder: &Path,
) -> io::Result<()> {
    let mut adapters = Adapters::default();
    model.visit_parameters(&mut adapters);
    if adapters.several || adapters.named.0.is_empty() {
        let what = "each adapted layer must have one adapter to be saved";
        return Err(io::Error::other(what));
    }
    let config = json!({
        "peft_type": "LORA",
        "auto_mapping": {
            "base_model_class": "PerceptionLMForConditionalGeneration",
            "parent_library": "transformers.models.perception_lm.modeling_perception_lm",
        },
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "modules_to_save": null,
        "r": config.rank,
        "target_modules": config.target_modules,
        "task_type": null,
        "use_dora": config.use_dora,
        "use_rslora": false,
    });
    let json = serde_json::to_vec_pretty(&config)?;
    fs::write(folder.join("adapter_config.json"), json)?;
    let path = folder.join("adapter_model.safetensors");
    adapters.named.write(&path)
}

/// Writes the weights of a model to a new folder in Hugging Face's layout, as `model.safetensors`,
/// in the precision that they have; with the other files of the checkpoint in `base`, such as its
/// config and tokenizer. Adapters are not part of it. The folder appears when it is complete.
///
/// # Errors
///
/// [`Error::Write`], also when the folder exists and is not empty.
pub fn save_model(model: &Model, base: Option<&Path>, dir: impl AsRef<Path>) -> Result<(), Error> {
    write_folder(dir.as_ref(), |folder| fill_model(model, base, folder))
}

pub(crate) fn fill_model(model: &Model, base: Option<&Path>, folder: &Path) -> io::Result<()> {
    if let Some(base) = base {
        for name in plm::CHECKPOINT_TEXTS {
            let from = base.join(name);
            if from.is_file() {
                fs::copy(from, folder.join(name))?;
            }
        }
    }
    let mut whole = Whole::default();
    model.visit_parameters(&mut whole);
    whole.0.write(&folder.join("model.safetensors"))
}

/// Fills a folder beside the wanted one and gives it its name when it is complete.
pub(crate) fn write_folder(
    dir: &Path,
    fill: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), Error> {
    let error = |source| Error::Write {
        path: dir.to_owned(),
        source,
    };
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(error)?;
    let folder = tempfile::Builder::new()
        .prefix(".plm-train-")
        .tempdir_in(parent)
        .map_err(error)?;
    fill(folder.path()).map_err(error)?;
    // An empty folder is replaced; anything else is left alone.
    if dir.exists() {
        fs::remove_dir(dir).map_err(error)?;
    }
    fs::rename(folder.path(), dir).map_err(error)?;
    // It has another name now.
    let _ = folder.keep();
    Ok(())
}

/// A parameter, which is copied from its device when it is written, so that a model need not fit the memory
/// a second time.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    read: Box<dyn Fn() -> io::Result<TensorData>>,
}

impl Stored {
    fn num_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        let data = (self.read)()?;
        match data.as_bytes() {
            bytes if bytes.len() == self.num_bytes() => Ok(bytes.to_vec()),
            bytes => Err(io::Error::other(format!(
                "{} bytes where {} were expected",
                bytes.len(),
                self.num_bytes()
            ))),
        }
    }
}

/// A parameter on its way to a file. Zeros stand there once one could not be read.
struct Written<'a> {
    name: &'a str,
    stored: &'a Stored,
    error: &'a Cell<Option<io::Error>>,
}

impl View for Written<'_> {
    fn dtype(&self) -> Dtype {
        self.stored.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.stored.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let error = match self.error.take() {
            Some(first) => first,
            None => match self.stored.bytes() {
                Ok(bytes) => return Cow::Owned(bytes),
                Err(error) => io::Error::other(format!("{}: {error}", self.name)),
            },
        };
        self.error.set(Some(error));
        Cow::Owned(vec![0; self.data_len()])
    }

    fn data_len(&self) -> usize {
        self.stored.num_bytes()
    }
}

/// Parameters by their names.
#[derive(Default)]
struct Named(Vec<(String, Stored)>);

impl Named {
    fn push<const D: usize>(&mut self, name: String, parameter: &Param<Tensor<D>>) {
        let tensor = parameter.val();
        let stored = Stored {
            dtype: match tensor.dtype() {
                DType::BF16 => Dtype::BF16,
                DType::F16 => Dtype::F16,
                _ => Dtype::F32,
            },
            shape: tensor.dims().to_vec(),
            read: Box::new(move || {
                let device = tensor.device();
                let data = read_back(tensor.clone());
                data.map_err(|error| io::Error::other(plm::Error::of_device(&device, &error)))
            }),
        };
        self.0.push((name, stored));
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let error = Cell::new(None);
        let tensors = self.0.iter().map(|(name, stored)| {
            let error = &error;
            let written = Written {
                name,
                stored,
                error,
            };
            (name, written)
        });
        let written = safetensors::serialize_to_file(tensors, Some(metadata), path);
        // What could not be read is the cause of whatever followed.
        error.take().map_or(Ok(()), Err)?;
        written.map_err(io::Error::other)
    }
}

#[derive(Default)]
struct Whole(Named);

impl ParameterVisitor for Whole {
    fn visit<const D: usize>(&mut self, name: &str, parameter: &Param<Tensor<D>>) {
        if !name.contains(".adapters.") {
            self.0.push(name.to_owned(), parameter);
        }
    }
}

/// Adapters under PEFT's names.
#[derive(Default)]
struct Adapters {
    named: Named,
    several: bool,
}

impl ParameterVisitor for Adapters {
    fn visit<const D: usize>(&mut self, name: &str, parameter: &Param<Tensor<D>>) {
        let Some((module, part)) = name.split_once(".adapters.") else {
            return;
        };
        let Some(part) = part.strip_prefix("0.") else {
            self.several = true;
            return;
        };
        let part = match part {
            "lora_a" => "lora_A.weight",
            "lora_b" => "lora_B.weight",
            _ => "lora_magnitude_vector",
        };
        let name = format!("base_model.model.{module}.{part}");
        self.named.push(name, parameter);
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn named() -> Named {
        let device = Device::flex();
        let mut named = Named::default();
        for (name, numbers) in [("a", [1.0, 2.0]), ("b", [3.0, 4.0])] {
            let tensor = Tensor::<1>::from_data(numbers, &device);
            named.push(name.to_owned(), &Param::from_tensor(tensor));
        }
        named
    }

    #[test]
    fn parameters_are_written_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        named().write(&path).unwrap();
        let file = fs::read(&path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
        let b = tensors.tensor("b").unwrap();
        let expected = [3f32.to_le_bytes(), 4f32.to_le_bytes()].concat();
        assert_eq!((b.dtype(), b.data()), (Dtype::F32, expected.as_slice()));
    }

    #[test]
    fn the_first_parameter_that_cannot_be_read_is_the_error() {
        let mut named = named();
        for (_, stored) in &mut named.0 {
            let what = "no memory";
            stored.read = Box::new(move || Err(io::Error::other(what)));
        }
        let dir = tempfile::tempdir().unwrap();
        let error = named.write(&dir.path().join("x.safetensors")).unwrap_err();
        assert_eq!(error.to_string(), "a: no memory");
    }
}
