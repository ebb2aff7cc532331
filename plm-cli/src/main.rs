//! The `plm` command.
//!
//! Arguments are parsed ([`args`]), then checked into requests that can be run ([`request`]), then
//! run ([`commands`], one module a subcommand). Results go to standard output, everything else to
//! standard error. The exit code is 0 on success, 2 for wrong arguments and 1 for other errors.

mod args;
mod commands;
mod conversations;
#[cfg(feature = "tui")]
mod dashboard;
mod error;
mod logging;
mod memory;
mod model;
mod new_file;
mod output;
mod progress;
mod report;
mod request;
mod threads;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version arrive here too, with exit code 0. Nobody is left to be told when
            // the output is closed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    logging::init();
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_output() => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
