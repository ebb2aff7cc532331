//! A checkpoint's files: a folder in Hugging Face's or Meta's layout, or an embedded copy.

mod arrangement;
mod chunks;
mod files;
mod header;
mod load;
mod low_rank;
mod matrices;
mod nf4;
mod numbers;
mod original;
mod settings;
mod tensors;

pub(crate) use files::{CheckpointFiles, original_folder, read as read_file};
pub(crate) use load::{
    EMBEDDING, Load, OUTPUT, check, load_model, model_bytes, parameters, settle_tying,
    visit_parameters,
};
pub use load::{ParameterVisitor, WeightsError};
pub(crate) use low_rank::LowRank;
pub(crate) use matrices::{
    block_shapes, codes_name, is_codes, linears, matrix_format, quantize, rounded_formats,
    scales_name, stored_format,
};
pub(crate) use nf4::{Nf4Part, is_nf4, round as round_nf4};
pub(crate) use original::{
    CONSOLIDATED, PARAMS, TOKENIZER_MODEL, intermediate_size, leading_ones, meta_name,
};
pub use settings::Checkpoint;
pub(crate) use settings::read_config;
pub use tensors::Weights;
