use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use plm::ModelSize;

use super::{DeviceArgs, MatmulArgs};

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Folder of a checkpoint, or a hub id. Without it, random weights are written to a temporary
    /// folder.
    #[arg(short, long, value_name = "DIR|HUB_ID")]
    pub(crate) model: Option<PathBuf>,
    /// Size of the random weights: tiny, 1b, 3b or 8b.
    #[arg(long, default_value = "1b", conflicts_with = "model", value_parser = ModelSize::from_str)]
    pub(crate) size: ModelSize,
    /// Formats of the weights to measure, with commas between them.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "bf16,q8,q4")]
    pub(crate) formats: Vec<BenchFormat>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) matmul: MatmulArgs,
    /// Tiles of the picture that is encoded, at most: 1, or more of thumb+tile.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) tiles: u16,
    /// Tokens of the prompts that are read and answered, with commas between them; those that do not fit
    /// the model are left out.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "306,3000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) prompts: Vec<u32>,
    /// How often each figure is measured; medians are given.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) repeat: u16,
    /// Threads that compute; one a core if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// Measure the one format in this process, and print its figures.
    #[arg(long, hide = true)]
    pub(crate) one_format: bool,
}

/// A format of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchFormat {
    F32,
    Bf16,
    F16,
    Q8,
    Q4,
    Nf4,
}

impl fmt::Display for BenchFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
            Self::Nf4 => "nf4",
        })
    }
}
