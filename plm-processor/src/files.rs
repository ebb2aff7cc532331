//! The files of a checkpoint that the processor reads.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::{Error, Result};

/// Contents of the processor's files, from a folder or embedded in a program.
///
/// Only `tokenizer.json` and `processor_config.json` are needed; what else is absent takes the
/// values of the released checkpoints.
#[derive(Clone, Debug)]
pub struct ProcessorFiles<'a> {
    /// Where the files come from, for messages: a folder or a name.
    pub origin: String,
    /// `tokenizer.json`.
    pub tokenizer: Cow<'a, [u8]>,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<Cow<'a, [u8]>>,
    /// `processor_config.json`.
    pub processor_config: Option<Cow<'a, [u8]>>,
    /// `preprocessor_config.json`.
    pub preprocessor_config: Option<Cow<'a, [u8]>>,
    /// `video_preprocessor_config.json`.
    pub video_preprocessor_config: Option<Cow<'a, [u8]>>,
    /// `chat_template.jinja`.
    pub chat_template: Option<Cow<'a, [u8]>>,
    /// `chat_template.json`, the older form.
    pub chat_template_json: Option<Cow<'a, [u8]>>,
}

impl<'a> ProcessorFiles<'a> {
    /// Starts with the tokenizer alone; the other fields are for the caller to set.
    pub fn new(origin: impl Into<String>, tokenizer: impl Into<Cow<'a, [u8]>>) -> Self {
        Self {
            origin: origin.into(),
            tokenizer: tokenizer.into(),
            tokenizer_config: None,
            processor_config: None,
            preprocessor_config: None,
            video_preprocessor_config: None,
            chat_template: None,
            chat_template_json: None,
        }
    }

    /// Reads the files that a folder holds.
    ///
    /// # Errors
    /// [`Error::Read`] when `tokenizer.json` is absent or a file cannot be read.
    pub fn read(dir: impl AsRef<Path>) -> Result<ProcessorFiles<'static>> {
        let dir = dir.as_ref();
        let optional = |name: &str| read_if_present(&dir.join(name));
        let tokenizer = dir.join(TOKENIZER);
        Ok(ProcessorFiles {
            origin: dir.display().to_string(),
            tokenizer: read_limited(&tokenizer)
                .map_err(|source| Error::Read {
                    path: tokenizer,
                    source,
                })?
                .into(),
            tokenizer_config: optional(TOKENIZER_CONFIG)?,
            processor_config: optional(PROCESSOR_CONFIG)?,
            preprocessor_config: optional("preprocessor_config.json")?,
            video_preprocessor_config: optional("video_preprocessor_config.json")?,
            chat_template: optional(CHAT_TEMPLATE)?,
            chat_template_json: optional(CHAT_TEMPLATE_JSON)?,
        })
    }

    /// The full name of one of the files, for messages.
    pub(crate) fn name_of(&self, file: &str) -> String {
        Path::new(&self.origin).join(file).display().to_string()
    }
}

pub(crate) const TOKENIZER: &str = "tokenizer.json";
pub(crate) const PROCESSOR_CONFIG: &str = "processor_config.json";
pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub(crate) const CHAT_TEMPLATE: &str = "chat_template.jinja";
pub(crate) const CHAT_TEMPLATE_JSON: &str = "chat_template.json";

/// No file that the processor reads is larger; tokenizers reach some 20 MB.
const MAX_FILE_BYTES: u64 = 256 << 20;

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {} MiB", MAX_FILE_BYTES >> 20),
        ));
    }
    Ok(bytes)
}

fn read_if_present(path: &Path) -> Result<Option<Cow<'static, [u8]>>> {
    match read_limited(path) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read {
            path: path.to_owned(),
            source,
        }),
    }
}
