//! Everything that the Python reference has recorded about pictures and text.
//!
//! | stage | file |
//! |---|---|
//! | decoding of picture files | `media.rs` |
//! | grid, resize, tiles | `pixels.rs` |
//! | tokenizer | `text.rs` |
//! | chat template and whole prompts | `prompts.rs` |
//! | Meta's own rules | `meta.rs` |
//! | frames of videos | `videos.rs` |
//! | the project's own clips | `clips.rs` |
//! | boxes as text and as lines, on the project's own pictures | `regions.rs` |
//!
//! The recordings are looked for where the environment variable `PLM_GOLDEN` says, else in
//! `../shared/golden` beside the workspace. Without them every test says so and passes.

#[cfg(feature = "video")]
mod clips;
mod media;
mod meta;
mod pixels;
mod prompts;
mod regions;
mod text;
#[cfg(feature = "video")]
mod videos;

use std::path::{Path, PathBuf};

use plm_processor::{Image, Processor};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The folder of recordings, or a loud notice that the test does nothing.
#[allow(clippy::print_stderr)]
fn golden() -> Option<PathBuf> {
    let dir = match std::env::var_os("PLM_GOLDEN") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden"),
    };
    if dir.is_dir() {
        return Some(dir);
    }
    eprintln!(
        "SKIPPED: no recordings of the reference at {}; set PLM_GOLDEN",
        dir.display()
    );
    None
}

/// Whether videos can be read through FFmpeg, or a loud notice that they are not.
#[cfg(feature = "video")]
#[allow(clippy::print_stderr)]
fn has_ffmpeg() -> bool {
    if !cfg!(feature = "ffmpeg") {
        return false;
    }
    let program = std::env::var_os("PLM_FFMPEG").unwrap_or_else(|| "ffmpeg".into());
    let answer = std::process::Command::new(&program)
        .arg("-version")
        .output();
    let has = answer.is_ok_and(|answer| answer.status.success());
    if !has {
        eprintln!(
            "SKIPPED: no FFmpeg at `{}`; install it, or set PLM_FFMPEG",
            program.display()
        );
    }
    has
}

fn json(path: impl AsRef<Path>) -> Value {
    let bytes = std::fs::read(path.as_ref()).expect("a recording is readable");
    serde_json::from_slice(&bytes).expect("a recording is JSON")
}

fn rows<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().expect("a list")
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().expect("a string")
}

fn number(value: &Value) -> u32 {
    value
        .as_u64()
        .and_then(|value| u32::try_from(value).ok())
        .expect("a whole number")
}

fn numbers(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .expect("a list")
        .iter()
        .map(number)
        .collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn processor(golden: &Path, variant: &str) -> Processor {
    Processor::from_dir(golden.join("models").join(variant)).expect("the processor loads")
}

/// A picture as the reference decodes it: a lossy WebP through its lossless copy.
fn reference_image(golden: &Path, file: &str) -> Image {
    let path = if is_exact(file) {
        golden.join("media").join(file)
    } else {
        golden.join("media_rgb").join(format!("{file}.png"))
    };
    Image::open(path).expect("the picture opens")
}

/// Whether a file must decode to the reference's bytes.
fn is_exact(file: &str) -> bool {
    file != "img.webp"
}
