use std::path::{Path, PathBuf};
#[cfg(feature = "hub")]
use std::sync::Arc;

use plm::{Checkpoint, LoadOptions, PerceptionLM};

use crate::error::Error;
use crate::{output, progress};

/// Where a checkpoint comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModelSource {
    /// It is compiled into the binary.
    Embedded,
    /// A folder.
    Dir(PathBuf),
    /// A repository of a hub.
    #[cfg(feature = "hub")]
    Hub(String),
}

impl ModelSource {
    /// Reads `--model`: an existing folder is a folder, otherwise `owner/name` is a hub id.
    pub(crate) fn parse(model: Option<PathBuf>) -> Result<Self, Error> {
        let Some(path) = model else {
            return Ok(Self::Embedded);
        };
        if path.is_dir() {
            return Ok(Self::Dir(path));
        }
        let name = path.display().to_string();
        if path.exists() {
            return Err(Error::ModelIsFile { name });
        }
        match path.to_str().filter(|id| is_hub_id(id)) {
            #[cfg(feature = "hub")]
            Some(id) => Ok(Self::Hub(id.to_owned())),
            #[cfg(not(feature = "hub"))]
            Some(_) => Err(Error::NoHub { name }),
            None => Err(Error::NoSuchModel { name }),
        }
    }

    /// Loads the whole checkpoint.
    pub(crate) fn load(&self, options: &LoadOptions) -> Result<PerceptionLM, Error> {
        let folder = self.folder(Needed::Everything)?;
        let mut options = options.clone();
        options.progress = Some(progress::of_model());
        Ok(match folder {
            None => PerceptionLM::embedded(&options),
            Some(dir) => PerceptionLM::from_dir(dir, &options),
        }?)
    }

    /// Loads config and processor; weights are neither read nor fetched.
    pub(crate) fn checkpoint(&self) -> Result<Checkpoint, Error> {
        Ok(match self.folder(Needed::AllButWeights)? {
            None => Checkpoint::embedded(),
            Some(dir) => Checkpoint::from_dir(dir),
        }?)
    }

    /// The folder of the whole checkpoint, fetched if need be.
    pub(crate) fn require_folder(&self) -> Result<PathBuf, Error> {
        self.folder(Needed::Everything)?
            .ok_or_else(|| Error::usage("the embedded checkpoint has no folder; give --model"))
    }

    /// The folder of the checkpoint, fetched if need be; none if it is embedded.
    #[cfg_attr(not(feature = "hub"), expect(unused_variables))]
    fn folder(&self, needed: Needed) -> Result<Option<PathBuf>, Error> {
        match self {
            Self::Embedded => Ok(None),
            Self::Dir(dir) => Ok(Some(dir.clone())),
            #[cfg(feature = "hub")]
            Self::Hub(id) => {
                let options = plm::hub::HubOptions::from_env();
                let fetched = fetch(id, options, needed).map_err(|source| Error::HubModel {
                    name: id.clone(),
                    source,
                })?;
                Ok(Some(fetched))
            }
        }
    }

    /// Says what answers where no model was given.
    pub(crate) fn note_embedded_model(&self) {
        if *self == Self::Embedded {
            output::note(
                "note: no --model was given, so the embedded model answers; it knows pictures and clips of coloured shapes, digits and short words, and nothing else",
            );
        }
    }

    /// Says that tiles and tokens are those of the embedded model where that is so.
    pub(crate) fn note_embedded_files(&self) {
        if *self == Self::Embedded {
            output::note(
                "note: no --model was given, so tile size and vocabulary are those of the embedded model, which is a small one",
            );
        }
    }
}

/// What of a checkpoint must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needed {
    /// All its files.
    Everything,
    /// Config, processor and tokenizer.
    AllButWeights,
}

/// Fetches a checkpoint into the cache and returns its folder.
#[cfg(feature = "hub")]
pub(crate) fn fetch(
    repo: &str,
    mut options: plm::hub::HubOptions,
    needed: Needed,
) -> Result<PathBuf, plm::Error> {
    let bar = progress::bytes("fetching");
    options.progress = Some(Arc::new({
        let bar = bar.clone();
        move |fetched: &plm::hub::DownloadProgress| {
            bar.set_message(format!(
                "{} ({} of {})",
                fetched.file,
                fetched.file_index + 1,
                fetched.num_files
            ));
            bar.set_length(fetched.total_bytes.unwrap_or(fetched.bytes));
            bar.set_position(fetched.bytes);
        }
    }));
    let snapshot = match needed {
        Needed::Everything => plm::hub::download(repo, &options),
        Needed::AllButWeights => plm::hub::download_config(repo, &options),
    };
    bar.finish_and_clear();
    Ok(snapshot?.dir)
}

/// Whether a name has the form `owner/name`.
fn is_hub_id(id: &str) -> bool {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    !Path::new(id).is_absolute()
        && id
            .split_once('/')
            .is_some_and(|(owner, name)| is_name(owner) && is_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_ids_are_told_from_paths() {
        assert!(is_hub_id("facebook/Perception-LM-1B"));
        for path in [
            "", "/", "a", "a/", "/a", "./a", "../a", "a/b/c", "a/..", "~/a", "a b/c",
        ] {
            assert!(!is_hub_id(path), "{path}");
        }
    }

    #[test]
    fn a_folder_is_a_folder_and_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let parse = |path: &Path| ModelSource::parse(Some(path.to_owned()));
        assert_eq!(
            parse(dir.path()).unwrap(),
            ModelSource::Dir(dir.path().to_owned())
        );
        let file = dir.path().join("model.safetensors");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(parse(&file), Err(Error::ModelIsFile { .. })));
        let missing = dir.path().join("missing");
        assert!(matches!(parse(&missing), Err(Error::NoSuchModel { .. })));
        assert_eq!(ModelSource::parse(None).unwrap(), ModelSource::Embedded);
    }
}
