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
