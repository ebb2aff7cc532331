//! Time and memory from a video file to the tiles of some of its frames.
//!
//! ```sh
//! cargo run --release -p plm-processor --features video --example video_frames -- CLIP.mp4 32
//! ```
//!
//! `benches/reference/video_frames.py` compares the figures with PyAV's.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs;
use std::time::Instant;

use plm_processor::{
    Content, EncodeOptions, FrameSampling, Message, Processor, ProcessorFiles, Role, Video,
};

/// The embedded checkpoint has a tokenizer and a template; tiles are those of the released ones.
const CHECKPOINT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plm/embedded");

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: video_frames CLIP [NUM_FRAMES]";
    let clip = args.next().ok_or(usage)?;
    let num_frames = args.next().map_or(Ok(32), |count| count.parse())?;
    let mut files = ProcessorFiles::read(CHECKPOINT)?;
    files.preprocessor_config = None;
    files.video_preprocessor_config = None;
    let processor = Processor::from_files(&files)?;
    let options = EncodeOptions {
        frame_sampling: Some(FrameSampling::num_frames(num_frames)),
        ..EncodeOptions::default()
    };
    let idle_mb = peak_mb()?;

    let start = Instant::now();
    let video = Video::open(&clip)?;
    let opened_s = start.elapsed().as_secs_f64();
    let message = Message::new(Role::User, [Content::Video(video)]);
    let prompt = processor.encode(&message.into(), &options)?;
    let seconds = start.elapsed().as_secs_f64();

    println!(
        "{{\"frames\": {}, \"opened_s\": {opened_s:.3}, \"seconds\": {seconds:.3}, \
         \"idle_mb\": {idle_mb:.1}, \"peak_mb\": {:.1}}}",
        prompt.media[0].tiles.len(),
        peak_mb()?
    );
    Ok(())
}

/// The most memory that this process has held so far, in MB of 10⁶ bytes (Linux).
fn peak_mb() -> Result<f64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.ok_or("no VmHWM in /proc/self/status")?;
    let kib: f64 = kib.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0 / 1e6)
}
