//! H.264 streams, in the smallest MP4 file that holds them.

#![no_main]

mod contained;
#[path = "../../plm-processor/tests/attacks/videos/muxer.rs"]
mod muxer;
#[path = "../../plm-processor/tests/attacks/videos/runner.rs"]
mod runner;

libfuzzer_sys::fuzz_target!(init: contained::except_the_decoders(), |bytes: &[u8]| {
    // An error is the right answer to most inputs.
    let _ = runner::run_mp4(&muxer::mp4(bytes));
});
