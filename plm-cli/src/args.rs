use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use plm::{
    AdapterSource, DEFAULT_MAX_NEW_TOKENS, DeviceChoice, MatmulPrecision, Precision, Quantization,
    Rules, VisionInputType,
};
use plm_processor::MAX_NUM_TILES;

mod bench;
mod regions;
mod training;
mod values;

pub(crate) use bench::{BenchArgs, BenchFormat};
pub(crate) use regions::{CaptionRegionArgs, DenseCaptionArgs, GroundArgs, LocateArgs, MarkArgs};
pub(crate) use training::{EvalArgs, PlotArgs, TrainArgs};
use values::{byte_count, frame_rate, seconds};

/// Asks PerceptionLM about pictures and videos, and shows every stage on the way.
///
/// Results go to standard output, everything else to standard error. The exit code is 0 on
/// success, 2 for wrong arguments and 1 for other errors. PLM_LOG sets the level of the log: error,
/// warn (the default), info, debug or trace.
#[derive(Debug, Parser)]
#[command(name = "plm", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer a question, a conversation, or a file of conversations.
    Generate(GenerateArgs),
    /// Write what every stage computes for a prompt into a safetensors file.
    Trace(TraceArgs),
    /// Show the tiles that pictures and videos are cut into.
    Preprocess(PreprocessArgs),
    /// Show the tokens of a text.
    Tokenize(TokenizeArgs),
    /// Tell how likely the model finds a given answer.
    Score(ScoreArgs),
    /// Find what a phrase describes in a picture: its box.
    Ground(GroundArgs),
    /// Describe a region of a picture, or what happens in a region of a video.
    ///
    /// Of a video, as many frames are shown as Meta's code does unless told otherwise: one a
    /// second, at most 32.
    CaptionRegion(CaptionRegionArgs),
    /// Find when an event happens in a video: its frames and seconds.
    ///
    /// Of a video, as many frames are shown as Meta's code does unless told otherwise: one a
    /// second, at most 32.
    Locate(LocateArgs),
    /// Describe what happens in a video, with frames and seconds.
    ///
    /// Of a video, as many frames are shown as Meta's code does unless told otherwise: one a
    /// second, at most 32.
    DenseCaption(DenseCaptionArgs),
    /// Talk with the model, with streamed answers.
    Chat(ChatArgs),
    /// Write a checkpoint in the other layout: Hugging Face's or Meta's `original/`.
    Convert(ConvertArgs),
    /// Fine-tune a model, or adapters to it, as a TOML file says.
    Train(TrainArgs),
    /// Draw the curve of the losses of one or several runs into a PNG.
    Plot(PlotArgs),
    /// Count how often a model answers as a file of questions says.
    Eval(EvalArgs),
    /// Fetch a checkpoint from a hub into the cache and print its folder.
    #[cfg(feature = "hub")]
    Download(DownloadArgs),
    /// List the CPU and GPUs that can be computed on, the one that is taken first.
    Devices(DevicesArgs),
    /// Measure this machine, and how near to its limits the model comes in several formats.
    Bench(BenchArgs),
}

/// Which checkpoint.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// Folder of a checkpoint, in Hugging Face's or Meta's layout, or a hub id such as
    /// facebook/Perception-LM-1B. Without it the embedded model is used.
    #[arg(short, long, value_name = "DIR|HUB_ID")]
    pub(crate) model: Option<PathBuf>,
}

/// Where to compute.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct DeviceArgs {
    /// Where to compute: auto (a GPU if there is one), flex (the CPU), or a GPU through cuda, rocm,
    /// metal, vulkan or wgpu, with its number if it is not the first (vulkan:1); `plm devices` lists
    /// them.
    #[arg(long, default_value = "auto")]
    pub(crate) device: DeviceChoice,
}

/// Which checkpoint, and how its weights are held and used.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Precision of the weights in memory: auto (as in the file), f32, bf16 or f16.
    #[arg(long, default_value = "auto")]
    pub(crate) dtype: Precision,
    /// Rounds the weights to blocks of 8 or 4 bits, or to NF4, while loading, in place of --dtype.
    #[arg(long, value_enum, default_value_t = Quantize::None, conflicts_with = "dtype")]
    pub(crate) quantize: Quantize,
    #[command(flatten)]
    pub(crate) matmul: MatmulArgs,
    /// Folder of an adapter in PEFT's layout that is added to the model, and how much of it; may be
    /// given several times.
    #[arg(long = "adapter", value_name = "DIR[:SCALE]")]
    pub(crate) adapters: Vec<AdapterSource>,
    /// Copies weights into memory, where they would be mapped from their files otherwise; for
    /// files that may change while they are used.
    #[arg(long)]
    pub(crate) copy_weights: bool,
    /// Threads that compute; one a core if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Quantize {
    None,
    Q8,
    Q4,
    Nf4,
}

