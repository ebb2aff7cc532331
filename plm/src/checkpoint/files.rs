use std::borrow::Cow;
use std::fs::File;
use std::hint::black_box;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use memmap2::Mmap;

use super::original::{self, Original};
use crate::Error;

/// No configuration file of a model is larger; tokenizers reach some 20 MB.
const MAX_TEXT_FILE_BYTES: u64 = 256 << 20;

/// Where a checkpoint's files come from.
#[derive(Debug, Clone)]
pub(crate) enum CheckpointFiles {
    /// A folder in Hugging Face's layout.
    Dir(PathBuf),
    /// A folder in Meta's layout, translated.
    Original(Box<Original>),
    /// Files compiled into the program, by name.
    #[cfg_attr(not(feature = "embedded"), expect(dead_code))]
    Embedded(&'static [(&'static str, &'static [u8])]),
}

/// One file, read from any position.
#[derive(Debug)]
pub(crate) enum Source {
    File(OpenFile),
    Memory(&'static [u8]),
}

/// A file on disk.
#[derive(Debug)]
pub(crate) struct OpenFile {
    /// Reading moves the file's position, so one reader at a time.
    file: Mutex<File>,
    /// All of it, mapped into memory when that is first asked for; nothing where it cannot be.
    map: OnceLock<Option<Mapping>>,
}

/// A file in memory; the mapping lives as long as anything that shares its bytes.
#[derive(Debug)]
struct Mapping {
    map: Arc<Mmap>,
    bytes: Bytes,
}

impl CheckpointFiles {
    /// The checkpoint of a folder, in either layout.
    pub(crate) fn find(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        let dir = dir.into();
        Ok(match original_folder(&dir) {
            Some(original) => Self::Original(Box::new(Original::open(&original)?)),
            None => Self::Dir(dir),
        })
    }

    /// The name of a file for messages.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Dir(dir) => dir.join(name),
            Self::Original(original) => original.path(name),
            Self::Embedded(_) => Path::new("<embedded>").join(name),
        }
    }

    /// The contents of a small file, or nothing where it does not exist.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Cow<'static, [u8]>>, Error> {
        match self {
            Self::Embedded(files) => Ok(files
                .iter()
                .find(|(file, _)| *file == name)
                .map(|(_, bytes)| Cow::Borrowed(*bytes))),
            Self::Original(original) => Ok(original.text(name).map(|text| text.to_vec().into())),
            Self::Dir(dir) => Ok(read(&dir.join(name))?.map(Cow::Owned)),
        }
    }

    /// The contents of a small file that must exist.
    pub(crate) fn require(&self, name: &str) -> Result<Cow<'static, [u8]>, Error> {
        self.read(name)?.ok_or_else(|| match self {
            Self::Dir(dir) if !dir.is_dir() => Error::NoSuchFolder { dir: dir.clone() },
            _ => Error::MissingFile {
                path: self.path(name),
            },
        })
    }

    /// Opens a large file.
    pub(crate) fn open(&self, name: &str) -> Result<Source, Error> {
        match self {
            Self::Dir(_) | Self::Original(_) => open(&self.path(name)),
            Self::Embedded(files) => files
                .iter()
                .find(|(file, _)| *file == name)
                .map(|(_, bytes)| Source::Memory(bytes))
                .ok_or_else(|| Error::MissingFile {
                    path: self.path(name),
                }),
        }
    }
}

/// Where Meta's files of a checkpoint are: in the folder or in its folder `original`, unless it
/// holds Hugging Face's `config.json`.
pub(crate) fn original_folder(dir: &Path) -> Option<PathBuf> {
    if dir.join("config.json").exists() {
        return None;
    }
    [dir.to_owned(), dir.join("original")]
        .into_iter()
        .find(|dir| dir.join(original::PARAMS).exists())
}

/// The contents of a small file, or nothing where it does not exist.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match read_limited(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Opens a large file.
pub(crate) fn open(path: &Path) -> Result<Source, Error> {
    let path = path.to_owned();
    match File::open(&path) {
        Ok(file) => Ok(Source::File(OpenFile {
            file: Mutex::new(file),
            map: OnceLock::new(),
        })),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::MissingFile { path }),
        Err(source) => Err(Error::Read { path, source }),
    }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.len() > MAX_TEXT_FILE_BYTES {
        return Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("larger than {} MiB", MAX_TEXT_FILE_BYTES >> 20),
        ));
    }
    let mut bytes = Vec::new();
    file.take(MAX_TEXT_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Source {
    pub(crate) fn len(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(lock(&file.file).metadata()?.len()),
            Self::Memory(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// Bytes of the file without a copy, where the system maps files into memory. What of them is
    /// still on disk is read before this returns.
    pub(crate) fn shared(&self, offset: u64, len: usize) -> Option<Bytes> {
        let start = usize::try_from(offset).ok()?;
        let range = start..start.checked_add(len)?;
        match self {
            Self::Memory(bytes) => bytes.get(range).map(Bytes::from_static),
            Self::File(file) => {
                let mapping = file.map.get_or_init(|| map(&lock(&file.file)).ok());
                let mapping = mapping.as_ref()?;
                mapping.bytes.get(range.clone())?;
                let bytes = mapping.bytes.slice(range);
                mapping.read(start, &bytes);
                Some(bytes)
            }
        }
    }

    /// Fills `buffer` from `offset` on.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => {
                let mut file = lock(&file.file);
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(buffer)
            }
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).map_err(io::Error::other)?;
                let part = start
                    .checked_add(buffer.len())
                    .and_then(|end| bytes.get(start..end))
                    .ok_or(ErrorKind::UnexpectedEof)?;
                buffer.copy_from_slice(part);
                Ok(())
            }
        }
    }
}

/// Bytes that the system maps at once when one of them is touched.
const TOUCHED_BYTES: usize = 64 << 10;

impl Mapping {
    /// Has the system read `bytes`, which stand at `start`, where they are not in memory yet, and map
    /// them. This thread alone does it: the tokenizer is read meanwhile, and takes as long.
    fn read(&self, start: usize, bytes: &[u8]) {
        // Only a hint, to read more at a time.
        #[cfg(unix)]
        let _ = self
            .map
            .advise_range(memmap2::Advice::WillNeed, start, bytes.len());
        for at in (0..bytes.len()).step_by(TOUCHED_BYTES) {
            black_box(bytes[at]);
        }
        black_box(bytes.last());
    }
}

/// Maps a file into memory.
#[allow(unsafe_code, reason = "a mapping cannot be had otherwise")]
fn map(file: &File) -> io::Result<Mapping> {
    // SAFETY: the mapping is read only. A checkpoint is not written while it is in use: who
    // overwrites its files meanwhile changes the weights under the model, and who cuts them off
    // ends the process, as with every runtime that maps its weights. `LoadOptions::copy_weights`
    // is there for files of which that cannot be said.
    let map = Arc::new(unsafe { Mmap::map(file)? });
    Ok(Mapping {
        bytes: Bytes::from_owner(Shared(map.clone())),
        map,
    })
}

/// A mapping as the owner of its bytes.
struct Shared(Arc<Mmap>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A position left by a reader that panicked does no harm: every read sets its own.
fn lock(file: &Mutex<File>) -> MutexGuard<'_, File> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}
