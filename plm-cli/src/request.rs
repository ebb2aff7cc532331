//! Checked requests: what the arguments ask for, with every contradiction refused.

use std::path::PathBuf;

use plm::regions::Clip;
use plm::{
    Checkpoint, Conversation, Decoding, DeviceChoice, EncodeOptions, FrameRule, FrameSampling,
    LoadOptions, Penalties, PerceptionLM, Prompt, RandomSampling, Sampling, Video,
};

use crate::args::{ConversationArgs, DecodingArgs, GenerateArgs, RunArgs, TileArgs};
use crate::conversations::{BatchSource, ConversationSource, TextSource};
use crate::error::{Error, one_line};
use crate::model::ModelSource;
use crate::{output, threads};

/// A checkpoint and how it is loaded.
#[derive(Debug)]
pub(crate) struct ModelRequest {
    pub(crate) source: ModelSource,
    pub(crate) options: LoadOptions,
    /// Whether less is shown where a prompt would not fit.
    fit: bool,
    threads: Option<u16>,
}

impl ModelRequest {
    pub(crate) fn check(args: RunArgs, encoding: EncodeOptions) -> Result<Self, Error> {
        let built_in = args.device.device.check_built_in();
        built_in.map_err(|error| Error::usage(error.to_string()))?;
        Ok(Self {
            source: ModelSource::parse(args.model.model)?,
            options: LoadOptions {
                device: args.device.device,
                precision: args.dtype,
                quantize: args.quantize.format(),
                matmul_precision: args.matmul.precision(),
                adapters: args.adapters,
                copy_weights: args.copy_weights,
                encoding,
                ..LoadOptions::default()
            },
            fit: false,
            threads: args.threads,
        })
    }

    /// Shows less where a prompt would not fit, if `fit` says so.
    pub(crate) fn fitting(self, fit: bool) -> Self {
        Self { fit, ..self }
    }

    /// How a conversation is encoded, with room for an answer where it is to fit.
    pub(crate) fn encoding(
        &self,
        checkpoint: &Checkpoint,
        conversation: &Conversation,
        max_new_tokens: usize,
    ) -> Result<EncodeOptions, Error> {
        let given = &self.options.encoding;
        Ok(match self.fit {
            true => checkpoint.fit(conversation, given, max_new_tokens)?,
            false => given.clone(),
        })
    }

    /// Encodes a conversation for a loaded model, as [`encoding`](Self::encoding) says.
    pub(crate) fn encode(
        &self,
        plm: &PerceptionLM,
        conversation: &Conversation,
        max_new_tokens: usize,
    ) -> Result<Prompt, Error> {
        let given = &self.options.encoding;
        if !self.fit {
            return Ok(plm.encode(conversation)?);
        }
        let fitted = plm.fit(conversation, given, max_new_tokens)?;
        let prompt = plm.encode_with(conversation, &fitted)?;
        if fitted != *given {
            output::note(&format!(
                "note: the prompt is made to fit: {} tiles and frames in all, {} tokens",
                prompt.num_tiles(),
                prompt.len()
            ));
        }
        Ok(prompt)
    }

    /// Loads the model.
    pub(crate) fn load(&self) -> Result<PerceptionLM, Error> {
        threads::limit(self.threads)?;
        let plm = self.source.load(&self.options)?;
        let chosen = plm.device_choice();
        if self.options.device == DeviceChoice::Auto && chosen != DeviceChoice::Flex {
            output::note(&format!("note: computing on device {chosen}"));
        }
        Ok(plm)
    }
}

/// What `plm generate` is to do.
#[derive(Debug)]
pub(crate) struct GenerateRequest {
    pub(crate) model: ModelRequest,
    pub(crate) questions: Questions,
    pub(crate) decoding: Decoding,
    pub(crate) wanted: Wanted,
}

/// What `plm generate` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The answer's text.
    Text,
    /// The answer's text as it comes.
    Stream,
    /// The answer with everything about it.
    Json,
    /// What the answer would cost, for people.
    Estimate,
    /// What the answer would cost, for programs.
    EstimateJson,
}

/// One conversation or many.
#[derive(Debug)]
pub(crate) enum Questions {
    One(ConversationSource),
    Batch(BatchSource),
}

