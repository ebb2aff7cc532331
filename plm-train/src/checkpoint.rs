//! Checkpoints of a run: what training made, in a layout that others read, and what it takes to go
//! on.

use std::fs;
use std::path::{Path, PathBuf};

use burn::optim::ModuleOptimizer;
use plm::Model;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::save::{fill_adapter, fill_model, write_folder};
use crate::{Error, Trainable};

const PREFIX: &str = "checkpoint-";
const STATE: &str = "trainer_state.json";
const OPTIMIZER: &str = "optimizer.bpk";

/// What of a run is not in the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Steps that were made.
    pub(crate) step: usize,
    /// Steps of the whole run; checkpoints of older versions do not say it.
    #[serde(default)]
    pub(crate) steps: Option<usize>,
    /// Samples that were drawn.
    pub(crate) drawn: u64,
    /// The run's config.
    pub(crate) config: Config,
}

/// The checkpoints of a folder, by their steps.
pub(crate) fn list(dump_dir: &Path) -> Result<Vec<(usize, PathBuf)>, Error> {
    let error = |source| Error::Read {
        path: dump_dir.to_owned(),
        source,
    };
    if !dump_dir.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(dump_dir).map_err(error)? {
        let entry = entry.map_err(error)?;
        let name = entry.file_name();
        let step = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if let Some(step) = step.and_then(|step| step.parse().ok()) {
            found.push((step, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Writes a checkpoint, then takes away those that are more than are to be kept.
pub(crate) fn save(
    model: &Model,
    optimizer: &ModuleOptimizer,
    state: &State,
) -> Result<PathBuf, Error> {
    let config = &state.config;
    let dir = config.dump_dir.join(format!("{PREFIX}{:07}", state.step));
    write_folder(&dir, |folder| {
        fill(model, config, folder)?;
        let optimizer = optimizer.save(folder.join(OPTIMIZER));
        optimizer.map_err(std::io::Error::other)?;
        let json = serde_json::to_vec_pretty(state)?;
        fs::write(folder.join(STATE), json)
    })?;
    let all = list(&config.dump_dir)?;
    let surplus = all.len().saturating_sub(config.checkpoint.keep);
    for (_, old) in &all[..surplus] {
        fs::remove_dir_all(old).map_err(|source| Error::Write {
            path: old.clone(),
            source,
        })?;
    }
    Ok(dir)
}

/// Writes what training made to a folder.
pub(crate) fn export(model: &Model, config: &Config, dir: &Path) -> Result<(), Error> {
    write_folder(dir, |folder| fill(model, config, folder))
}

fn fill(model: &Model, config: &Config, folder: &Path) -> std::io::Result<()> {
    match config.trainable() {
        Trainable::Lora(lora) => {
            let base = config.model.display().to_string();
            fill_adapter(model, &lora, &base, folder)
        }
        _ => fill_model(model, Some(&config.model), folder),
    }
}

/// What a checkpoint says beside the weights.
pub(crate) fn read(dir: &Path) -> Result<State, Error> {
    let path = dir.join(STATE);
    let json = fs::read(&path).map_err(|source| Error::Read {
        path: path.clone(),
        source,
    })?;
    serde_json::from_slice(&json).map_err(|source| Error::State { path, source })
}

/// The optimiser with what it remembers of each parameter.
pub(crate) fn read_optimizer(
    optimizer: ModuleOptimizer,
    dir: &Path,
) -> Result<ModuleOptimizer, Error> {
    let path = dir.join(OPTIMIZER);
    optimizer.load(&path).map_err(|source| Error::Read {
        path,
        source: std::io::Error::other(source),
    })
}
