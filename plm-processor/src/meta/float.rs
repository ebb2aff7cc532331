//! Bicubic resampling in f32, as torchvision does to tensors of bytes.

use crate::error::Result;
use crate::image::Image;

/// Squashes or stretches a video frame to `width` x `height`.
///
/// The same bicubic as [`crate::resize()`], horizontal before vertical, but nothing is rounded
/// before the end, and then to the nearest even level. One sample in some 100,000 lies so near a
/// half that the order of the sum decides, and may be a level off.
pub(crate) fn resize(image: &Image, width: u32, height: u32) -> Result<Image> {
    if image.size_wh() == (width, height) {
        return Ok(image.clone());
    }
    let (from_width, from_height) = image.size_wh();
    let columns = taps(from_width, width);
    let mut narrowed = Vec::with_capacity(width as usize * from_height as usize * 3);
    for row in image.rgb().chunks_exact(from_width as usize * 3) {
        for (start, weights) in &columns {
            let mut sums = [0.0_f32; 3];
            let pixels = row[start * 3..].as_chunks::<3>().0;
            for (pixel, weight) in pixels.iter().zip(weights) {
                for (sum, &sample) in sums.iter_mut().zip(pixel) {
                    *sum += weight * f32::from(sample);
                }
            }
            narrowed.extend(sums);
        }
    }
    let row_length = width as usize * 3;
    let mut rgb = Vec::with_capacity(height as usize * row_length);
    let mut sums = vec![0.0_f32; row_length];
    for (start, weights) in taps(from_height, height) {
        sums.fill(0.0);
        let rows = narrowed[start * row_length..].chunks_exact(row_length);
        for (row, weight) in rows.zip(weights) {
            for (sum, sample) in sums.iter_mut().zip(row) {
                *sum += weight * sample;
            }
        }
        // The conversion clamps to the range of a byte.
        rgb.extend(sums.iter().map(|sum| sum.round_ties_even() as u8));
    }
    Image::from_rgb8(width, height, rgb)
}

/// Per output sample, the first input sample and the weights from there on.
fn taps(from: u32, to: u32) -> Vec<(usize, Vec<f32>)> {
    let scale = from as f32 / to as f32;
    let filter_scale = scale.max(1.0);
    let support = 2.0 * filter_scale;
    (0..to)
        .map(|output| {
            let center = scale * (output as f32 + 0.5);
            let start = (center - support + 0.5).max(0.0) as u32;
            let end = ((center + support + 0.5) as u32).min(from);
            let offset = start as f32 - center + 0.5;
            let inverse = 1.0 / filter_scale;
            let weights: Vec<f32> = (0..end - start)
                .map(|input| cubic((input as f32 + offset) * inverse))
                .collect();
            let sum: f32 = weights.iter().sum();
            let weights = weights.into_iter().map(|weight| weight / sum).collect();
            (start as usize, weights)
        })
        .collect()
}

/// The cubic convolution kernel with a = -0.5.
fn cubic(x: f32) -> f32 {
    const A: f32 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_colour_stays_that_colour() {
        for (from, to) in [((7, 5), (4, 9)), ((1, 1), (3, 2)), ((40, 3), (5, 3))] {
            let rgb = [200, 13, 255].repeat(from.0 * from.1);
            let image = Image::from_rgb8(from.0 as u32, from.1 as u32, rgb).unwrap();
            let resized = resize(&image, to.0, to.1).unwrap();
            assert!(
                resized
                    .rgb()
                    .chunks_exact(3)
                    .all(|pixel| pixel == [200, 13, 255])
            );
        }
    }

    #[test]
    fn steps_overshoot_and_are_clamped() {
        let image = Image::from_rgb8(4, 1, [[0; 6], [255; 6]].concat()).unwrap();
        let red: Vec<u8> = resize(&image, 8, 1)
            .unwrap()
            .rgb()
            .iter()
            .step_by(3)
            .copied()
            .collect();
        assert_eq!(red, [0, 0, 0, 52, 203, 255, 255, 255]);
    }
}
