//! What can go wrong when data are written.

use std::io;
use std::path::{Path, PathBuf};

use crate::Category;

/// Why a data set, a picture or a checkpoint's folder cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder has contents already.
    #[error("{} is not empty; name a new folder", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A file or folder cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A picture cannot be encoded.
    #[error("cannot encode {name} as PNG")]
    Png {
        /// What the picture shows.
        name: String,
        /// The reason.
        #[source]
        source: png::EncodingError,
    },
    /// A clip cannot be encoded.
    #[error("cannot encode {name} as GIF")]
    Gif {
        /// What the clip shows.
        name: String,
        /// The reason.
        #[source]
        source: gif::EncodingError,
    },
    /// The tokenizer cannot be made.
    #[error("cannot make the tokenizer")]
    Tokenizer(#[from] plm_processor::Error),
    /// A share that is no share.
    #[error("{name} is {value}; it must be from 0 to 1")]
    Share {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// Lists or questions of categories that have none, or of no category.
    #[error(
        "there are none of category {}; there are of {}",
        names(unknown),
        names(known)
    )]
    Categories {
        /// The categories that were asked for and have none.
        unknown: Vec<Category>,
        /// Those that have some.
        known: &'static [Category],
    },
}

fn names(categories: &[Category]) -> String {
    let names: Vec<&str> = categories.iter().map(|category| category.name()).collect();
    match names.is_empty() {
        true => "nothing".to_owned(),
        false => names.join(", "),
    }
}

impl Error {
    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write {
            path: path.to_owned(),
            source,
        }
    }
}
