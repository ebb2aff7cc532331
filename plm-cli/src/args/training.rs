use std::path::PathBuf;

use clap::Args;

use super::{RunArgs, TileArgs};

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// The run's TOML file.
    #[arg(value_name = "CONFIG")]
    pub(crate) config: PathBuf,
    /// Go on from the newest checkpoint of the run.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Show the run on the whole terminal, with curves; q and then s stops it after saving.
    #[cfg(feature = "tui")]
    #[arg(long)]
    pub(crate) dashboard: bool,
    /// Threads that compute; one a core if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Print one JSON object at the end.
    #[arg(long)]
    pub(crate) json: bool,
}

impl TrainArgs {
    /// Whether the run is shown on the whole terminal.
    pub(crate) fn has_dashboard(&self) -> bool {
        #[cfg(feature = "tui")]
        return self.dashboard;
        #[cfg(not(feature = "tui"))]
        false
    }
}

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// Questions and answers in Meta's JSONL, as for training; a field `category` divides the
    /// count.
    #[arg(value_name = "FILE")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) tiles: TileArgs,
    /// Folder of the pictures and videos, in place of the file's folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) media_root: Option<PathBuf>,
    /// Samples that are asked about, from the first on; all if not given.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Most tokens of an answer.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) max_new_tokens: usize,
    /// Print the answers that are not the file's.
    #[arg(long)]
    pub(crate) wrong: bool,
    /// Print one JSON object: the counts.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlotArgs {
    /// The metrics.jsonl of a run; several are drawn one after the other, as stages of training.
    #[arg(value_name = "METRICS", required = true)]
    pub(crate) metrics: Vec<PathBuf>,
    /// The file to write.
    #[arg(long, value_name = "FILE.png")]
    pub(crate) out: PathBuf,
}
