//! `plm bench`: what a device can do, and how near to it the model comes.

mod figures;
mod limits;
mod table;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use plm::{
    ConvertOptions, DeviceChoice, Layout, Precision, Quantization, convert, random_checkpoint,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use self::figures::Figures;
use self::limits::Limits;
use crate::args::{BenchArgs, BenchFormat};
use crate::error::Error;
use crate::model::ModelSource;
use crate::{output, progress, threads};

/// Everything that was measured.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    machine: Limits,
    model: String,
    formats: Vec<Figures>,
}

pub(crate) fn run(args: BenchArgs) -> Result<(), Error> {
    threads::limit(args.threads)?;
    if args.one_format {
        return output::json(&figures::measure(&args)?);
    }
    let device = args.device.device.settle()?;
    // Held until everything is measured; the folder goes with it.
    let room = TempDir::new()?;
    let (model, name) = match (&args.model, args.size) {
        (Some(model), _) => {
            let source = ModelSource::parse(Some(model.clone()))?;
            (source.require_folder()?, model.display().to_string())
        }
        (None, size) => {
            let dir = room.path().join("bf16");
            let busy = progress::busy("writing random weights");
            random_checkpoint(&dir, size)?;
            busy.finish_and_clear();
            (dir, format!("random weights of size {}", size.name()))
        }
    };
    let mut formats = Vec::new();
    for format in &args.formats {
        let dir = in_format(&model, *format, room.path())?;
        let busy = progress::busy(&format!("measuring {format}"));
        formats.push(in_its_own_process(&dir, device, *format, &args)?);
        busy.finish_and_clear();
    }
    // At the end: a GPU's memory that this takes stays with the process.
    let busy = progress::busy("measuring the device");
    let machine = Limits::measure(device)?;
    busy.finish_and_clear();
    let report = Report {
        machine,
        model: name,
        formats,
    };
    if args.json {
        return output::json(&report);
    }
    output::line(&table::of(&report))
}

/// The folder of a checkpoint in one format; blocks are written into `room`.
fn in_format(model: &Path, format: BenchFormat, room: &Path) -> Result<PathBuf, Error> {
    let quantize = match format {
        BenchFormat::Q8 => Quantization::Q8,
        BenchFormat::Q4 => Quantization::Q4,
        BenchFormat::Nf4 => Quantization::Nf4,
        BenchFormat::F32 | BenchFormat::Bf16 | BenchFormat::F16 => return Ok(model.to_owned()),
    };
    let dir = room.join(format.to_string());
    let options = ConvertOptions {
        layout: Layout::HuggingFace,
        max_shard_bytes: None,
        precision: Precision::Auto,
        quantize: Some(quantize),
        merge: Vec::new(),
        progress: Some(progress::of_bytes("rounding")),
    };
    convert(model, &dir, &options)?;
    Ok(dir)
}

/// Measures one format in a process of its own, whose peak of memory is that format's.
fn in_its_own_process(
    model: &Path,
    device: DeviceChoice,
    format: BenchFormat,
    args: &BenchArgs,
) -> Result<Figures, Error> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["bench", "--one-format", "--formats", &format.to_string()])
        .args(["--device", &device.to_string()])
        .args(args.matmul.words())
        .args(["--repeat", &args.repeat.to_string()])
        .args(["--tiles", &args.tiles.to_string()])
        .args(["--prompts", &join(&args.prompts), "--model"])
        .arg(model);
    if let Some(threads) = args.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    let run = command.stderr(Stdio::inherit()).output()?;
    if !run.status.success() {
        return Err(Error::Bench {
            format: format.to_string(),
        });
    }
    Ok(serde_json::from_slice(&run.stdout).map_err(std::io::Error::from)?)
}

/// Numbers with commas between them.
fn join(numbers: &[u32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    numbers.join(",")
}
