//! A synthetic world with exact answers, on which a small PerceptionLM is trained from nothing.
//!
//! Who is responsible for what:
//!
//! - [`Scene`] says what is in a picture: shapes, digits and words in colour on a grid of 4x4
//!   cells, each of which is one image token of the model. [`Clip`] says what happens in a clip.
//! - [`Picture`] is a scene drawn; clips become animated GIF files.
//! - [`ask`] gives a question of a [`Category`] with the only answer that is right, [`converse`]
//!   several about one picture, [`caption`] all that is there; [`ask_clip`] asks about clips.
//! - [`DataSet`] writes pictures, clips and the rows that `plm-train` reads.
//! - [`write_checkpoint`] writes the config, tokenizer and processor files of the model.
//!
//! Everything is a function of a seed and a number, so a data set can be made again.
//!
//! ```
//! use plm_world::{Backgrounds, DataSet, Task};
//!
//! let set = DataSet { task: Task::Evaluation, seed: 7, backgrounds: Backgrounds::All };
//! let sample = set.sample(6);
//! assert_eq!(sample.turns[0].category.name(), "count");
//! assert_eq!(set.sample(6), sample);
//! assert!(sample.encode("the sample")?.starts_with(b"\x89PNG"));
//! # Ok::<(), plm_world::Error>(())
//! ```

mod caption;
mod checkpoint;
mod clip;
mod colour;
mod dataset;
mod draw;
mod error;
mod form;
mod glyphs;
mod mention;
mod questions;
mod scene;
mod sheet;
mod thing;
mod tokenizer;

pub use caption::{caption, caption_cells};
pub use checkpoint::write_checkpoint;
pub use clip::{Action, Actor, Clip, Direction, FRAME, NUM_FRAMES, ask_clip, converse_clip};
pub use colour::{Background, Backgrounds, Colour, Rgb};
pub use dataset::{DataSet, Medium, ROWS, Sample, Task};
pub use draw::Picture;
pub use error::Error;
pub use questions::{Category, Turn, ask, converse};
pub use scene::{CANVAS, GRID, MAX_THINGS, Scene};
pub use sheet::{clip_sheet, picture_sheet};
pub use thing::{Kind, Quarter, Shape, Size, Thing, WORDS};
pub use tokenizer::tokenizer_json;
