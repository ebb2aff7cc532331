//! Hugging Face's layout.

use std::io::Write;

use burn::tensor::{DType, TensorData};
use plm_kernels::BLOCK;
use plm_linear::BlockFormat;
use serde_json::{Map, Value, json};

use super::folder::NewFolder;
use super::{Part, Planned, Rounding, Written};
use crate::checkpoint::{
    CheckpointFiles, EMBEDDING, Nf4Part, Weights, block_shapes, is_codes, quantize, round_nf4,
};
use crate::config::{BITSANDBYTES, QUANT_METHOD};
use crate::{Config, Error};

/// The files beside the weights, in Hugging Face's layout; not every checkpoint has all.
pub const CHECKPOINT_TEXTS: [&str; 10] = [
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
];

/// Writes the files beside the weights: as they are, but that a translated config tells the
/// weights' precision and tying, that of a cast checkpoint the new precision, and that of a rounded
/// one who rounded it.
pub(super) fn write_texts(
    folder: &NewFolder,
    files: &CheckpointFiles,
    config: &Config,
    weights: &Weights,
    rounding: Rounding,
    is_cast: bool,
) -> Result<(), Error> {
    for name in CHECKPOINT_TEXTS {
        match files.read(name)? {
            Some(text)
                if name == "config.json"
                    && (rounding != Rounding::None || is_cast || is_translated(files)) =>
            {
                let mut json: Value =
                    serde_json::from_slice(&text).map_err(|source| Error::Json {
                        path: files.path(name),
                        source,
                    })?;
                match rounding {
                    Rounding::None => {}
                    Rounding::Blocks => {
                        json["quantization_config"] = json!({
                            "quant_method": QUANT_METHOD,
                            "block_size": BLOCK,
                        });
                    }
                    // A checkpoint of bitsandbytes' says itself what it left out.
                    Rounding::Nf4 if json.get("quantization_config").is_some() => {}
                    Rounding::Nf4 => json["quantization_config"] = bitsandbytes(),
                }
                let dtype = match weights.dtype(EMBEDDING) {
                    Some(DType::F16) => "float16",
                    Some(DType::BF16) => "bfloat16",
                    _ => "float32",
                };
                if is_translated(files) {
                    json["torch_dtype"] = json!(dtype);
                    json["text_config"]["torch_dtype"] = json!(dtype);
                    json["vision_config"]["torch_dtype"] = json!(dtype);
                    json["text_config"]["tie_word_embeddings"] =
                        json!(config.text.tie_word_embeddings);
                } else if is_cast {
                    change_precision(&mut json, dtype);
                }
                folder.write_json(name, &json)?;
            }
            Some(text) => folder.write_text(name, &text)?,
            None => {}
        }
    }
    Ok(())
}

/// Changes what a config says of the weights' precision, under the older name or the newer one, for
/// the whole and for its parts.
fn change_precision(config: &mut Value, dtype: &str) {
    for part in ["", "/text_config", "/vision_config"] {
        for key in ["torch_dtype", "dtype"] {
            if let Some(value) = config.pointer_mut(&format!("{part}/{key}")) {
                *value = json!(dtype);
            }
        }
    }
}

/// What transformers wants to know of a checkpoint whose decoder's layers are in NF4.
fn bitsandbytes() -> Value {
    json!({
        "quant_method": BITSANDBYTES,
        "load_in_4bit": true,
        "load_in_8bit": false,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": true,
        "bnb_4bit_quant_storage": "uint8",
        "bnb_4bit_compute_dtype": "bfloat16",
        "llm_int8_skip_modules": [
            "model.vision_tower", "model.multi_modal_projector", "lm_head",
        ],
    })
}

/// Whether the files are Meta's in other words.
fn is_translated(files: &CheckpointFiles) -> bool {
    matches!(files, CheckpointFiles::Original(_))
}

