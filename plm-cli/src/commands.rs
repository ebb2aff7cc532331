//! One module a subcommand.

mod asking;
mod batch;
mod bench;
mod caption_region;
mod chat;
mod convert;
mod dense_caption;
mod devices;
#[cfg(feature = "hub")]
mod download;
mod estimate;
mod eval;
mod generate;
mod ground;
mod locate;
mod plot;
mod preprocess;
mod score;
mod tokenize;
mod trace;
mod train;

use crate::args::Command;
use crate::error::Error;

/// Runs a command to its end.
pub(crate) fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Generate(args) => generate::run(args),
        Command::Trace(args) => trace::run(args),
        Command::Preprocess(args) => preprocess::run(args),
        Command::Tokenize(args) => tokenize::run(args),
        Command::Score(args) => score::run(args),
        Command::Ground(args) => ground::run(args),
        Command::CaptionRegion(args) => caption_region::run(args),
        Command::Locate(args) => locate::run(args),
        Command::DenseCaption(args) => dense_caption::run(args),
        Command::Chat(args) => chat::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Train(args) => train::run(args),
        Command::Plot(args) => plot::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Devices(args) => devices::run(args),
        #[cfg(feature = "hub")]
        Command::Download(args) => download::run(args),
    }
}
