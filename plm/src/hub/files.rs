//! Which files make a checkpoint, and which shards an index names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::HubError;
use super::names;

/// The model configuration; also the file that is asked first.
pub(super) const CONFIG: &str = "config.json";
/// The weights in one file.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// The list of the weights' shards.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Files without which a checkpoint cannot be loaded, besides the weights.
pub(super) const REQUIRED: [&str; 3] = [CONFIG, "tokenizer.json", "processor_config.json"];

/// Files that are fetched where they exist; which of them do depends on the checkpoint's age.
pub(super) const OPTIONAL: [&str; 7] = [
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
];

/// The largest index that is read; real ones stay under a megabyte.
const MAX_INDEX_BYTES: u64 = 64 << 20;

#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The shards that the index at `path` names, each once, in order.
pub(super) fn shards(repo: &str, path: &Path) -> Result<BTreeSet<String>, HubError> {
    let invalid = |source| HubError::InvalidIndex {
        repo: repo.to_owned(),
        path: path.to_owned(),
        source,
    };
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_INDEX_BYTES).read_to_end(&mut text))
        .map_err(|source| HubError::io("read", path, source))?;
    let index: Index = serde_json::from_slice(&text).map_err(invalid)?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    if shards.is_empty() {
        return Err(HubError::EmptyIndex {
            repo: repo.to_owned(),
            path: path.to_owned(),
        });
    }
    match shards.iter().find(|name| !names::is_weight_file(name)) {
        Some(name) => Err(HubError::UnsafeShardName {
            repo: repo.to_owned(),
            name: name.clone(),
        }),
        None => Ok(shards),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards_of(text: &str) -> Result<BTreeSet<String>, HubError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(INDEX);
        std::fs::write(&path, text).unwrap();
        shards("owner/name", &path)
    }

    #[test]
    fn each_shard_is_named_once() {
        let found = shards_of(
            r#"{"metadata": {"total_size": 3},
                "weight_map": {"a": "b.safetensors", "b": "a.safetensors", "c": "a.safetensors"}}"#,
        );
        assert_eq!(
            found.unwrap().into_iter().collect::<Vec<_>>(),
            ["a.safetensors", "b.safetensors"]
        );
    }

    #[test]
    fn an_index_that_is_no_index_is_an_error() {
        assert!(matches!(
            shards_of("<html>"),
            Err(HubError::InvalidIndex { .. })
        ));
        assert!(matches!(
            shards_of(r#"{"weight_map": 3}"#),
            Err(HubError::InvalidIndex { .. })
        ));
        assert!(matches!(
            shards_of(r#"{"weight_map": {}}"#),
            Err(HubError::EmptyIndex { .. })
        ));
    }

    #[test]
    fn a_shard_outside_the_folder_is_refused() {
        let error = shards_of(r#"{"weight_map": {"a": "../../x.safetensors"}}"#).unwrap_err();
        assert!(
            matches!(&error, HubError::UnsafeShardName { name, .. } if name == "../../x.safetensors")
        );
    }
}
