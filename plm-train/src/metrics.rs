//! `metrics.jsonl`: what happened in a run, one JSON object a line.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The file of a run that goes on.
pub(crate) struct Metrics {
    pub(crate) path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens the file of a run's folder, to write at its end.
    pub(crate) fn open(dump_dir: &Path) -> Result<Self, Error> {
        let path = dump_dir.join("metrics.jsonl");
        let open = || {
            fs::create_dir_all(dump_dir)?;
            let mut options = OpenOptions::new();
            let mut file = options.create(true).read(true).append(true).open(&path)?;
            // A crash may have torn the last line; the next begins on its own.
            let mut last = [b'\n'];
            if file.seek(SeekFrom::End(0))? > 0 {
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
            }
            if last != [b'\n'] {
                file.write_all(b"\n")?;
            }
            Ok(file)
        };
        match open() {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(Error::Write { path, source }),
        }
    }

    pub(crate) fn write(&mut self, what: &impl Serialize) -> Result<(), Error> {
        let mut write = || {
            let mut line = serde_json::to_vec(what)?;
            line.push(b'\n');
            self.file.write_all(&line)
        };
        write().map_err(|source| Error::Write {
            path: self.path.clone(),
            source,
        })
    }
}

/// A line of the file; a step has labels, an evaluation has answers.
#[derive(Deserialize)]
struct Line {
    step: usize,
    loss: f64,
    num_labels: Option<usize>,
    answers: Option<IgnoredAny>,
}

/// The losses of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct History {
    /// By the step, from 0.
    pub(crate) training: BTreeMap<usize, f64>,
    /// By the steps that were made before.
    pub(crate) validation: BTreeMap<usize, f64>,
}

impl History {
    /// Reads a file. Where a run went on from a checkpoint before its last line, what was made again
    /// replaces what was lost; a line that a crash has torn is passed over.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let error = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let mut history = Self::default();
        for line in BufReader::new(File::open(path).map_err(error)?).split(b'\n') {
            let Ok(line) = serde_json::from_slice(&line.map_err(error)?) else {
                continue;
            };
            history.add(line);
        }
        if history.training.is_empty() {
            return Err(Error::NoSteps {
                path: path.to_owned(),
            });
        }
        Ok(history)
    }

    fn add(&mut self, line: Line) {
        if line.num_labels.is_some() {
            self.training.split_off(&line.step);
            self.validation.split_off(&(line.step + 1));
            self.training.insert(line.step, line.loss);
        } else if line.answers.is_some() {
            self.validation.insert(line.step, line.loss);
        }
    }

    /// Steps that the run made.
    pub(crate) fn steps(&self) -> usize {
        self.training.keys().last().map_or(0, |last| last + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: usize, loss: f64) -> String {
        format!("{{\"step\":{step},\"loss\":{loss},\"num_labels\":9}}\n")
    }

    fn evaluation(step: usize, loss: f64) -> String {
        format!("{{\"step\":{step},\"loss\":{loss},\"answers\":[[\"a\",\"b\",\"c\"]]}}\n")
    }

    fn read(text: &str) -> Result<History, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        fs::write(&path, text).unwrap();
        History::read(&path)
    }

    #[test]
    fn steps_that_were_made_again_count_once() {
        let mut text: String = (0..5).map(|i| step(i, 5.0 - i as f64)).collect();
        text += &evaluation(2, 0.5);
        text += &evaluation(5, 0.25);
        text += "{\"path\":\"a.jsonl\",\"line\":3,\"what\":\"no picture\"}\n{\"step\":5,\"lo\n";
        // The run goes on after two steps, and ends before those that were lost.
        text += &step(2, 0.125);
        text += &step(3, 0.0625);
        let history = read(&text).unwrap();
        let expected = [(0, 5.0), (1, 4.0), (2, 0.125), (3, 0.0625)];
        assert_eq!(history.training, BTreeMap::from(expected));
        assert_eq!(history.validation, BTreeMap::from([(2, 0.5)]));
        assert_eq!(history.steps(), 4);
    }

    #[test]
    fn a_file_without_steps_is_refused() {
        let error = read(&evaluation(2, 0.5)).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl: holds no step"), "{error}");
    }

    #[test]
    fn a_torn_line_ends_where_the_next_begins() {
        let dir = tempfile::tempdir().unwrap();
        for line in ["{\"step\":0,", "{\"step\":1,"] {
            let mut metrics = Metrics::open(dir.path()).unwrap();
            metrics.file.write_all(line.as_bytes()).unwrap();
        }
        Metrics::open(dir.path()).unwrap().write(&7).unwrap();
        let text = fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
        assert_eq!(text, "{\"step\":0,\n{\"step\":1,\n7\n");
    }
}