impl Quantize {
    pub(crate) fn format(self) -> Option<Quantization> {
        match self {
            Self::None => None,
            Self::Q8 => Some(Quantization::Q8),
            Self::Q4 => Some(Quantization::Q4),
            Self::Nf4 => Some(Quantization::Nf4),
        }
    }
}

/// How exactly matrices are multiplied.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct MatmulArgs {
    /// How exactly prompts and pictures are multiplied with weights that are not in q8 or q4: highest
    /// (f32), high (numbers of 16 bits where the processor is faster so) or medium (bf16 where it is
    /// faster so).
    #[arg(long, value_enum, default_value_t = Matmul::Highest)]
    matmul_precision: Matmul,
}

impl MatmulArgs {
    pub(crate) fn precision(self) -> MatmulPrecision {
        match self.matmul_precision {
            Matmul::Highest => MatmulPrecision::Highest,
            Matmul::High => MatmulPrecision::High,
            Matmul::Medium => MatmulPrecision::Medium,
        }
    }

    /// The arguments that say it.
    pub(crate) fn words(self) -> [&'static str; 2] {
        let name = match self.matmul_precision {
            Matmul::Highest => "highest",
            Matmul::High => "high",
            Matmul::Medium => "medium",
        };
        ["--matmul-precision", name]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Matmul {
    Highest,
    High,
    Medium,
}

/// How pictures and videos become tiles.
#[derive(Debug, Args)]
pub(crate) struct TileArgs {
    /// thumb+tile (a thumbnail and a grid of tiles) or vanilla (one tile); as the checkpoint says
    /// if not given.
    #[arg(long, value_name = "TYPE")]
    pub(crate) vision_input_type: Option<VisionInputType>,
    /// Most tiles of a picture's grid.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_NUM_TILES)))]
    pub(crate) max_num_tiles: Option<u32>,
    /// Frames shown of a video; all if neither this nor --fps is given.
    #[arg(long, value_name = "N", conflicts_with = "fps")]
    pub(crate) num_frames: Option<NonZeroUsize>,
    /// Frames shown of a second of video.
    #[arg(long, value_name = "F", value_parser = frame_rate)]
    pub(crate) fps: Option<f64>,
    /// Where the part of a video begins that is shown, in seconds.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) start: Option<f64>,
    /// Where the part of a video ends that is shown, in seconds.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) end: Option<f64>,
    /// Whose rules make the prompt: huggingface, or meta (those of Meta's own code: Pillow's
    /// resampling, one frame a second of video, one tile for each of several pictures).
    #[arg(long, value_name = "RULES", default_value_t)]
    pub(crate) rules: Rules,
}

/// What is asked.
#[derive(Debug, Args)]
pub(crate) struct ConversationArgs {
    /// A picture of the question; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Vec<PathBuf>,
    /// A video of the question, a file or a folder of pictures; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub(crate) video: Vec<PathBuf>,
    /// The question.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,
    /// Replaces the system text of the checkpoint.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) system: Option<String>,
    /// A conversation as a JSON list of messages, from a file or from - (standard input).
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["image", "video", "prompt", "system"])]
    pub(crate) messages: Option<PathBuf>,
    /// Folder from which relative paths of pictures and videos are taken; if not given, the folder of
    /// the file that names them, and the current one for --image and --video.
    #[arg(long, value_name = "DIR")]
    pub(crate) media_root: Option<PathBuf>,
    /// Let names of special tokens in texts become special tokens, as the Python reference does.
    #[arg(long)]
    pub(crate) parse_special: bool,
    /// Show fewer tiles and frames where the prompt would not fit the model's positions.
    #[arg(long)]
    pub(crate) fit: bool,
    #[command(flatten)]
    pub(crate) tiles: TileArgs,
}

