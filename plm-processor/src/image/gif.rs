//! The first frame of a GIF file, on the file's screen.

use std::io::Cursor;

use image::metadata::Orientation;

use super::{Image, Source};
use crate::error::Result;

/// Decodes the first frame as the reference places it.
///
/// A frame larger than the screen makes the picture grow. Where a frame is smaller, the index of
/// its transparent colour shows around it, or else index 0.
pub(super) fn decode(source: &Source<'_>) -> Result<Image> {
    let failed = |error: gif::DecodingError| source.failed(error);
    let mut decoder = gif::DecodeOptions::new()
        .read_info(Cursor::new(source.bytes))
        .map_err(failed)?;
    let screen = (decoder.width(), decoder.height());
    let frame = decoder
        .next_frame_info()
        .map_err(failed)?
        .ok_or_else(|| source.failed("the file has no frame"))?;
    let [left, top, frame_width, frame_height] =
        [frame.left, frame.top, frame.width, frame.height].map(usize::from);
    let width = (left + frame_width).max(screen.0.into());
    let height = (top + frame_height).max(screen.1.into());
    let around = frame.transparent.unwrap_or(0);
    // Sides are sums of two 16-bit numbers.
    let (width_px, height_px) = (width as u32, height as u32);
    source.check_size(width_px, height_px)?;

    let mut frame = vec![0; frame_width * frame_height];
    decoder.read_into_buffer(&mut frame).map_err(failed)?;
    let mut indices = vec![around; width * height];
    for (row, y) in frame.chunks_exact(frame_width.max(1)).zip(top..) {
        indices[y * width + left..][..frame_width].copy_from_slice(row);
    }
    let palette = whole_palette(decoder.palette().map_err(failed)?);
    let rgb = indices
        .iter()
        .flat_map(|&index| palette[usize::from(index)])
        .collect();
    Image::upright(width_px, height_px, rgb, Orientation::NoTransforms)
}

/// What a palette leaves out is grey, as in the reference.
fn whole_palette(colors: &[u8]) -> [[u8; 3]; 256] {
    let mut palette = std::array::from_fn(|grey| [grey as u8; 3]);
    for (entry, color) in palette.iter_mut().zip(colors.chunks_exact(3)) {
        entry.copy_from_slice(color);
    }
    palette
}
