use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use plm::{Content, Conversation, Image, Message, Role, Video};

use crate::error::Error;

/// Longest file of conversations that is read.
const MAX_TEXT_BYTES: u64 = 256 << 20;

/// One conversation that is still to be read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ConversationSource {
    /// A question on the command line.
    Question {
        /// Pictures in order.
        images: Vec<PathBuf>,
        /// Videos in order.
        videos: Vec<PathBuf>,
        /// The question; pictures and videos may come without.
        prompt: Option<String>,
        /// A system text.
        system: Option<String>,
    },
    /// A file with a JSON list of messages.
    Messages {
        /// The file.
        file: TextSource,
        /// Where relative paths in it start.
        media_root: PathBuf,
    },
}

impl ConversationSource {
    /// Reads the conversation and opens its media.
    pub(crate) fn read(&self) -> Result<Conversation, Error> {
        match self {
            Self::Question {
                images,
                videos,
                prompt,
                system,
            } => {
                let mut content = open_media(images, videos)?;
                content.extend(prompt.as_deref().map(Content::from));
                Ok(Conversation {
                    system: system.clone(),
                    messages: vec![Message {
                        role: Role::User,
                        content,
                    }],
                })
            }
            Self::Messages { file, media_root } => {
                Conversation::from_json_str(&file.read()?, media_root)
                    .map_err(|error| Error::from(error).at(file.name()))
            }
        }
    }

    /// Names the file that holds the conversation in an error that came of it.
    pub(crate) fn blame(&self, error: impl Into<Error>) -> Error {
        match self {
            Self::Question { .. } => error.into(),
            Self::Messages { file, .. } => error.into().at(file.name()),
        }
    }
}

/// Opens pictures, then videos, each in order.
pub(crate) fn open_media(images: &[PathBuf], videos: &[PathBuf]) -> Result<Vec<Content>, Error> {
    let images = images.iter().map(|path| Ok(Image::open(path)?.into()));
    let videos = videos.iter().map(|path| Ok(Video::open(path)?.into()));
    images.chain(videos).collect()
}

/// A file with one conversation a line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BatchSource {
    /// The file.
    pub(crate) file: TextSource,
    /// Where relative paths in it start.
    pub(crate) media_root: PathBuf,
}

/// A conversation of a batch that is still to be read.
#[derive(Debug)]
pub(crate) struct BatchLine {
    /// The file and the line's number.
    pub(crate) place: String,
    json: String,
    media_root: PathBuf,
}

impl BatchSource {
    /// The lines of the file that are not blank.
    pub(crate) fn lines(&self) -> Result<Vec<BatchLine>, Error> {
        let text = self.file.read()?;
        let name = self.file.name();
        let lines: Vec<BatchLine> = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(index, line)| BatchLine {
                place: format!("{name}, line {}", index + 1),
                json: line.to_owned(),
                media_root: self.media_root.clone(),
            })
            .collect();
        if lines.is_empty() {
            return Err(Error::EmptyBatch { name });
        }
        Ok(lines)
    }
}

impl BatchLine {
    /// Reads the conversation with its pictures.
    pub(crate) fn conversation(&self) -> Result<Conversation, Error> {
        Conversation::from_json_str(&self.json, &self.media_root)
            .map_err(|error| Error::from(error).at(&self.place))
    }
}

/// A file, or standard input, which is written `-`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TextSource {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl TextSource {
    pub(crate) fn new(path: PathBuf) -> Self {
        if path.as_os_str() == "-" {
            Self::Stdin
        } else {
            Self::File(path)
        }
    }

    /// The folder of the file; for standard input, the current one.
    pub(crate) fn folder(&self) -> &Path {
        match self {
            Self::Stdin => Path::new(""),
            Self::File(path) => path.parent().unwrap_or(Path::new("")),
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    pub(crate) fn read(&self) -> Result<String, Error> {
        let text = match self {
            Self::Stdin => read_limited(io::stdin().lock()),
            Self::File(path) => File::open(path).and_then(read_limited),
        };
        text.map_err(|source| Error::Read {
            name: self.name(),
            source,
        })
    }
}

/// Reads a text up to its end, which must come within [`MAX_TEXT_BYTES`].
fn read_limited(reader: impl Read) -> io::Result<String> {
    let mut text = String::new();
    reader.take(MAX_TEXT_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_TEXT_BYTES {
        return Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("it is longer than {} MiB", MAX_TEXT_BYTES >> 20),
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_text_without_end_is_refused() {
        let error = read_limited(io::repeat(b'a')).unwrap_err();
        assert_eq!(error.to_string(), "it is longer than 256 MiB");
    }

    #[test]
    fn blank_lines_of_a_batch_are_counted_and_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.jsonl");
        let source = BatchSource {
            file: TextSource::new(path.clone()),
            media_root: dir.path().to_owned(),
        };
        fs::write(
            &path,
            "\n[{\"role\": \"user\", \"content\": \"a\"}]\r\n \n{}\n",
        )
        .unwrap();
        let lines = source.lines().unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].conversation().unwrap(), Conversation::from("a"));
        let error = lines[1].conversation().unwrap_err().to_string();
        assert!(error.ends_with("b.jsonl, line 4"), "{error}");
        fs::write(&path, " \n").unwrap();
        assert!(matches!(source.lines(), Err(Error::EmptyBatch { .. })));
    }

    #[test]
    fn relative_paths_start_at_the_file() {
        assert_eq!(TextSource::new("a/b.json".into()).folder(), Path::new("a"));
        assert_eq!(TextSource::new("b.json".into()).folder(), Path::new(""));
        assert_eq!(TextSource::new("-".into()).folder(), Path::new(""));
    }
}
