//! A folder (or an embedded copy) of a checkpoint in Hugging Face layout.

mod files;
mod load;
mod settings;
mod tensors;

pub(crate) use files::CheckpointFiles;
pub use load::WeightsError;
pub(crate) use load::{load_model, model_bytes, parameters, settle_tying};
pub use settings::Checkpoint;
pub use tensors::Weights;
