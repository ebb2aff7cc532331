use std::io;
use std::path::PathBuf;

/// What can go wrong in training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that is out of range or contradicts another.
    #[error("{what}")]
    Config {
        /// The setting and the rule.
        what: String,
    },
    /// A batch in which nothing is to be learnt.
    #[error("no token of the batch is to be learnt")]
    NothingToLearn,
    /// The loss or its gradient is infinite or not a number; the model is as before the step.
    #[error("step {step}: the {what} is {value}; try a lower learning rate")]
    Diverged {
        /// The step.
        step: usize,
        /// The loss or the gradient.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// A file cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that should hold what happened in a run has no step of training.
    #[error("{}: holds no step of training; give the metrics.jsonl of a run", path.display())]
    NoSteps {
        /// The file.
        path: PathBuf,
    },
    /// A config is no TOML, or has a field that there is not, or lacks one.
    #[error("{}: not the expected TOML", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// The state of a checkpoint is damaged.
    #[error("{}: not the state of a run", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A sample that cannot be read.
    #[error(transparent)]
    Row(#[from] RowError),
    /// A file or folder cannot be written.
    #[error("{}: cannot be written", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The model.
    #[error(transparent)]
    Model(#[from] plm::Error),
}

/// A sample that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[error("{}, line {line}: {what}", path.display())]
pub struct RowError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}
