//! Bicubic resampling of 8-bit pictures, equal bit for bit to Pillow 13's.

use crate::error::Result;
use crate::image::Image;

/// Bits behind the point of a weight.
const PRECISION_BITS: u32 = 22;

/// Squashes or stretches a picture to `width` x `height`.
///
/// The same bicubic as [`crate::resize()`], at 22 bits always. The horizontal pass runs first,
/// unless a picture loses more than twice as many rows as columns.
pub(crate) fn resize(image: &Image, width: u32, height: u32) -> Result<Image> {
    let (from_width, from_height) = image.size_wh();
    let lost = |from: u32, to: u32| i64::from(from) - i64::from(to);
    let lost_rows = lost(from_height, height);
    let vertical_first = lost_rows > 0 && lost_rows > 2 * lost(from_width, width);
    if vertical_first {
        horizontal(&vertical(image, height)?, width)
    } else {
        vertical(&horizontal(image, width)?, height)
    }
}

fn horizontal(image: &Image, width: u32) -> Result<Image> {
    let (from, height) = image.size_wh();
    if from == width {
        return Ok(image.clone());
    }
    let taps = taps(from, width);
    let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
    for row in image.rgb().chunks_exact(from as usize * 3) {
        for (start, weights) in &taps {
            let mut sums = [ROUNDING; 3];
            let pixels = row[start * 3..].as_chunks::<3>().0;
            for (pixel, weight) in pixels.iter().zip(weights) {
                for (sum, &sample) in sums.iter_mut().zip(pixel) {
                    *sum += weight * i32::from(sample);
                }
            }
            rgb.extend(sums.map(to_u8));
        }
    }
    Image::from_rgb8(width, height, rgb)
}

fn vertical(image: &Image, height: u32) -> Result<Image> {
    let (width, from) = image.size_wh();
    if from == height {
        return Ok(image.clone());
    }
    let row_length = width as usize * 3;
    let mut rgb = Vec::with_capacity(height as usize * row_length);
    let mut sums = vec![0; row_length];
    for (start, weights) in taps(from, height) {
        sums.fill(ROUNDING);
        let rows = image.rgb()[start * row_length..].chunks_exact(row_length);
        for (row, weight) in rows.zip(weights) {
            for (sum, &sample) in sums.iter_mut().zip(row) {
                *sum += weight * i32::from(sample);
            }
        }
        rgb.extend(sums.iter().map(|&sum| to_u8(sum)));
    }
    Image::from_rgb8(width, height, rgb)
}

/// Half of a level.
const ROUNDING: i32 = 1 << (PRECISION_BITS - 1);

fn to_u8(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Per output sample, the first input sample and the weights from there on.
fn taps(from: u32, to: u32) -> Vec<(usize, Vec<i32>)> {
    let scale = f64::from(from) / f64::from(to);
    let filter_scale = scale.max(1.0);
    let support = 2.0 * filter_scale;
    (0..to)
        .map(|output| {
            let center = (f64::from(output) + 0.5) * scale;
            let start = (center - support + 0.5).max(0.0) as u32;
            let end = ((center + support + 0.5) as u32).min(from);
            let weights: Vec<f64> = (start..end)
                .map(|input| cubic((f64::from(input) - center + 0.5) * (1.0 / filter_scale)))
                .collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |weight: f64| {
                let value = weight / sum * f64::from(1 << PRECISION_BITS);
                (value + 0.5_f64.copysign(value)) as i32
            };
            (start as usize, weights.into_iter().map(fixed).collect())
        })
        .collect()
}

/// The cubic convolution kernel with a = -0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
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
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_within_two_levels_of_the_other_rules(
            from in (1u32..40, 1u32..40), to in (1u32..40, 1u32..40), seed in any::<u32>()
        ) {
            // Smooth pictures, for which the order of the passes hardly matters.
            let pixel = |i: u32| (i.wrapping_mul(seed % 5 + 1) / 7 % 200) as u8;
            let rgb = (0..from.0 * from.1 * 3).map(|i| pixel(i / (3 * from.0))).collect();
            let image = Image::from_rgb8(from.0, from.1, rgb).unwrap();
            let ours = resize(&image, to.0, to.1).unwrap();
            let other = crate::resize(&image, to.0, to.1).unwrap();
            for (a, b) in ours.rgb().iter().zip(other.rgb()) {
                prop_assert!(a.abs_diff(*b) <= 2);
            }
        }
    }

    #[test]
    fn an_unchanged_size_shares_the_pixels() {
        let image = Image::from_rgb8(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        assert!(std::ptr::eq(
            image.rgb(),
            resize(&image, 2, 1).unwrap().rgb()
        ));
    }
}
