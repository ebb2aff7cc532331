//! What training made, in the layouts of Hugging Face and PEFT.

use std::fs;
use std::io;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{DType, Tensor, TensorData};
use plm::{Model, ParameterVisitor};
use safetensors::tensor::{Dtype, TensorView};
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
    if adapters.several || adapters.tensors.is_empty() {
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
    write_tensors(&folder.join("adapter_model.safetensors"), adapters.tensors)
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
    write_tensors(&folder.join("model.safetensors"), whole.0)
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

type Named = Vec<(String, TensorData)>;

fn write_tensors(path: &Path, tensors: Named) -> io::Result<()> {
    let dtype = |dtype| match dtype {
        DType::BF16 => Dtype::BF16,
        DType::F16 => Dtype::F16,
        _ => Dtype::F32,
    };
    let mut views = Vec::with_capacity(tensors.len());
    for (name, data) in &tensors {
        let view = TensorView::new(dtype(data.dtype()), data.shape().to_vec(), data.as_bytes());
        views.push((name, view.map_err(io::Error::other)?));
    }
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(io::Error::other)
}

#[derive(Default)]
struct Whole(Named);

impl ParameterVisitor for Whole {
    fn visit<const D: usize>(&mut self, name: &str, parameter: &Param<Tensor<D>>) {
        if !name.contains(".adapters.") {
            self.0.push((name.to_owned(), parameter.val().into_data()));
        }
    }
}

/// Adapters under PEFT's names.
#[derive(Default)]
struct Adapters {
    tensors: Named,
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
        self.tensors.push((name, parameter.val().into_data()));
    }
}
