//! Hugging Face's layout.

use std::io::Write;

use burn::tensor::DType;
use serde_json::{Map, Value, json};

use super::folder::NewFolder;
use super::{Planned, Written};
use crate::checkpoint::{CheckpointFiles, EMBEDDING, Weights};
use crate::{Config, Error};

/// The files beside the weights.
const TEXTS: [&str; 10] = [
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

/// Writes the files beside the weights: as they are, but that the config tells the weights'
/// precision and tying.
pub(super) fn write_texts(
    folder: &NewFolder,
    files: &CheckpointFiles,
    config: &Config,
    weights: &Weights,
) -> Result<(), Error> {
    for name in TEXTS {
        match files.read(name)? {
            Some(text) if name == "config.json" && is_translated(files) => {
                let mut json: Value =
                    serde_json::from_slice(&text).map_err(|source| Error::Json {
                        path: files.path(name),
                        source,
                    })?;
                let dtype = match weights.dtype(EMBEDDING) {
                    Some(DType::F16) => "float16",
                    Some(DType::BF16) => "bfloat16",
                    _ => "float32",
                };
                json["torch_dtype"] = json!(dtype);
                json["text_config"]["torch_dtype"] = json!(dtype);
                json["vision_config"]["torch_dtype"] = json!(dtype);
                json["text_config"]["tie_word_embeddings"] = json!(config.text.tie_word_embeddings);
                folder.write_json(name, &json)?;
            }
            Some(text) => folder.write_text(name, &text)?,
            None => {}
        }
    }
    Ok(())
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
    // Wider numbers first, so that each stands where its width allows.
    let mut tensors: Vec<&Planned> = shard.iter().collect();
    let width = |tensor: &Planned| weights.dtype(&tensor.name).map_or(0, |dtype| dtype.size());
    tensors.sort_by_key(|tensor| std::cmp::Reverse(width(tensor)));
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut end = 0;
    for tensor in &tensors {
        let start = end;
        end += tensor.num_bytes;
        header.insert(
            tensor.name.clone(),
            json!({
                "dtype": weights.dtype_name(&tensor.name),
                "shape": weights.shape(&tensor.name),
                "data_offsets": [start, end],
            }),
        );
    }
    let mut header = Value::Object(header).to_string();
    header.extend(std::iter::repeat_n(' ', header.len().wrapping_neg() % 8));
    folder.write(file_name, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for tensor in tensors {
            weights.copy(&tensor.name, |bytes| {
                written.add(bytes.len());
                file.write_all(bytes)
            })??;
        }
        Ok(())
    })
}
