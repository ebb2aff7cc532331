//! The config of checkpoints in Meta's layout.

#![no_main]

#[allow(dead_code)]
#[path = "../../plm/tests/original/runner.rs"]
mod runner;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // An error is the right answer to most inputs.
    let _ = runner::params_json(bytes);
});
