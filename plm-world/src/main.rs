//! The command `plm-world`: data sets of the synthetic world, and the folder of its model.

use std::error::Error as _;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use plm_world::{
    Backgrounds, Category, DataSet, Error, Task, clip_sheet, picture_sheet, write_checkpoint,
};

/// Makes pictures, clips, questions and exact answers to train a small PerceptionLM on.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes pictures of one tile and what is in each of their cells.
    Tiles {
        #[command(flatten)]
        set: Set,
    },
    /// Writes pictures and clips with a caption each.
    Captions {
        #[command(flatten)]
        set: Set,
        /// The share of clips.
        #[arg(long, default_value_t = 0.15)]
        clips: f64,
    },
    /// Writes pictures with a list of answers each, in any order.
    Lists {
        #[command(flatten)]
        set: Set,
        /// The categories that the lists are of, in place of all that have lists: some of presence,
        /// count, position, place, relation, neighbour and caption (quarters in any order).
        #[arg(long, value_delimiter = ',', value_parser = category)]
        of: Vec<Category>,
    },
    /// Writes pictures and clips with a conversation each.
    Questions {
        #[command(flatten)]
        set: Set,
        /// Questions about one picture.
        #[arg(long, default_value_t = 6)]
        turns: usize,
        /// The share of pictures that have a caption instead.
        #[arg(long, default_value_t = 0.1)]
        captions: f64,
        /// The share of clips.
        #[arg(long, default_value_t = 0.15)]
        clips: f64,
        /// The categories that questions about pictures are of, in place of all that have short
        /// answers.
        #[arg(long, value_delimiter = ',', value_parser = category)]
        of: Vec<Category>,
    },
    /// Writes single questions of all categories in turn, on pictures that no training set has.
    Evaluation {
        #[command(flatten)]
        set: Set,
    },
    /// Writes a model's folder without weights: config, tokenizer and processor files.
    Checkpoint {
        /// A new or empty folder.
        dir: PathBuf,
        /// Seed of the texts that the tokenizer is made of.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Writes many pictures as one PNG, to look at.
    Sheet {
        /// The PNG.
        file: PathBuf,
        /// The seed.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Pictures a row, and rows.
        #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=64))]
        side: u32,
        /// Shows clips instead, one a row.
        #[arg(long, conflicts_with = "side")]
        clips: bool,
    },
}

#[derive(Args)]
struct Set {
    /// A new or empty folder.
    dir: PathBuf,
    /// Number of samples.
    #[arg(long)]
    count: u64,
    /// The seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Backgrounds are grey, never light or dark.
    #[arg(long)]
    grey: bool,
    /// Number of the first sample; sets of one seed differ if their numbers do.
    #[arg(long, default_value_t = 0)]
    start: u64,
}

impl Set {
    fn write(&self, task: Task) -> Result<(), Error> {
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} {eta}");
        let bar = ProgressBar::new(self.count);
        let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let set = DataSet {
            task,
            seed: self.seed,
            backgrounds: match self.grey {
                true => Backgrounds::Grey,
                false => Backgrounds::All,
            },
        };
        set.write(&self.dir, self.start, self.count, |written| {
            bar.inc(written)
        })?;
        bar.finish_and_clear();
        Ok(())
    }
}

fn or_all(of: Vec<Category>, all: &[Category]) -> Vec<Category> {
    if of.is_empty() { all.to_vec() } else { of }
}

fn category(name: &str) -> Result<Category, String> {
    let mut all = Category::ALL.into_iter();
    let found = all.find(|category| category.name() == name);
    found.ok_or_else(|| "there is no such category of questions".to_owned())
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = format!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            // Where stderr is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "{text}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Tiles { set } => set.write(Task::Tiles),
        Command::Lists { set, of } => set.write(Task::Lists {
            of: or_all(of, Category::LISTED),
        }),
        Command::Captions { set, clips } => set.write(Task::Captions { clips }),
        Command::Questions {
            set,
            turns,
            captions,
            clips,
            of,
        } => set.write(Task::Questions {
            turns,
            captions,
            clips,
            of: or_all(of, Category::SHORT),
        }),
        Command::Evaluation { set } => set.write(Task::Evaluation),
        Command::Checkpoint { dir, seed } => {
            let size = write_checkpoint(&dir, seed)?;
            let _ = writeln!(io::stdout(), "{}: {size} tokens", dir.display());
            Ok(())
        }
        Command::Sheet {
            file,
            seed,
            side,
            clips,
        } => {
            let sheet = if clips {
                clip_sheet(seed)
            } else {
                picture_sheet(seed, side)
            };
            let png = sheet.to_png("the sheet")?;
            fs::write(&file, png).map_err(|source| Error::Write { path: file, source })
        }
    }
}
