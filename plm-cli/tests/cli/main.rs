//! Runs the `plm` binary as a shell would.
//!
//! | what is tested | module |
//! |---|---|
//! | answers: text, JSON, streams, batches, estimates | `generate` |
//! | single stages: trace, preprocess, tokenize, score | `stages` |
//! | boxes, regions and intervals | `regions` |
//! | talking over a pipe | `chat` |
//! | from one layout of a checkpoint to the other | `convert` |
//! | checkpoints by their hub id | `hub` |
//! | fine-tuning | `train` |
//! | measurements | `bench` |
//! | exit codes and messages of bad input | `errors` |
//!
//! Everything runs on the project's own fixtures; one test asks the embedded checkpoint.

// Skipped tests say so.
#![allow(clippy::print_stderr)]

mod bench;
mod chat;
mod convert;
mod errors;
mod generate;
#[cfg(feature = "hub")]
mod hub;
mod regions;
mod stages;
mod train;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A run of the binary that has ended.
struct Run {
    args: Vec<String>,
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the binary on the tiny fixture with an empty standard input.
fn tiny<S: AsRef<str>>(args: &[S]) -> Run {
    tiny_with_input(args, "")
}

fn tiny_with_input<S: AsRef<str>>(args: &[S], input: &str) -> Run {
    plm_with_input(&with_tiny(args), input)
}

/// The arguments, and the tiny fixture as the model.
fn with_tiny<S: AsRef<str>>(args: &[S]) -> Vec<String> {
    let model = ["--model".to_owned(), tiny_dir().display().to_string()];
    let args = args.iter().map(|arg| arg.as_ref().to_owned());
    args.chain(model).collect()
}

/// The random checkpoint that the reference's answers are about.
fn tiny_dir() -> PathBuf {
    fixtures().join("tiny")
}

/// Runs the binary with an empty standard input.
fn plm<S: AsRef<str>>(args: &[S]) -> Run {
    plm_with_input(args, "")
}

fn plm_with_input<S: AsRef<str>>(args: &[S], input: &str) -> Run {
    let args: Vec<String> = args.iter().map(|arg| arg.as_ref().to_owned()).collect();
    let mut child = command(&args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A run that fails early does not read its input, so this may fail.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    Run::new(args, child.wait_with_output().unwrap())
}

fn command<S: AsRef<str>>(args: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plm"));
    command
        .args(args.iter().map(AsRef::as_ref))
        .env_remove("PLM_LOG")
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_HOME", "no-such-cache");
    command
}

impl Run {
    fn new(args: Vec<String>, output: Output) -> Self {
        let run = Self {
            args,
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!run.stderr.contains("panicked"), "{}", run.shown());
        run
    }

    fn shown(&self) -> String {
        format!(
            "plm {}\ncode {:?}\nstdout: {}\nstderr: {}",
            self.args.join(" "),
            self.code,
            self.stdout,
            self.stderr
        )
    }

    /// Standard output of a run that succeeded and had nothing to say on standard error.
    fn ok(&self) -> &str {
        assert_eq!(self.code, Some(0), "{}", self.shown());
        assert_eq!(self.stderr, "", "{}", self.shown());
        &self.stdout
    }

    /// The one JSON object on standard output of a run that succeeded.
    fn json(&self) -> Value {
        self.ok();
        self.object()
    }

    fn object(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.shown());
        let value: Value = serde_json::from_str(&self.stdout).unwrap();
        assert!(value.is_object(), "{}", self.shown());
        value
    }

    /// The one line on standard error of a run that failed with exit code 1.
    fn error(&self) -> &str {
        assert_eq!(self.code, Some(1), "{}", self.shown());
        assert_eq!(self.stdout, "", "{}", self.shown());
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.shown());
        self.stderr
            .trim_end()
            .strip_prefix("error: ")
            .unwrap_or_else(|| panic!("{}", self.shown()))
    }

    /// Standard error of a run that was refused for its arguments.
    fn wrong_arguments(&self) -> &str {
        assert_eq!(self.code, Some(2), "{}", self.shown());
        assert_eq!(self.stdout, "", "{}", self.shown());
        &self.stderr
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

/// The path of a picture of the fixtures.
fn picture(name: &str) -> String {
    let path = fixtures().join("media").join(name);
    path.to_str().unwrap().to_owned()
}

/// A case of the reference's answers on the tiny fixture.
fn expected(name: &str) -> Value {
    let json = fs::read_to_string(fixtures().join("expected_tiny.json")).unwrap();
    let file: Value = serde_json::from_str(&json).unwrap();
    let id = format!("tiny/{name}");
    let cases = file["cases"].as_array().unwrap();
    let case = cases.iter().find(|case| case["id"] == id.as_str());
    case.unwrap_or_else(|| panic!("no case {id}")).clone()
}

/// Names of an object's fields.
fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

/// The names in the order of [`keys`].
fn sorted<const N: usize>(mut names: [&str; N]) -> Vec<&str> {
    names.sort_unstable();
    names.to_vec()
}

/// Writes a file into a folder and returns its path.
fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