impl GenerateRequest {
    pub(crate) fn check(args: GenerateArgs) -> Result<Self, Error> {
        let decoding = decoding(args.decoding)?;
        if args.stream && decoding.num_beams > 1 {
            return Err(Error::usage(
                "--stream cannot be used with --num-beams above 1; a beam search knows its answer only at the end",
            ));
        }
        let wanted = match (args.estimate, args.stream, args.json) {
            (true, _, true) => Wanted::EstimateJson,
            (true, ..) => Wanted::Estimate,
            (_, true, _) => Wanted::Stream,
            (.., true) => Wanted::Json,
            _ => Wanted::Text,
        };
        let encoding = conversation_encoding(&args.conversation);
        let fit = args.conversation.fit;
        let questions = match args.batch {
            Some(file) => {
                let file = TextSource::new(file);
                let media_root = media_root(args.conversation.media_root, &file);
                Questions::Batch(BatchSource { file, media_root })
            }
            None => Questions::One(conversation(args.conversation)?),
        };
        Ok(Self {
            model: ModelRequest::check(args.run, encoding)?.fitting(fit),
            questions,
            decoding,
            wanted,
        })
    }
}

/// Checks what is asked on the command line or in a file of messages.
pub(crate) fn conversation(args: ConversationArgs) -> Result<ConversationSource, Error> {
    if let Some(file) = args.messages {
        let file = TextSource::new(file);
        let media_root = media_root(args.media_root, &file);
        return Ok(ConversationSource::Messages { file, media_root });
    }
    check_videos(&args.video, &args.tiles)?;
    if args.prompt.is_none() && args.image.is_empty() && args.video.is_empty() {
        return Err(Error::usage(
            "nothing is asked; give --prompt, --image, --video or --messages (see --help)",
        ));
    }
    let root = args.media_root.unwrap_or_default();
    let paths = |given: &[PathBuf]| given.iter().map(|path| root.join(path)).collect();
    Ok(ConversationSource::Question {
        images: paths(&args.image),
        videos: paths(&args.video),
        prompt: args.prompt,
        system: args.system,
    })
}

fn media_root(given: Option<PathBuf>, file: &TextSource) -> PathBuf {
    given.unwrap_or_else(|| file.folder().to_owned())
}

/// Refuses to choose frames where there is no video.
pub(crate) fn check_videos(videos: &[PathBuf], tiles: &TileArgs) -> Result<(), Error> {
    let flags = [
        ("--num-frames", tiles.num_frames.is_some()),
        ("--fps", tiles.fps.is_some()),
        ("--start", tiles.start.is_some()),
        ("--end", tiles.end.is_some()),
    ];
    match flags.into_iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) if videos.is_empty() => Err(Error::usage(format!(
            "{flag} says which frames of a --video to show, but there is none; leave it out"
        ))),
        _ => Ok(()),
    }
}

/// Which frames of videos are shown, where the arguments say so.
fn frame_sampling(tiles: &TileArgs) -> Option<FrameSampling> {
    let rule = match (tiles.num_frames, tiles.fps) {
        (Some(count), _) => FrameRule::NumFrames(count.get()),
        (None, Some(fps)) => FrameRule::Fps(fps),
        (None, None) => FrameRule::All,
    };
    let sampling = FrameSampling {
        rule,
        start_s: tiles.start,
        end_s: tiles.end,
        ..FrameSampling::default()
    };
    Some(sampling).filter(|sampling| *sampling != FrameSampling::default())
}

/// Which frames a question about a clip shows: where the arguments do not say, those that Meta's
/// code shows.
pub(crate) fn clip_sampling(tiles: &TileArgs, video: &Video) -> FrameSampling {
    let usual = Clip::usual_sampling(video);
    match frame_sampling(tiles) {
        Some(sampling) if sampling.rule != FrameRule::All => sampling,
        given => FrameSampling {
            start_s: given.and_then(|sampling| sampling.start_s),
            end_s: given.and_then(|sampling| sampling.end_s),
            ..usual
        },
    }
}

/// How a conversation is to be encoded.
pub(crate) fn conversation_encoding(args: &ConversationArgs) -> EncodeOptions {
    encoding(&args.tiles, args.parse_special)
}

/// How pictures and texts are to be encoded.
pub(crate) fn encoding(tiles: &TileArgs, parse_special: bool) -> EncodeOptions {
    EncodeOptions {
        vision_input_type: tiles.vision_input_type,
        max_num_tiles: tiles.max_num_tiles,
        frame_sampling: frame_sampling(tiles),
        rules: tiles.rules,
        parse_special,
        ..EncodeOptions::default()
    }
}

