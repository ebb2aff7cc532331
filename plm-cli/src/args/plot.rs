use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct PlotArgs {
    /// The metrics.jsonl of a run; several are drawn one after the other, as stages of training.
    #[arg(value_name = "METRICS", required = true)]
    pub(crate) metrics: Vec<PathBuf>,
    /// The file to write.
    #[arg(long, value_name = "FILE.png")]
    pub(crate) out: PathBuf,
}
