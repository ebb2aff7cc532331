use std::sync::Arc;

/// What a model is doing that takes long, and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Weights are read.
    Loading {
        /// Bytes read from the weight files.
        bytes: u64,
        /// Bytes that will be read in all.
        total_bytes: u64,
    },
    /// A picture goes through the vision tower.
    Encoding {
        /// Tiles done.
        tiles: usize,
        /// Tiles of the picture.
        total_tiles: usize,
    },
    /// A prompt goes through the decoder.
    Reading {
        /// Tokens read.
        tokens: usize,
        /// Tokens to read.
        total_tokens: usize,
    },
}

/// Told of progress, on the thread that does the work.
pub type ProgressFn = Arc<dyn Fn(Progress) + Send + Sync>;
