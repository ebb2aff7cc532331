//! Pictures in PPM, one after another.

use super::FfmpegFault;
use super::process::Process;
use crate::error::Error;
use crate::image::{DecodeLimits, Image, check_size};

/// Longest line of a header.
const MAX_LINE_BYTES: usize = 100;

/// Why a picture could not be read.
pub(super) enum Failure {
    Ffmpeg(FfmpegFault),
    Picture(Error),
}

impl Failure {
    pub(super) fn into_error(self, to_error: impl Fn(FfmpegFault) -> Error) -> Error {
        match self {
            Self::Ffmpeg(fault) => to_error(fault),
            Self::Picture(error) => error,
        }
    }
}

impl From<FfmpegFault> for Failure {
    fn from(fault: FfmpegFault) -> Self {
        Self::Ffmpeg(fault)
    }
}

/// The next picture, if there is one more whole one.
pub(super) fn read(
    process: &mut Process,
    name: &str,
    limits: &DecodeLimits,
) -> Result<Option<Image>, Failure> {
    let mut header = Vec::new();
    let mut line = Vec::new();
    for _ in 0..3 {
        if !process.read_until(b'\n', MAX_LINE_BYTES, &mut line)? {
            return Ok(None);
        }
        header.extend_from_slice(&line);
    }
    let Some((width, height)) = size_wh(&header) else {
        let what = format!("`{}`", header.escape_ascii());
        return Err(process.unexpected(what).into());
    };
    check_size(width, height, name, limits).map_err(Failure::Picture)?;
    let mut rgb = vec![0; width as usize * height as usize * 3];
    if !process.read_exact(&mut rgb)? {
        return Ok(None);
    }
    let image = Image::from_rgb8(width, height, rgb).map_err(Failure::Picture)?;
    Ok(Some(image))
}

/// Width and height of a header as FFmpeg writes it.
fn size_wh(header: &[u8]) -> Option<(u32, u32)> {
    let header = std::str::from_utf8(header).ok()?;
    let size = header.strip_prefix("P6\n")?.strip_suffix("\n255\n")?;
    let (width, height) = size.split_once(' ')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_or_refused() {
        assert_eq!(size_wh(b"P6\n161 121\n255\n"), Some((161, 121)));
        for header in [
            &b"P6\n161 121\n65535\n"[..],
            b"P5\n1 1\n255\n",
            b"\xFF\n\n\n",
        ] {
            assert_eq!(size_wh(header), None);
        }
    }
}
