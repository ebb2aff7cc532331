use std::fs;
use std::path::{Path, PathBuf};

use plm::{Error, LoadOptions, PerceptionLM};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::reference_data::{fixtures, tiny};

/// A copy of a checkpoint that a test may damage.
pub struct Copy {
    pub dir: TempDir,
}

impl Copy {
    pub fn of(source: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(source).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
        Self { dir }
    }

    pub fn tiny() -> Self {
        Self::of(&tiny())
    }

    pub fn sharded() -> Self {
        Self::of(&fixtures().join("gigantic"))
    }

    /// Moves the copy's files to another folder.
    pub fn move_to(self, target: &Path) {
        fs::rename(self.dir.keep(), target).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn edit_json(&self, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut value = serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap();
        edit(&mut value);
        fs::write(self.path(name), value.to_string()).unwrap();
    }

    /// Changes the header of a weight file, leaving its tensors' bytes.
    pub fn edit_header(&self, name: &str, edit: impl FnOnce(&mut Value)) {
        let bytes = fs::read(self.path(name)).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        edit(&mut header);
        let header = header.to_string().into_bytes();
        let mut changed = (header.len() as u64).to_le_bytes().to_vec();
        changed.extend(header);
        changed.extend(&bytes[8 + length..]);
        fs::write(self.path(name), changed).unwrap();
    }

    /// Adds a tensor of bf16 after the others.
    pub fn append_tensor(&self, file: &str, name: &str, shape: &[usize], data: &[u8]) {
        self.edit_header(file, |header| {
            let ends = header.as_object().unwrap().values();
            let ends = ends.filter_map(|tensor| tensor["data_offsets"][1].as_u64());
            let start = ends.max().unwrap();
            header[name] = json!({
                "dtype": "BF16", "shape": shape, "data_offsets": [start, start + data.len() as u64]
            });
        });
        let bytes = fs::read(self.path(file)).unwrap();
        fs::write(self.path(file), [&bytes, data].concat()).unwrap();
    }

    pub fn load(&self) -> Result<PerceptionLM, Error> {
        PerceptionLM::from_dir(self.dir.path(), &LoadOptions::default())
    }

    /// The message of the error that loading ends in, with its causes.
    pub fn error(&self) -> String {
        let error = self.load().expect_err("the checkpoint is damaged");
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        text
    }

    pub fn assert_error(&self, parts: &[&str]) {
        let text = self.error();
        for part in parts {
            assert!(text.contains(part), "`{part}` is not in `{text}`");
        }
    }
}
