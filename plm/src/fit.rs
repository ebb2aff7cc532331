//! Settings under which a conversation fits the model's positions.

use plm_processor::{Conversation, EncodeOptions, FrameRule, FrameSampling, Processor};
use plm_processor::{MediaKind, PromptSize, VisionInputType};

use crate::{Checkpoint, Config, Error, PerceptionLM};

/// Steps between showing everything and the least.
const STEPS: usize = 64;

impl PerceptionLM {
    /// The settings nearest to `options` under which a conversation and `max_new_tokens` of an
    /// answer fit the model's positions: fewer tiles a picture, fewer frames a video.
    ///
    /// Where the conversation fits as it is, they are `options` unchanged.
    ///
    /// # Errors
    ///
    /// [`Error::PromptTooLong`] when not even one tile a picture and one frame a video fit; the
    /// processor's error when the text or the template is at fault.
    pub fn fit(
        &self,
        conversation: &Conversation,
        options: &EncodeOptions,
        max_new_tokens: usize,
    ) -> Result<EncodeOptions, Error> {
        let (config, processor) = (self.config(), self.processor());
        Fit::new(config, processor, conversation, max_new_tokens).choose(options)
    }
}

impl Checkpoint {
    /// As [`PerceptionLM::fit`], without the weights.
    ///
    /// # Errors
    ///
    /// As [`PerceptionLM::fit`].
    pub fn fit(
        &self,
        conversation: &Conversation,
        options: &EncodeOptions,
        max_new_tokens: usize,
    ) -> Result<EncodeOptions, Error> {
        let (config, processor) = (&self.config, &self.processor);
        Fit::new(config, processor, conversation, max_new_tokens).choose(options)
    }
}

struct Fit<'a> {
    config: &'a Config,
    processor: &'a Processor,
    conversation: &'a Conversation,
    /// Most tokens of the prompt.
    limit: usize,
}

/// What is chosen: most tiles of a picture's grid, with none for a single tile, and most frames of
/// a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Knobs {
    max_num_tiles: Option<u32>,
    num_frames: usize,
}

/// One tile a picture, one frame a video.
const LEAST: Knobs = Knobs {
    max_num_tiles: None,
    num_frames: 1,
};

impl<'a> Fit<'a> {
    fn new(
        config: &'a Config,
        processor: &'a Processor,
        conversation: &'a Conversation,
        max_new_tokens: usize,
    ) -> Self {
        let max_positions = config.text.max_positions;
        Self {
            config,
            processor,
            conversation,
            // The last token of an answer is never read. An answer may be cut short, a prompt may
            // not: half of the positions are the prompt's.
            limit: (max_positions + 1)
                .saturating_sub(max_new_tokens)
                .max(max_positions / 2),
        }
    }

    fn choose(&self, options: &EncodeOptions) -> Result<EncodeOptions, Error> {
        let size = self.processor.measure(self.conversation, options)?;
        if size.prompt_tokens <= self.limit {
            return Ok(options.clone());
        }
        let most = self.most(options, &size);
        let scaled = |value: usize, step: usize| (value * step).div_ceil(STEPS).max(1);
        let steps = (1..=STEPS).rev().map(|step| Knobs {
            max_num_tiles: most.max_num_tiles.map(|n| scaled(n as usize, step) as u32),
            num_frames: scaled(most.num_frames, step),
        });
        for knobs in steps.chain([LEAST]) {
            let size = self.measure(options, knobs)?;
            if size.prompt_tokens <= self.limit {
                return self.raise(options, knobs, most);
            }
        }
        self.config.check_size(&self.measure(options, LEAST)?)?;
        // It fits, though not with the whole answer.
        Ok(self.with(options, LEAST))
    }

    /// What the options show.
    fn most(&self, options: &EncodeOptions, size: &PromptSize) -> Knobs {
        let config = self.processor.config();
        let vision_input_type = options
            .vision_input_type
            .unwrap_or(config.vision_input_type);
        let frames = size.media.iter().filter(|m| m.kind == MediaKind::Video);
        Knobs {
            max_num_tiles: match vision_input_type {
                VisionInputType::ThumbTile => {
                    Some(options.max_num_tiles.unwrap_or(config.max_num_tiles))
                }
                VisionInputType::Vanilla => None,
            },
            num_frames: frames.map(|m| m.num_tiles).max().unwrap_or(1),
        }
    }