/// How an answer is generated.
#[derive(Debug, Args)]
pub(crate) struct DecodingArgs {
    /// Most tokens of an answer.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_NEW_TOKENS)]
    pub(crate) max_new_tokens: usize,
    /// Draw tokens at random at this temperature; 0 always takes the most likely one.
    #[arg(long, value_name = "T")]
    pub(crate) temperature: Option<f32>,
    /// Draw from the K most likely tokens.
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<usize>,
    /// Draw from the most likely tokens that reach this probability together.
    #[arg(long, value_name = "P")]
    pub(crate) top_p: Option<f32>,
    /// Draw from tokens at least this many times as likely as the most likely one.
    #[arg(long, value_name = "P")]
    pub(crate) min_p: Option<f32>,
    /// Make tokens that occurred less likely; 1 changes nothing.
    #[arg(long, value_name = "R", default_value_t = 1.0)]
    pub(crate) repetition_penalty: f32,
    /// Never repeat a sequence of this many tokens; 0 forbids nothing.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) no_repeat_ngram_size: usize,
    /// Beams of a beam search; 1 searches none.
    #[arg(long, value_name = "B", default_value_t = 1)]
    pub(crate) num_beams: usize,
    /// Exponent of the length by which a beam's score is divided.
    #[arg(
        long,
        value_name = "P",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    pub(crate) length_penalty: f32,
    /// Seed of random draws.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
    /// A text that ends the answer; may be given several times.
    #[arg(long, value_name = "STR", allow_hyphen_values = true)]
    pub(crate) stop: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) conversation: ConversationArgs,
    /// Conversations, one JSON list of messages a line, from a file or from - (standard input);
    /// prints one line of JSON for each.
    #[arg(
        long,
        value_name = "FILE.jsonl",
        conflicts_with_all = ["image", "video", "prompt", "system", "messages"]
    )]
    pub(crate) batch: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) decoding: DecodingArgs,
    /// Print what the prompt and its answer would cost, without loading any weights.
    #[arg(long)]
    pub(crate) estimate: bool,
    /// Print the answer as it is generated.
    #[arg(long, conflicts_with_all = ["json", "batch", "estimate"])]
    pub(crate) stream: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) conversation: ConversationArgs,
    /// The file to write.
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) out: PathBuf,
    /// Write the logits of all positions, not of the last alone.
    #[arg(long)]
    pub(crate) all_logits: bool,
    /// Print the names and shapes of the tensors as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PreprocessArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// A picture; may be given several times.
    #[arg(long, value_name = "FILE", required_unless_present = "video")]
    pub(crate) image: Vec<PathBuf>,
    /// A video; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub(crate) video: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) tiles: TileArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TokenizeArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The text.
    #[arg(long, value_name = "STR", allow_hyphen_values = true)]
    pub(crate) text: String,
    /// Leave names of special tokens text.
    #[arg(long)]
    pub(crate) no_special: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) conversation: ConversationArgs,
    /// The answer to score.
    #[arg(long, value_name = "STR", allow_hyphen_values = true)]
    pub(crate) continuation: String,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// A picture for the first question; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Vec<PathBuf>,
    /// A video for the first question; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub(crate) video: Vec<PathBuf>,
    /// Folder from which relative paths of pictures and videos are taken; if not given, the current
    /// one.
    #[arg(long, value_name = "DIR")]
    pub(crate) media_root: Option<PathBuf>,
    /// Replaces the system text of the checkpoint.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) system: Option<String>,
    /// Let names of special tokens in texts become special tokens, as the Python reference does.
    #[arg(long)]
    pub(crate) parse_special: bool,
    #[command(flatten)]
    pub(crate) tiles: TileArgs,
    #[command(flatten)]
    pub(crate) decoding: DecodingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// Folder of the checkpoint, in either layout, or a hub id.
    #[arg(short, long, value_name = "DIR|HUB_ID")]
    pub(crate) model: PathBuf,
    /// The folder to write; it must not exist, or be empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Rounds the weights to f32, bf16 or f16, once and for all; auto leaves them as they are in the
    /// file.
    #[arg(long, default_value = "auto")]
    pub(crate) dtype: Precision,
    /// Rounds the weights to blocks of 8 or 4 bits, once and for all; the result loads without
    /// a flag, in plm alone. With nf4 those of the decoder's layers, as transformers with
    /// bitsandbytes reads them too.
    #[arg(long, value_enum, default_value_t = Quantize::None, conflicts_with = "dtype")]
    pub(crate) quantize: Quantize,
    /// Folder of an adapter in PEFT's layout that is merged into the weights, and how much of it;
    /// may be given several times.
    #[arg(long, value_name = "DIR[:SCALE]")]
    pub(crate) merge: Vec<AdapterSource>,
    /// The layout to write; the other one than the checkpoint's if not given, or hf with
    /// --quantize, or the same with --dtype or --merge.
    #[arg(long, value_enum, value_name = "LAYOUT")]
    pub(crate) to: Option<LayoutName>,
    /// Most bytes of a weight file, such as 5GB or 500MB; 5GB for hf and one file for original if
    /// not given.
    #[arg(long, value_name = "SIZE", value_parser = byte_count)]
    pub(crate) max_shard_size: Option<u64>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A layout of a checkpoint's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayoutName {
    /// Hugging Face's: config.json, tokenizer.json, safetensors.
    Hf,
    /// Meta's: params.json, tokenizer.model, consolidated.pth.
    Original,
}

#[derive(Debug, Args)]
pub(crate) struct DevicesArgs {
    /// Print one JSON list.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(feature = "hub")]
#[derive(Debug, Args)]
pub(crate) struct DownloadArgs {
    /// The repository, such as facebook/Perception-LM-1B.
    #[arg(value_name = "HUB_ID")]
    pub(crate) repo: String,
    /// Branch, tag or commit.
    #[arg(long, value_name = "R", default_value = "main")]
    pub(crate) revision: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn texts_may_begin_with_a_hyphen() {
        let cli = Cli::try_parse_from(["plm", "tokenize", "--text", "--json"]).unwrap();
        let Command::Tokenize(args) = cli.command else {
            panic!("not parsed as tokenize");
        };
        assert_eq!((args.text.as_str(), args.json), ("--json", false));
    }
}
