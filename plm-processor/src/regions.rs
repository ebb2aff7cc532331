//! Where and when: boxes and intervals as PerceptionLM writes them.
//!
//! A question is built with the words and the notation of the model, and reads the answer back:
//!
//! | what is asked | type | what is found in the answer |
//! |---|---|---|
//! | where a phrase is in a picture | [`Grounding`] | [`PixelBox`] |
//! | what a region of a picture shows | [`RegionCaption`] | the answer is the caption |
//! | what happens in a region of a clip | [`ClipCaption`] | the answer is the caption |
//! | when an event happens in a clip | [`EventLocation`] | [`Interval`] |
//! | what happens when in a clip | [`DenseCaptions`] | [`DenseCaption`] |
//!
//! Boxes are in pixels here and in parts of the picture in texts; [`BoxFormat`] goes from one to
//! the other, and [`Parsed`] holds what an answer said, with the text, understood or not. Frames
//! of a [`Clip`] are counted from 0 among those that the model is shown; [`Interval::positions`]
//! gives their places and times in the video. [`Image::with_box`](crate::Image::with_box) and
//! [`Video::with_boxes`](crate::Video::with_boxes) draw boxes as the model knows them.
//!
//! Conventions are those of Meta's `perception_models` (`core/transforms/region_transform.py`,
//! `core/transforms/video_transform.py`, the notebook `image_grounding.ipynb`) and of PLM-VideoBench
//! in `lmms-eval`.
//!
//! ```
//! use plm_processor::Image;
//! use plm_processor::regions::{BoxFormat, Grounding};
//!
//! let picture = Image::from_rgb8(640, 480, vec![90; 640 * 480 * 3])?;
//! let question = Grounding {
//!     image: picture.clone(),
//!     phrase: "the white fire hydrant".into(),
//!     format: BoxFormat::default(),
//! };
//! let conversation = question.conversation(); // to be answered by the model
//!
//! let answer = question.read("[040,482,112,576]");
//! assert_eq!(answer.found[0].xyxy().map(f64::round), [26.0, 231.0, 72.0, 276.0]);
//! let annotated = picture.with_box(&answer.found[0]);
//! # assert_ne!(annotated, picture);
//!
//! let answer = question.read("There is none.");
//! assert!(answer.found.is_empty());
//! assert_eq!(answer.text, "There is none.");
//! # Ok::<(), plm_processor::Error>(())
//! ```

mod box_format;
mod clip;
mod draw;
mod fault;
mod frame_boxes;
mod interval;
mod lists;
mod parsed;
mod pixel_box;
mod placeholders;
mod questions;

pub use box_format::{BoxFormat, BoxOrder, Coordinates};
pub use clip::Clip;
pub use draw::{BOX_COLOUR, BOX_WIDTH_PX};
pub use fault::RegionFault;
pub use frame_boxes::frame_boxes_from_json;
pub use interval::{DenseCaption, Interval};
pub use parsed::{Misread, Parsed};
pub use pixel_box::PixelBox;
pub use questions::{
    ClipCaption, DenseCaptions, EventLocation, Grounding, RegionCaption, RegionMark,
};