    /// Uses what room is left: for pictures first, then for frames.
    fn raise(
        &self,
        options: &EncodeOptions,
        mut knobs: Knobs,
        most: Knobs,
    ) -> Result<EncodeOptions, Error> {
        loop {
            let more_tiles = Knobs {
                max_num_tiles: match (knobs.max_num_tiles, most.max_num_tiles) {
                    (Some(now), Some(most)) if now < most => Some(now + 1),
                    (now, _) => now,
                },
                ..knobs
            };
            let more_frames = Knobs {
                num_frames: (knobs.num_frames + 1).min(most.num_frames),
                ..knobs
            };
            let mut raised = false;
            for more in [more_tiles, more_frames] {
                if more != knobs && self.measure(options, more)?.prompt_tokens <= self.limit {
                    knobs = more;
                    raised = true;
                    break;
                }
            }
            if !raised {
                return Ok(self.with(options, knobs));
            }
        }
    }

    fn measure(&self, options: &EncodeOptions, knobs: Knobs) -> Result<PromptSize, Error> {
        let options = self.with(options, knobs);
        Ok(self.processor.measure(self.conversation, &options)?)
    }

    fn with(&self, options: &EncodeOptions, knobs: Knobs) -> EncodeOptions {
        let sampling = options.frame_sampling;
        let sampling = sampling.unwrap_or(self.processor.config().frame_sampling);
        let mut fitted = options.clone();
        match knobs.max_num_tiles {
            Some(max_num_tiles) => fitted.max_num_tiles = Some(max_num_tiles),
            None => fitted.vision_input_type = Some(VisionInputType::Vanilla),
        }
        if self.conversation.videos().next().is_some() {
            fitted.frame_sampling = Some(FrameSampling {
                rule: FrameRule::NumFrames(knobs.num_frames),
                allow_fewer: true,
                ..sampling
            });
        }
        fitted
    }
}

#[cfg(all(test, feature = "video"))]
mod tests {
    use plm_processor::{Content, Image, Video};

    use super::*;

    fn load() -> Checkpoint {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/tiny");
        Checkpoint::from_dir(dir).unwrap()
    }

    fn pictures(count: usize) -> Conversation {
        let picture = Image::from_rgb8(64, 48, vec![9; 64 * 48 * 3]).unwrap();
        Conversation::ask("?", vec![Content::from(picture); count])
    }

    fn tokens(checkpoint: &Checkpoint, asked: &Conversation, options: &EncodeOptions) -> usize {
        let size = checkpoint.processor.measure(asked, options).unwrap();
        size.prompt_tokens
    }

    #[test]
    fn what_fits_is_left_alone() {
        let checkpoint = load();
        let options = EncodeOptions::default();
        let fitted = checkpoint.fit(&pictures(3), &options, 100).unwrap();
        assert_eq!(fitted, options);
    }

    #[test]
    fn pictures_and_frames_get_what_room_there_is() {
        let checkpoint = load();
        let clip = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/fixtures/videos/fragments.mp4"
        );
        let videos = vec![Content::from(Video::open(clip).unwrap()); 40];
        let options = EncodeOptions {
            max_num_tiles: Some(36),
            ..EncodeOptions::default()
        };
        let limit = checkpoint.config.text.max_positions + 1 - 100;
        let mixed = pictures(2).user_with("And?", videos);
        for asked in [pictures(40), mixed] {
            let fitted = checkpoint.fit(&asked, &options, 100).unwrap();
            let found = tokens(&checkpoint, &asked, &fitted);
            assert!(
                found <= limit && found > limit * 3 / 4,
                "{found} of {limit}"
            );
        }
    }

    #[test]
    fn what_cannot_fit_is_refused() {
        let checkpoint = load();
        let asked = pictures(600);
        let error = checkpoint
            .fit(&asked, &EncodeOptions::default(), 1)
            .unwrap_err();
        assert!(matches!(error, Error::PromptTooLong { .. }), "{error}");
        // An answer may be cut short where the prompt fits.
        let asked = pictures(400);
        let fitted = checkpoint
            .fit(&asked, &EncodeOptions::default(), 4000)
            .unwrap();
        assert!(tokens(&checkpoint, &asked, &fitted) <= 2048);
    }
}
