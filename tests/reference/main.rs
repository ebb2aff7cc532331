//! Tests across crates, in one binary. Where a new test goes:
//!
//! | module | what it holds |
//! |---|---|
//! | `cases` | whole conversations against the Python reference: ids, tiles, logits, answers |
//! | `stages` | intermediate results against the reference: tables, tower, projector, decoder |
//! | `sampling` | probabilities against the reference |
//! | `precision` | weights in f32, bf16 and f16 |
//! | `blocks` | weights in 8 and 4 bits, and weights left in their files |
//! | `nf4` | weights in NF4 against bitsandbytes, and adapters beside them |
//! | `caches` | what a model keeps between answers |
//! | `adapters` | LoRA and DoRA adapters: beside the weights, and merged into them |
//! | `exact_match` | how often a model answers as a file says |
//! | `embedded_model` | what the model that is compiled in knows |
//! | `device_activations` | what a device does between products |
//! | `device_failures` | what a device cannot do |
//! | `device_logits` | the greatest logit on a device |
//! | `device_prefill` | long prompts on a device |
//! | `device_weights` | products of weights in every format on a device |
//! | `finetune` | training steps against the reference's |
//! | `training_runs` | whole runs: files of samples, checkpoints |
//! | `loading` | damaged, lying and absurd checkpoints |
//! | `original` | Meta's layout, and conversion from one layout to the other |
//! | `answering` | stream, batch, session, score and stop strings against each other |
//! | `checkpoint_copy` | a copy of a checkpoint that a test may damage |
//! | `reference_data` | finds and reads the reference's results |
//!
//! The project's own fixtures (`tests/fixtures`) always run. A larger set of reference results is
//! used where the environment variable `PLM_GOLDEN` or the folder `../shared/golden` leads to one.

mod adapters;
mod answering;
mod blocks;
mod caches;
mod cases;
mod checkpoint_copy;
mod device_activations;
mod device_failures;
mod device_logits;
mod device_prefill;
mod device_weights;
mod embedded_model;
mod exact_match;
mod finetune;
mod loading;
mod nf4;
mod original;
mod precision;
mod reference_data;
mod sampling;
mod stages;
mod training_runs;