/// Writes the tensors; returns the files' names.
pub(super) fn write(
    folder: &NewFolder,
    shards: &[Vec<Planned>],
    weights: &Weights,
    written: &mut Written,
) -> Result<Vec<String>, Error> {
    let count = shards.len();
    let names: Vec<String> = match count {
        1 => vec!["model.safetensors".to_owned()],
        _ => (1..=count)
            .map(|number| format!("model-{number:05}-of-{count:05}.safetensors"))
            .collect(),
    };
    let mut weight_map = Map::new();
    for (shard, file_name) in shards.iter().zip(&names) {
        weight_map.extend(
            shard
                .iter()
                .map(|tensor| (tensor.name.clone(), json!(file_name))),
        );
        write_shard(folder, file_name, shard, weights, written)?;
    }
    if count > 1 {
        let index = json!({
            "metadata": {"total_size": written.total_bytes},
            "weight_map": weight_map,
        });
        folder.write_json("model.safetensors.index.json", &index)?;
    }
    Ok(names)
}

fn write_shard(
    folder: &NewFolder,
    file_name: &str,
    shard: &[Planned],
    weights: &Weights,
    written: &mut Written,
) -> Result<(), Error> {
    // Wider numbers first, so that each stands where its width allows. Codes, which come in
    // multiples of 16 bytes, stay before their scales.
    let mut tensors: Vec<&Planned> = shard.iter().collect();
    let width = |tensor: &Planned| match &tensor.part {
        Part::Nf4 { .. } => 1,
        Part::Stored if weights.dtype_name(&tensor.name) == "U8" && !is_codes(&tensor.name) => 1,
        _ => weights.dtype(&tensor.name).map_or(2, |dtype| dtype.size()),
    };
    tensors.sort_by_key(|tensor| std::cmp::Reverse(width(tensor)));
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut end = 0;
    let mut scales_shape = Vec::new();
    for tensor in &tensors {
        let start = end;
        end += tensor.num_bytes;
        let (dtype, shape) = match &tensor.part {
            Part::Stored => {
                let shape = weights.shape(&tensor.name).unwrap_or_default();
                (weights.dtype_name(&tensor.name), shape.to_vec())
            }
            Part::Codes { matrix, format } => {
                let shape = weights.shape(matrix).unwrap_or(&[0, 0]);
                let [codes, scales] = block_shapes(shape, *format);
                scales_shape = scales;
                let dtype = match format {
                    BlockFormat::Q8 => "I8",
                    BlockFormat::Q4 => "U8",
                };
                (dtype.to_owned(), codes)
            }
            Part::Scales => ("F16".to_owned(), scales_shape.clone()),
            Part::Nf4 { matrix, part } => {
                let shape = weights.shape(matrix).unwrap_or(&[0, 0]);
                (part.dtype().to_owned(), part.shape(shape))
            }
        };
        header.insert(
            tensor.name.clone(),
            json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]}),
        );
    }
    let mut header = Value::Object(header).to_string();
    header.extend(std::iter::repeat_n(' ', header.len().wrapping_neg() % 8));
    folder.write(file_name, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        let (mut scales, mut nf4) = (None, None);
        for tensor in tensors {
            match &tensor.part {
                Part::Stored => weights.copy(&tensor.name, |bytes| {
                    written.add(bytes.len());
                    file.write_all(bytes)
                })??,
                Part::Codes { matrix, format } => {
                    let rounded = quantize(weights, matrix, *format)?;
                    written.add(rounded.codes.bytes().len());
                    file.write_all(rounded.codes.bytes())?;
                    scales = Some(rounded.scales);
                }
                Part::Scales => {
                    let scales = scales.take().map(TensorData::into_bytes);
                    let scales = scales.as_deref().unwrap_or_default();
                    written.add(scales.len());
                    file.write_all(scales)?;
                }
                Part::Nf4 { matrix, part } => {
                    if *part == Nf4Part::Codes {
                        nf4 = Some(round_nf4(weights, matrix)?);
                    }
                    let bytes = nf4.as_ref().map(|rounded| rounded.part(*part));
                    let bytes = bytes.unwrap_or_default();
                    written.add(bytes.len());
                    file.write_all(&bytes)?;
                }
            }
        }
        Ok(())
    })
}
