//! The checkpoint that is compiled into the crate: a small model of a synthetic world (see
//! `demo/README.md`).

use crate::checkpoint::CheckpointFiles;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        CheckpointFiles::Embedded(&[$(($name, include_bytes!(concat!("../embedded/", $name)))),*])
    };
}

/// The files of the embedded checkpoint.
pub(crate) static FILES: CheckpointFiles = files![
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
];