/// Checks the settings of an answer.
pub(crate) fn decoding(args: DecodingArgs) -> Result<Decoding, Error> {
    let filters = args.top_k.is_some() || args.top_p.is_some() || args.min_p.is_some();
    let sampling = match args.temperature {
        Some(0.0) => Sampling::Greedy,
        None if !filters => Sampling::Greedy,
        temperature => Sampling::Random(RandomSampling {
            temperature: temperature.unwrap_or(1.0),
            top_k: args.top_k,
            top_p: args.top_p,
            min_p: args.min_p,
        }),
    };
    let decoding = Decoding {
        max_new_tokens: args.max_new_tokens,
        sampling,
        penalties: Penalties {
            repetition: args.repetition_penalty,
            no_repeat_ngram: args.no_repeat_ngram_size,
        },
        seed: args.seed,
        stop_strings: args.stop,
        num_beams: args.num_beams,
        length_penalty: args.length_penalty,
        ..Decoding::default()
    };
    match decoding.check() {
        Ok(()) => Ok(decoding),
        Err(error) => Err(Error::usage(one_line(&error))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn check(args: &[&str]) -> Result<GenerateRequest, Error> {
        let cli = Cli::try_parse_from([&["plm", "generate"], args].concat()).unwrap();
        match cli.command {
            Command::Generate(args) => GenerateRequest::check(args),
            other => panic!("not generate but {other:?}"),
        }
    }

    fn sampling(args: &[&str]) -> Sampling {
        let args = [&["--prompt", "a"], args].concat();
        check(&args).unwrap().decoding.sampling
    }

    #[test]
    fn greedy_unless_randomness_is_asked_for() {
        assert_eq!(sampling(&[]), Sampling::Greedy);
        assert_eq!(sampling(&["--temperature", "0"]), Sampling::Greedy);
        assert_eq!(
            sampling(&["--temperature", "0", "--top-k", "3"]),
            Sampling::Greedy
        );
        let random = RandomSampling {
            top_p: Some(0.5),
            ..RandomSampling::default()
        };
        assert_eq!(sampling(&["--top-p", "0.5"]), Sampling::Random(random));
        let Sampling::Random(random) = sampling(&["--temperature", "0.7", "--min-p", "0.1"]) else {
            panic!("not random");
        };
        assert_eq!((random.temperature, random.min_p), (0.7, Some(0.1)));
    }

    #[test]
    fn contradictions_are_wrong_arguments() {
        for args in [
            &["--system", "s"][..],
            &["--prompt", "a", "--stream", "--num-beams", "2"],
            &["--prompt", "a", "--temperature", "1", "--num-beams", "2"],
            &["--prompt", "a", "--temperature", "nan"],
            &["--prompt", "a", "--top-p", "2"],
            &["--prompt", "a", "--top-k", "0"],
            &["--prompt", "a", "--stop", ""],
            &["--prompt", "a", "--max-new-tokens", "0"],
            &["--prompt", "a", "--repetition-penalty", "0"],
            &["--prompt", "a", "--num-frames", "4"],
            &["--image", "a.png", "--start", "1"],
        ] {
            let error = check(args).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{args:?}: {error}");
        }
    }

    #[test]
    fn frames_are_chosen_where_the_arguments_say_so() {
        let sampling = |args: &[&str]| {
            let args = [&["--video", "a.mp4"], args].concat();
            let request = check(&args).unwrap();
            request.model.options.encoding.frame_sampling
        };
        assert_eq!(sampling(&[]), None);
        assert_eq!(
            sampling(&["--num-frames", "4"]),
            Some(FrameSampling::num_frames(4))
        );
        let part = FrameSampling {
            start_s: Some(1.0),
            end_s: Some(2.5),
            ..FrameSampling::fps(0.5)
        };
        assert_eq!(
            sampling(&["--fps", "0.5", "--start", "1", "--end", "2.5"]),
            Some(part)
        );
    }

    #[test]
    fn paths_start_at_the_media_root() {
        let request = check(&["--image", "a.png", "--video", "/b.mp4", "--media-root", "m"]);
        let Questions::One(ConversationSource::Question { images, videos, .. }) =
            request.unwrap().questions
        else {
            panic!("not a question");
        };
        assert_eq!(images, [Path::new("m/a.png")]);
        assert_eq!(videos, [Path::new("/b.mp4")]);
        let request = check(&["--messages", "x/m.json"]).unwrap();
        let Questions::One(ConversationSource::Messages { media_root, .. }) = request.questions
        else {
            panic!("not messages");
        };
        assert_eq!(media_root, Path::new("x"));
    }
}
