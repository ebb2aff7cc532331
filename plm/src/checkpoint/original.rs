//! A folder in Meta's `original/` layout, read as the Hugging Face folder that it stands for.
//!
//! Meta's three kinds of files (`params.json`, `tokenizer.model`, `consolidated*.pth`) say the same
//! as Hugging Face's in other words. They are translated when they are opened: the small files to
//! the text of Hugging Face's, the tensors to their names, shapes and order of rows. Everything
//! behind knows one layout.

mod archive;
mod names;
mod params;
mod pickle;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::archive::{StoredTensor, stored_tensors};
use self::names::hugging_face_name;
use self::params::Params;
use super::arrangement::{Arrangement, RowOrder};
use super::files::{open, read};
use super::tensors::{Strided, TensorEntry, Weights};
use crate::Error;

pub(crate) use self::names::{is_rotated, leading_ones, meta_name};
pub(crate) use self::params::intermediate_size;

pub(crate) const PARAMS: &str = "params.json";
pub(crate) const TOKENIZER_MODEL: &str = "tokenizer.model";
pub(crate) const CONSOLIDATED: &str = "consolidated.pth";

/// A folder in Meta's layout.
#[derive(Debug, Clone)]
pub(crate) struct Original {
    dir: PathBuf,
    params: Params,
    /// The text files of the Hugging Face folder, by name.
    texts: BTreeMap<&'static str, Vec<u8>>,
}

impl Original {
    /// Reads `params.json` and `tokenizer.model`.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(PARAMS);
        let params = Params::from_json(&require(&path)?, &path)?;
        let path = dir.join(TOKENIZER_MODEL);
        let name = path.display().to_string();
        let (tokenizer, num_tokens) =
            plm_processor::tokenizer_json_of_model(&require(&path)?, &name)?;
        let eos = [num_tokens + 1, num_tokens + 9];
        let generation = json!({"bos_token_id": num_tokens, "eos_token_id": eos});
        let text = |json: Value| format!("{json:#}\n").into_bytes();
        Ok(Self {
            dir: dir.to_owned(),
            texts: BTreeMap::from([
                ("config.json", text(params.config(num_tokens))),
                ("generation_config.json", text(generation)),
                ("processor_config.json", text(params.processor_config())),
                ("preprocessor_config.json", text(params.image_processor())),
                (
                    "video_preprocessor_config.json",
                    text(params.video_processor()),
                ),
                ("tokenizer_config.json", text(params.tokenizer_config())),
                ("tokenizer.json", tokenizer),
                (
                    "chat_template.jinja",
                    plm_processor::DEFAULT_CHAT_TEMPLATE.into(),
                ),
            ]),
            params,
        })
    }

    /// The file that a Hugging Face file's contents come from.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(match name {
            "tokenizer.json" => TOKENIZER_MODEL,
            name if self.texts.contains_key(name) => PARAMS,
            name => name,
        })
    }

    /// The contents of a Hugging Face file.
    pub(crate) fn text(&self, name: &str) -> Option<&[u8]> {
        self.texts.get(name).map(Vec::as_slice)
    }

    /// The tensors, under Hugging Face's names. A later part overwrites an earlier one.
    pub(crate) fn weights(&self) -> Result<Weights, Error> {
        let mut weights = Weights::default();
        for path in self.parts()? {
            let source = open(&path)?;
            let tensors = stored_tensors(&path, &source)?;
            let embedding = tensors
                .iter()
                .find(|(name, _)| name == "tok_embeddings.weight")
                .map(|(_, stored)| (stored.start, stored.view.clone()));
            let shard = weights.add_source(path.clone(), source);
            for (name, stored) in tensors {
                // A tied output projection is saved as the embedding's storage once more.
                let is_embedding = embedding.as_ref() == Some(&(stored.start, stored.view.clone()));
                if name.starts_with("output.") && is_embedding {
                    continue;
                }
                let mut entry = entry(&path, &name, &stored, shard)?;
                self.translate(&name, &mut entry);
                let name = hugging_face_name(&name).unwrap_or(name);
                weights.insert(name, entry);
            }
        }
        Ok(weights)
    }

    /// `consolidated.pth`, or `consolidated.NN.pth` in order.
    fn parts(&self) -> Result<Vec<PathBuf>, Error> {
        let single = self.dir.join(CONSOLIDATED);
        if single.exists() {
            return Ok(vec![single]);
        }
        let failed = |source| Error::Read {
            path: self.dir.clone(),
            source,
        };
        let mut parts = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("consolidated.") && name.ends_with(".pth") {
                parts.push(self.dir.join(name.as_ref()));
            }
        }
        if parts.is_empty() {
            return Err(Error::MissingFile { path: single });
        }
        parts.sort();
        Ok(parts)
    }

    /// Sets how a tensor becomes Hugging Face's. A tensor of an unexpected shape stays as it is:
    /// it is reported with all others when the model is built.
    fn translate(&self, meta_name: &str, entry: &mut TensorEntry) {
        let Some(name) = hugging_face_name(meta_name) else {
            return;
        };
        if is_rotated(&name) {
            let head_rows = self.params.head_dim();
            if let [rows, _] = entry.shape[..]
                && rows.is_multiple_of(head_rows)
                && head_rows.is_multiple_of(2)
            {
                entry.arrangement = Arrangement::HeadRows {
                    head_rows,
                    order: RowOrder::HalvesFromPairs,
                };
            }
        }
        if meta_name == "vision_model.positional_embedding" {
            let class_rows = usize::from(self.params.class_token());
            let to = self.params.grid();
            if let [rows, width] = entry.shape[..]
                && let Some(from) = grid_of(rows, class_rows)
                && from != to
                // No tile is that much larger; a small file must not become a large tensor.
                && to <= 8 * from
            {
                entry.shape = vec![class_rows + to * to, width];
                entry.arrangement = Arrangement::Positions {
                    class_rows,
                    from,
                    to,
                };
            }
        }
        let ones = vec![1; leading_ones(&name)];
        entry.shape.splice(0..0, ones);
    }
}

