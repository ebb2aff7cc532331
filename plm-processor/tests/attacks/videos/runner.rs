//! What a hostile video goes through; the fuzz targets use it, too.

use std::fs;
use std::path::PathBuf;

use plm_processor::{DecodeLimits, FrameSampling, Result, Video};

thread_local! {
    static DIR: tempfile::TempDir = tempfile::tempdir().expect("a folder");
}

/// Where the file stands, for each thread another place.
pub(crate) fn path() -> PathBuf {
    DIR.with(|dir| dir.path().join("attack.mp4"))
}

/// Opens a file of these bytes with small limits and decodes some of its frames.
pub(crate) fn run_mp4(bytes: &[u8]) -> Result<()> {
    fs::write(path(), bytes).expect("written");
    let limits = DecodeLimits {
        max_pixels: 1 << 16,
        ..DecodeLimits::default()
    };
    let video = Video::open_with(path(), &limits)?;
    let sampling = FrameSampling {
        allow_fewer: true,
        ..FrameSampling::num_frames(3)
    };
    let positions = video.positions(&sampling)?;
    let indices: Vec<usize> = positions.iter().map(|position| position.index).collect();
    video.frames(&indices).map(drop)
}
