use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::View;

use crate::error::Error;

/// A file that appears under its name only when it is complete.
///
/// Until then it is a hidden file beside it, made at once, so that a place that cannot be written
/// to is known before anything is computed. What is not a regular file, such as a pipe, is written
/// to directly.
#[derive(Debug)]
pub(crate) struct NewFile {
    /// The path as it was given, for messages.
    path: PathBuf,
    target: PathBuf,
    part: Option<Part>,
}

/// The file as long as it is not complete; dropping it removes it.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    /// Those of any new file, whatever makes the final one.
    permissions: Permissions,
}

impl Drop for Part {
    fn drop(&mut self) {
        // After the renaming there is nothing left to remove.
        let _ = fs::remove_file(&self.path);
    }
}

impl NewFile {
    /// Reserves a place for the file.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let (target, part) = reserve(path).map_err(|source| Error::Write {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            target,
            part,
        })
    }

    /// Writes tensors and gives the file its name.
    pub(crate) fn write<V: View>(self, tensors: Vec<(String, V)>) -> Result<(), Error> {
        let tensor_error = |source| Error::WriteTensors {
            path: self.path.clone(),
            source,
        };
        match &self.part {
            Some(part) => {
                safetensors::serialize_to_file(tensors, None, &part.path).map_err(tensor_error)?;
                self.done(part.finish(&self.target))
            }
            None => {
                let bytes = safetensors::serialize(tensors, None).map_err(tensor_error)?;
                self.write_bytes(&bytes)
            }
        }
    }

    /// Writes bytes and gives the file its name.
    pub(crate) fn write_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        let written = match &self.part {
            Some(part) => fs::write(&part.path, bytes).and_then(|()| part.finish(&self.target)),
            None => {
                let file = OpenOptions::new().write(true).open(&self.target);
                file.and_then(|mut file| file.write_all(bytes))
            }
        };
        self.done(written)
    }

    fn done(&self, result: io::Result<()>) -> Result<(), Error> {
        result.map_err(|source| Error::Write {
            path: self.path.clone(),
            source,
        })
    }
}

impl Part {
    /// Gives the complete file its name.
    fn finish(&self, target: &Path) -> io::Result<()> {
        fs::set_permissions(&self.path, self.permissions.clone())?;
        fs::rename(&self.path, target)
    }
}

fn reserve(path: &Path) -> io::Result<(PathBuf, Option<Part>)> {
    // A link is followed, so that it stays one.
    let target = fs::canonicalize(path).or_else(|_| std::path::absolute(path))?;
    match fs::metadata(&target) {
        Ok(found) if found.is_dir() => return Err(ErrorKind::IsADirectory.into()),
        Ok(found) if found.permissions().readonly() => {
            return Err(ErrorKind::PermissionDenied.into());
        }
        Ok(found) if !found.is_file() => return Ok((target, None)),
        _ => {}
    }
    let name = target.file_name().ok_or(ErrorKind::InvalidFilename)?;
    let name = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
    let path = target.with_file_name(name);
    let permissions = File::create_new(&path)?.metadata()?.permissions();
    Ok((target, Some(Part { path, permissions })))
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn nothing_is_left_of_a_file_that_was_not_finished() {
        let dir = tempfile::tempdir().unwrap();
        let file = NewFile::create(&dir.path().join("a")).unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        drop(file);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn a_finished_file_replaces_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "old").unwrap();
        let file = NewFile::create(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let bytes = 7_f32.to_le_bytes();
        let tensor = TensorView::new(Dtype::F32, vec![1], &bytes).unwrap();
        file.write(vec![("x".to_owned(), tensor)]).unwrap();
        assert_eq!(names(dir.path()), ["a"]);
        let written = fs::read(&path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&written).unwrap();
        assert_eq!(tensors.tensor("x").unwrap().data(), bytes);
    }

    #[test]
    fn bytes_are_written_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        NewFile::create(&path).unwrap().write_bytes(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["a.png"]);
    }

    #[test]
    fn a_folder_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        assert!(NewFile::create(dir.path()).is_err());
        assert!(NewFile::create(&dir.path().join("no/a")).is_err());
    }
}
