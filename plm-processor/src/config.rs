//! What the processor files of a checkpoint say.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files::{PROCESSOR_CONFIG, ProcessorFiles};
use crate::tiles::{Normalization, VisionInputType};
use crate::video::FrameSampling;

/// Largest `tile_size` that is accepted.
pub const MAX_TILE_SIZE: u32 = 4096;
/// Largest `max_num_tiles` that is accepted.
pub const MAX_NUM_TILES: u32 = 1024;
/// Most bytes that the tiles of one picture may take.
pub const MAX_TILE_BYTES: u64 = 1 << 30;

/// The settings of a checkpoint's processor.
///
/// Read from `preprocessor_config.json` and `video_preprocessor_config.json`, or from the
/// `image_processor` and `video_processor` sections of `processor_config.json`, which win.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ProcessorConfig {
    /// Side of a tile in pixels.
    pub tile_size: u32,
    /// Side of a video frame's tile in pixels.
    pub frame_size: u32,
    /// Most tiles of a grid, the thumbnail not counted.
    pub max_num_tiles: u32,
    /// How pictures become tiles.
    pub vision_input_type: VisionInputType,
    /// Side of a patch in pixels.
    pub patch_size: u32,
    /// Patches along one side that are pooled into one token.
    pub pooling_ratio: u32,
    /// How bytes of pictures become numbers.
    pub image_normalization: Normalization,
    /// How bytes of video frames become numbers.
    pub video_normalization: Normalization,
    /// Which frames of a video are shown; in the released checkpoints, all.
    pub frame_sampling: FrameSampling,
}

impl ProcessorConfig {
    /// Reads the settings from the processor files.
    ///
    /// # Errors
    /// [`Error::MissingFile`], [`Error::Json`], [`Error::MissingField`] and
    /// [`Error::InvalidConfig`].
    pub fn from_files(files: &ProcessorFiles<'_>) -> Result<Self> {
        if files.processor_config.is_none() {
            return Err(Error::MissingFile {
                file: files.name_of(PROCESSOR_CONFIG),
            });
        }
        let processor = Section::parse(files, PROCESSOR_CONFIG, files.processor_config.as_deref())?;
        let image = Section::parse(files, IMAGE, files.preprocessor_config.as_deref())?
            .overridden_by(&processor, "image_processor")?;
        let video = Section::parse(files, VIDEO, files.video_preprocessor_config.as_deref())?
            .overridden_by(&processor, "video_processor")?;

        image.require_plain_steps()?;
        video.require_plain_steps()?;
        let image_size = image.square_size()?;
        let tile_size = match image.count("tile_size")? {
            Some(tile_size) => tile_size,
            None => image_size.unwrap_or(DEFAULT_TILE_SIZE),
        };
        let config = Self {
            tile_size,
            frame_size: video.square_size()?.unwrap_or(tile_size),
            max_num_tiles: image
                .count("max_num_tiles")?
                .unwrap_or(DEFAULT_MAX_NUM_TILES),
            vision_input_type: match image.get::<String>("vision_input_type")? {
                Some(name) => name.parse().map_err(|_| {
                    let known = "`thumb+tile` or `vanilla`";
                    invalid(&image.file, "vision_input_type", &name, known)
                })?,
                None => VisionInputType::default(),
            },
            patch_size: processor.required_count("patch_size")?,
            pooling_ratio: processor.required_count("pooling_ratio")?,
            image_normalization: image.normalization()?,
            video_normalization: video.normalization()?,
            frame_sampling: video.frame_sampling()?,
        };
        config.check(&image.file, &processor.file)?;
        Ok(config)
    }

    fn check(&self, image_file: &str, processor_file: &str) -> Result<()> {
        check_range(image_file, "tile_size", self.tile_size, MAX_TILE_SIZE)?;
        check_range(image_file, "size", self.frame_size, MAX_TILE_SIZE)?;
        check_range(
            processor_file,
            "patch_size",
            self.patch_size,
            self.tile_size,
        )?;
        let patches = self.tile_size.min(self.frame_size) / self.patch_size;
        check_range(processor_file, "pooling_ratio", self.pooling_ratio, patches)?;
        self.check_max_num_tiles(image_file, self.max_num_tiles)
    }

    /// Refuses a tile count that cannot be meant, from a file or from the options.
    pub(crate) fn check_max_num_tiles(&self, file: &str, max_num_tiles: u32) -> Result<()> {
        let tile_bytes = 3 * u64::from(self.tile_size) * u64::from(self.tile_size);
        let affordable = u32::try_from(MAX_TILE_BYTES / tile_bytes).unwrap_or(u32::MAX);
        let most = affordable.saturating_sub(1).clamp(1, MAX_NUM_TILES);
        check_range(file, "max_num_tiles", max_num_tiles, most)
    }

    /// Image tokens of one tile.
    #[must_use]
    pub fn tokens_per_tile(&self) -> usize {
        self.tokens_of_side(self.tile_size)
    }

    /// Video tokens of one frame.
    #[must_use]
    pub fn tokens_per_frame(&self) -> usize {
        self.tokens_of_side(self.frame_size)
    }

    /// What does not fill a patch, or a pool, is lost: two divisions, each rounded down.
    fn tokens_of_side(&self, size: u32) -> usize {
        let side = (size / self.patch_size / self.pooling_ratio) as usize;
        side * side
    }
}

const IMAGE: &str = "preprocessor_config.json";
const VIDEO: &str = "video_preprocessor_config.json";