/// The tensors of one `torch.save` file, as they are.
pub(crate) fn torch_weights(path: &Path) -> Result<Weights, Error> {
    let source = open(path)?;
    let tensors = stored_tensors(path, &source)?;
    let mut weights = Weights::default();
    let shard = weights.add_source(path.to_owned(), source);
    for (name, stored) in tensors {
        let entry = entry(path, &name, &stored, shard)?;
        weights.insert(name, entry);
    }
    Ok(weights)
}

/// Where a tensor stands in its file, checked to lie there.
fn entry(
    path: &Path,
    name: &str,
    stored: &StoredTensor,
    shard: usize,
) -> Result<TensorEntry, Error> {
    let fail = |what: &str| Error::WeightFile {
        path: path.to_owned(),
        what: format!("tensor `{name}` {what}"),
    };
    let view = &stored.view;
    let size = view.dtype.bitsize() / 8;
    // One past the last number that the view reaches.
    let empty = view.shape.contains(&0);
    let reach = view
        .shape
        .iter()
        .zip(&view.strides)
        .try_fold(view.offset, |reach, (&length, &stride)| {
            reach.checked_add(length.saturating_sub(1).checked_mul(stride)?)
        })
        .and_then(|last| last.checked_add(usize::from(!empty)))
        .and_then(|end| end.checked_mul(size))
        .filter(|&end| end as u64 <= stored.length)
        .ok_or_else(|| fail("reaches beyond its storage; download it again"))?;
    let numbers = view
        .shape
        .iter()
        .try_fold(1_usize, |n, &length| n.checked_mul(length));
    let num_bytes = numbers
        .and_then(|n| n.checked_mul(size))
        // A view that repeats numbers has more of them than its storage.
        .filter(|&bytes| bytes as u64 <= stored.length)
        .ok_or_else(|| fail("is larger than its storage"))?;
    let start = view.offset * size;
    let mut entry = TensorEntry {
        shard,
        dtype: view.dtype,
        cast: None,
        shape: view.shape.clone(),
        offset: stored.start + start as u64,
        num_bytes,
        arrangement: Arrangement::AsStored,
        strided: None,
        merged: Vec::new(),
    };
    if !is_contiguous(&view.shape, &view.strides) {
        entry.strided = Some(Strided {
            shape: view.shape.clone(),
            strides: view.strides.clone(),
            span: reach.saturating_sub(start),
        });
    }
    Ok(entry)
}

/// The side of the square of patches that `rows` positions stand for.
fn grid_of(rows: usize, class_rows: usize) -> Option<usize> {
    let patches = rows.checked_sub(class_rows)?;
    let side = patches.isqrt();
    (side > 0 && side * side == patches).then_some(side)
}

fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1_usize;
    for (&length, &stride) in shape.iter().zip(strides).rev() {
        if length != 1 && stride != expected {
            return false;
        }
        expected = expected.saturating_mul(length.max(1));
    }
    true
}

fn require(path: &Path) -> Result<Vec<u8>, Error> {
    read(path)?.ok_or_else(|| Error::MissingFile {
        path: path.to_owned(),
    })
}
