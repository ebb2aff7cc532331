//! Damaged files of Meta's layout, among them what fuzzing found: errors, never a panic.
//!
//! The folders of `corpus/` are named for the functions of `runner.rs` that read their files.

mod runner;

use std::fs;
use std::path::Path;

use plm::Error;

/// Runs all files of a corpus and says how many were sound.
fn run(corpus: &str, read: fn(&[u8]) -> Result<(), Error>) -> (usize, usize) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/original/corpus");
    let mut sound = 0;
    let mut damaged = 0;
    for entry in fs::read_dir(dir.join(corpus)).unwrap() {
        let path = entry.unwrap().path();
        match read(&fs::read(&path).unwrap()) {
            Ok(()) => sound += 1,
            Err(error) => {
                assert!(!error.to_string().is_empty(), "{}", path.display());
                damaged += 1;
            }
        }
    }
    (sound, damaged)
}

#[test]
fn pickles_of_the_corpus_are_read_or_refused() {
    let (sound, damaged) = run("pickle", runner::pickle);
    assert!(sound > 0 && damaged > 0, "{sound} {damaged}");
}

#[test]
fn params_of_the_corpus_are_read_or_refused() {
    let (sound, damaged) = run("params_json", runner::params_json);
    assert!(sound > 0 && damaged > 0, "{sound} {damaged}");
}

#[test]
fn tokenizers_of_the_corpus_are_read_or_refused() {
    let (sound, damaged) = run("tokenizer_model", runner::tokenizer_model);
    assert!(sound > 0 && damaged > 0, "{sound} {damaged}");
}
