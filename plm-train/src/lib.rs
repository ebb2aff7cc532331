//! Fine-tuning of PerceptionLM.
//!
//! The model that is trained is [`plm::Model`] itself, on a device that takes gradients. [`prepare`]
//! says what of it is trained ([`Trainable`]): everything, everything but the vision tower, the
//! projector alone, everything but the decoder, or LoRA and DoRA adapters beside weights of any
//! format. A [`Sample`] is a prompt with the tokens that are to be learnt; a [`Trainer`] makes
//! steps of AdamW on batches of them. [`save_adapter`] writes adapters as PEFT does, [`save_model`]
//! the weights as Hugging Face does, and both load in Python.
//!
//! [`fine_tune`] is a whole run, as a [`Config`] says it: samples in Meta's JSONL are read in the
//! background, checkpoints are written and resumed, the model is evaluated. It begins with a
//! checkpoint's weights, or with random ones. [`plot_metrics`] draws the curve of its losses. [`exact_match`] counts how often a model answers as a
//! file of the same kind says.
//!
//! ```
//! use plm::{Conversation, EncodeOptions, LoadOptions, PerceptionLM, Precision};
//! use plm_train::{LoraConfig, Sample, Trainable, Trainer, TrainerConfig, prepare};
//!
//! let options = LoadOptions { precision: Precision::F32, ..LoadOptions::default() };
//! let plm = PerceptionLM::embedded(&options)?;
//! let talk = Conversation::ask("What is the capital of France?", []).assistant("Paris.");
//! let sample = plm.processor().encode_for_training(&talk, &EncodeOptions::default(), 512)?;
//! let sample = Sample::of_answers(sample);
//!
//! let model = prepare(plm.model().clone(), &Trainable::Lora(LoraConfig::default()), 0)?;
//! let mut trainer = Trainer::new(model, TrainerConfig { learning_rate: 1e-3, ..TrainerConfig::default() });
//! let first = trainer.step(&[&[sample.clone()]])?.loss;
//! let second = trainer.step(&[&[sample]])?.loss;
//! assert!(second < first);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adamw;
mod checkpoint;
mod checkpointing;
/// The config of a run.
pub mod config;
mod data;
mod error;
mod evaluation;
mod exact_match;
mod gradients;
mod lora;
mod loss;
mod metrics;
mod order;
mod parallel;
mod plot;
mod rows;
mod run;
mod sample;
mod save;
mod schedule;
mod trainable;
mod trainer;

pub use config::Config;
pub use error::{Error, RowError};
pub use evaluation::Evaluation;
pub use exact_match::{Answered, ExactMatch, ExactMatchOptions, Tally, exact_match};
pub use lora::{LoraConfig, TargetModules};
pub use loss::loss;
pub use plot::plot_metrics;
pub use run::{Event, Flow, Outcome, fine_tune};
pub use sample::Sample;
pub use save::{save_adapter, save_model};
pub use schedule::Schedule;
pub use trainable::{Trainable, prepare};
pub use trainer::{StepReport, Trainer, TrainerConfig};
