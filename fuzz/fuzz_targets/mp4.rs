//! MP4 and QuickTime files: the index, and some frames.

#![no_main]

mod contained;
#[path = "../../plm-processor/tests/attacks/videos/runner.rs"]
mod runner;

libfuzzer_sys::fuzz_target!(init: contained::except_the_decoders(), |bytes: &[u8]| {
    // An error is the right answer to most inputs.
    let _ = runner::run_mp4(bytes);
});