const DEFAULT_TILE_SIZE: u32 = 448;
const DEFAULT_MAX_NUM_TILES: u32 = 36;
/// Bicubic in the numbering of the reference.
const BICUBIC: u64 = 3;

fn check_range(file: &str, field: &'static str, value: u32, most: u32) -> Result<()> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(invalid(file, field, value, format!("between 1 and {most}")))
}

fn invalid(
    file: &str,
    field: &'static str,
    value: impl ToString,
    expected: impl Into<String>,
) -> Error {
    Error::InvalidConfig {
        file: file.to_owned(),
        field,
        value: value.to_string(),
        expected: expected.into(),
    }
}

/// One JSON object with the name of the file that it came from.
struct Section {
    file: String,
    fields: Map<String, Value>,
}

impl Section {
    fn parse(files: &ProcessorFiles<'_>, name: &str, bytes: Option<&[u8]>) -> Result<Self> {
        let file = files.name_of(name);
        let fields = match bytes {
            None => Map::new(),
            Some(bytes) => serde_json::from_slice(bytes).map_err(|source| Error::Json {
                file: file.clone(),
                source,
            })?,
        };
        Ok(Self { file, fields })
    }

    /// Takes the section `name` of the processor's own file instead of this file, if there is one.
    fn overridden_by(mut self, processor: &Section, name: &'static str) -> Result<Self> {
        match processor.fields.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::Object(nested)) => {
                self.file = format!("{} (`{name}`)", processor.file);
                self.fields = nested.clone();
            }
            Some(other) => return Err(invalid(&processor.file, name, other, "an object")),
        }
        Ok(self)
    }

    /// A field's value; `null` counts as absent.
    fn get<T: for<'de> Deserialize<'de>>(&self, field: &'static str) -> Result<Option<T>> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value)
                .map(Some)
                .map_err(|error| invalid(&self.file, field, value, error.to_string())),
        }
    }

    fn count(&self, field: &'static str) -> Result<Option<u32>> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64().and_then(|value| u32::try_from(value).ok()) {
                Some(value) => Ok(Some(value)),
                None => Err(invalid(&self.file, field, value, "a whole number")),
            },
        }
    }

    fn required_count(&self, field: &'static str) -> Result<u32> {
        self.count(field)?.ok_or_else(|| Error::MissingField {
            file: self.file.clone(),
            field,
        })
    }

    /// Tiles are squares, so a size is one number.
    fn square_size(&self) -> Result<Option<u32>> {
        let Some(size) = self.get::<Map<String, Value>>("size")? else {
            return Ok(None);
        };
        let side = |name: &str| {
            size.get(name)
                .and_then(Value::as_u64)
                .and_then(|side| u32::try_from(side).ok())
        };
        match (side("height"), side("width")) {
            (Some(height), Some(width)) if height == width => Ok(Some(height)),
            _ => Err(invalid(
                &self.file,
                "size",
                Value::Object(size),
                "an object with equal `height` and `width`",
            )),
        }
    }

    /// Refuses a file that switches a step off, or on, that this crate does not vary.
    fn require_plain_steps(&self) -> Result<()> {
        let steps = [
            ("do_resize", true),
            ("do_rescale", true),
            ("do_normalize", true),
            ("do_convert_rgb", true),
            ("do_center_crop", false),
        ];
        for (field, expected) in steps {
            // The reference takes null for no.
            let value = match self.fields.get(field) {
                Some(Value::Null) => false,
                _ => self.get::<bool>(field)?.unwrap_or(expected),
            };
            if value != expected {
                let found = &self.fields[field];
                return Err(invalid(&self.file, field, found, expected.to_string()));
            }
        }
        if let Some(value) = self.get::<Value>("resample")?
            && value.as_u64() != Some(BICUBIC)
        {
            return Err(invalid(&self.file, "resample", value, "3 (bicubic)"));
        }
        Ok(())
    }

    fn frame_sampling(&self) -> Result<FrameSampling> {
        let num_frames = self.count("num_frames")?;
        Ok(match (num_frames, self.get::<f64>("fps")?) {
            (Some(_), Some(fps)) => {
                return Err(invalid(
                    &self.file,
                    "fps",
                    fps,
                    "absent beside `num_frames`",
                ));
            }
            (Some(count), None) => FrameSampling::num_frames(count as usize),
            (None, Some(fps)) => FrameSampling::fps(fps),
            (None, None) => FrameSampling::default(),
        })
    }

    fn normalization(&self) -> Result<Normalization> {
        let mean = self.get::<[f32; 3]>("image_mean")?.unwrap_or([0.5; 3]);
        let std = self.get::<[f32; 3]>("image_std")?.unwrap_or([0.5; 3]);
        let factor = self.get::<f64>("rescale_factor")?.unwrap_or(1.0 / 255.0);
        if !mean.iter().all(|mean| mean.is_finite()) {
            return Err(invalid(
                &self.file,
                "image_mean",
                format!("{mean:?}"),
                "finite",
            ));
        }
        if !std.iter().all(|std| std.is_normal() && *std > 0.0) {
            return Err(invalid(
                &self.file,
                "image_std",
                format!("{std:?}"),
                "above 0",
            ));
        }
        if !(factor.is_normal() && factor > 0.0) {
            return Err(invalid(&self.file, "rescale_factor", factor, "above 0"));
        }
        Ok(Normalization::new(mean, std, factor))
    }
}

#[cfg(test)]
mod tests;
