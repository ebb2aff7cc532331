use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Error;

/// A folder that appears under its name when it is complete; dropped before that, it is removed.
pub(super) struct NewFolder {
    target: PathBuf,
    /// The folder as long as it is not complete, beside the final one.
    part: PathBuf,
}

impl NewFolder {
    /// Reserves a place that is free, or an empty folder.
    pub(super) fn create(target: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Write {
            path: target.to_owned(),
            source,
        };
        let target = &std::path::absolute(target).map_err(failed)?;
        match fs::read_dir(target).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Ok(false) => return Err(failed(ErrorKind::DirectoryNotEmpty.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let name = target.file_name();
        let name = name.ok_or_else(|| failed(ErrorKind::InvalidFilename.into()))?;
        let name = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
        let part = target.with_file_name(name);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        fs::create_dir(&part).map_err(failed)?;
        Ok(Self {
            target: target.clone(),
            part,
        })
    }

    /// Writes a file with `contents`.
    pub(super) fn write(
        &self,
        name: &str,
        contents: impl FnOnce(&mut BufWriter<File>) -> Result<(), WriteError>,
    ) -> Result<(), Error> {
        let failed = |source| Error::Write {
            path: self.target.join(name),
            source,
        };
        let file = File::create_new(self.part.join(name)).map_err(failed)?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        contents(&mut file).map_err(|error| match error {
            WriteError::Write(source) => failed(source),
            WriteError::Other(error) => error,
        })?;
        file.flush().map_err(failed)?;
        // A full disk may tell only now.
        file.get_ref().sync_all().map_err(failed)
    }

    /// Writes a small file.
    pub(super) fn write_text(&self, name: &str, text: &[u8]) -> Result<(), Error> {
        self.write(name, |file| Ok(file.write_all(text)?))
    }

    /// Writes a small file of JSON.
    pub(super) fn write_json(&self, name: &str, json: &Value) -> Result<(), Error> {
        self.write_text(name, format!("{json:#}\n").as_bytes())
    }

    /// Gives the folder its name.
    pub(super) fn finish(self) -> Result<PathBuf, Error> {
        fs::rename(&self.part, &self.target).map_err(|source| Error::Write {
            path: self.target.clone(),
            source,
        })?;
        Ok(self.target.clone())
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // After the renaming there is nothing left to remove.
        let _ = fs::remove_dir_all(&self.part);
    }
}

/// Why a file's contents could not be written: the file, or where they come from.
pub(super) enum WriteError {
    Write(io::Error),
    Other(Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_a_folder_that_was_not_finished() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a/b");
        let folder = NewFolder::create(&target).unwrap();
        folder.write_text("x", b"1").unwrap();
        drop(folder);
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 0);
        let folder = NewFolder::create(&target).unwrap();
        folder.write_text("x", b"1").unwrap();
        folder.finish().unwrap();
        assert_eq!(fs::read(target.join("x")).unwrap(), b"1");
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_there_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x"), "1").unwrap();
        assert!(NewFolder::create(dir.path()).is_err());
        assert!(NewFolder::create(&dir.path().join("x")).is_err());
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        NewFolder::create(&empty).unwrap().finish().unwrap();
    }
}
