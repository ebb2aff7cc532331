use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// Arguments that contradict each other, or lack something.
    #[error("{what}")]
    Usage {
        /// The arguments and the rule.
        what: String,
    },
    /// `--model` names nothing.
    #[error(
        "`{name}` is neither a folder nor a hub id of the form owner/name; give the folder of a checkpoint in Hugging Face layout"
    )]
    NoSuchModel {
        /// What was given.
        name: String,
    },
    /// `--model` names a file.
    #[error("`{name}` is a file; give the folder that holds the checkpoint")]
    ModelIsFile {
        /// What was given.
        name: String,
    },
    /// `--model` can only be a hub id, and the hub does not give it.
    #[cfg(feature = "hub")]
    #[error("`{name}` is no folder here, and the hub does not give it")]
    HubModel {
        /// What was given.
        name: String,
        /// What the hub said.
        source: plm::Error,
    },
    /// `--model` can only be a hub id, and this binary has no hub.
    #[cfg(not(feature = "hub"))]
    #[error(
        "`{name}` is no folder here, and this binary was built without feature `hub`, so that hub ids do not work"
    )]
    NoHub {
        /// What was given.
        name: String,
    },
    /// An input cannot be read.
    #[error("cannot read {name}")]
    Read {
        /// The file, or standard input.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Tensors cannot be written to a file.
    #[error("cannot write {}", path.display())]
    WriteTensors {
        /// The file.
        path: PathBuf,
        /// Why.
        source: safetensors::SafeTensorError,
    },
    /// A region of which nothing can be seen.
    #[error(
        "the box {corners:?} lies outside of {}, which is {width}x{height} pixels", path.display()
    )]
    BoxOutside {
        /// Left, top, right and bottom.
        corners: [f64; 4],
        /// The picture or video.
        path: PathBuf,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// A batch without conversations.
    #[error("{name} holds no conversation; write one list of messages a line")]
    EmptyBatch {
        /// The file, or standard input.
        name: String,
    },
    /// Lines of a chat that is read from a pipe; each has been told on its own.
    #[error("{count} lines of the chat failed")]
    ChatLines {
        /// How many.
        count: usize,
    },
    /// An error in a file that holds conversations.
    #[error("{place}")]
    At {
        /// The file, and the line where there are several conversations.
        place: String,
        /// What is wrong there.
        source: Box<Error>,
    },
    /// A format that could not be measured; its process has said why.
    #[error("{format} could not be measured")]
    Bench {
        /// The format.
        format: String,
    },
    /// The threads cannot be started.
    #[error("cannot start {count} threads")]
    Threads {
        /// How many were asked for.
        count: u16,
        /// Why.
        source: rayon::ThreadPoolBuildError,
    },
    /// Standard output cannot be written to.
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
    /// Training.
    #[error(transparent)]
    Train(#[from] Box<plm_train::Error>),
    /// The model, or the way to it.
    #[error(transparent)]
    Model(#[from] plm::Error),
}

impl From<plm_train::Error> for Error {
    fn from(error: plm_train::Error) -> Self {
        Self::Train(Box::new(error))
    }
}

impl Error {
    /// An error in the arguments.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::Usage { what: what.into() }
    }

    /// Names the place in a file where the error is.
    pub(crate) fn at(self, place: impl Into<String>) -> Self {
        Self::At {
            place: place.into(),
            source: Box::new(self),
        }
    }

    /// The exit code that tells wrong arguments from other errors.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            _ => 1,
        }
    }

    /// Whether whoever read standard output has had enough, which is no error.
    pub(crate) fn is_closed_output(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<plm_processor::Error> for Error {
    fn from(error: plm_processor::Error) -> Self {
        Self::Model(error.into())
    }
}

/// The error and its causes in one line.
///
/// Some errors repeat their cause in their own message, so a cause that is already there is left
/// out.
pub(crate) fn one_line(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let message = cause.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        next = cause.source();
    }
    let words = text.split(char::is_control).map(str::trim);
    words
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_joined_in_one_line() {
        let error = Error::Read {
            name: "a.json".into(),
            source: io::Error::other("first\n  second"),
        };
        let error = error.at("b.jsonl, line 3");
        assert_eq!(
            one_line(&error),
            "b.jsonl, line 3: cannot read a.json: first second"
        );
    }

    #[test]
    fn a_cause_that_the_message_repeats_stands_once() {
        let source = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let error = Error::from(plm_processor::Error::Read {
            path: "a.png".into(),
            source,
        });
        assert_eq!(one_line(&error), "cannot read a.png: no such file");
    }

    #[test]
    fn only_wrong_arguments_exit_with_2() {
        assert_eq!(Error::usage("no").exit_code(), 2);
        assert_eq!(Error::Output(io::ErrorKind::Other.into()).exit_code(), 1);
        assert!(Error::Output(io::ErrorKind::BrokenPipe.into()).is_closed_output());
    }
}
