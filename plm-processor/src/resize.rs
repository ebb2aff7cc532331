//! Bicubic resampling, equal bit for bit to the reference's.

use fast_image_resize::images::{Image as Buffer, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::error::{Error, Result};
use crate::image::Image;

/// Squashes or stretches a picture to `width` x `height`; the aspect ratio is not kept.
///
/// Bicubic with a = -0.5, antialiased when shrinking. The horizontal pass runs first and its
/// result is rounded to 8 bits before the vertical pass: this order and this rounding are the
/// reference's, and another order differs by up to 26 levels. An axis whose length does not change
/// is left alone.
///
/// # Errors
/// [`Error::Resize`] when a side is 0.
pub fn resize(image: &Image, width: u32, height: u32) -> Result<Image> {
    if image.size_wh() == (width, height) {
        return Ok(image.clone());
    }
    let (from_width, from_height) = image.size_wh();
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Resize {
        from_width,
        from_height,
        to_width: width,
        to_height: height,
        source,
    };
    if width == 0 || height == 0 {
        return Err(failed("a side of the result is 0".into()));
    }
    let mut resizer = Resizer::new();
    let source = ImageRef::new(from_width, from_height, image.rgb(), PixelType::U8x3)
        .map_err(|error| failed(Box::new(error)))?;
    if from_width == width {
        let pixels = pass(&mut resizer, &source, width, height).map_err(failed)?;
        return Image::from_rgb8(width, height, pixels);
    }
    let mut pixels = pass(&mut resizer, &source, width, from_height).map_err(failed)?;
    if from_height != height {
        let widened = ImageRef::new(width, from_height, &pixels, PixelType::U8x3)
            .map_err(|error| failed(Box::new(error)))?;
        pixels = pass(&mut resizer, &widened, width, height).map_err(failed)?;
    }
    Image::from_rgb8(width, height, pixels)
}

/// Resamples along the one axis whose length differs.
fn pass(
    resizer: &mut Resizer,
    source: &ImageRef<'_>,
    width: u32,
    height: u32,
) -> std::result::Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut target = Buffer::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom))
        .use_alpha(false);
    resizer.resize(source, &mut target, &options)?;
    Ok(target.into_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_unchanged_size_shares_the_pixels() {
        let image = Image::from_rgb8(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        let same = resize(&image, 2, 1).unwrap();
        assert!(std::ptr::eq(image.rgb(), same.rgb()));
    }

    #[test]
    fn a_side_of_zero_is_refused() {
        let image = Image::from_rgb8(2, 1, vec![0; 6]).unwrap();
        let message = resize(&image, 0, 5).unwrap_err().to_string();
        assert_eq!(
            message,
            "cannot resize from 2x1 to 0x5: a side of the result is 0"
        );
    }

    #[test]
    fn one_axis_at_a_time_equals_both_in_order() {
        let pixels = (0..7 * 5 * 3).map(|i| (i * 37 % 251) as u8).collect();
        let image = Image::from_rgb8(7, 5, pixels).unwrap();
        let both = resize(&image, 4, 9).unwrap();
        let stepwise = resize(&resize(&image, 4, 5).unwrap(), 4, 9).unwrap();
        assert_eq!(both, stepwise);
    }

    proptest! {
        #[test]
        fn a_plain_colour_stays_that_colour(
            colour in any::<[u8; 3]>(), from in (1u32..60, 1u32..60), to in (1u32..60, 1u32..60)
        ) {
            let pixels = colour.repeat((from.0 * from.1) as usize);
            let image = Image::from_rgb8(from.0, from.1, pixels).unwrap();
            let resized = resize(&image, to.0, to.1).unwrap();
            prop_assert!(resized.rgb().chunks_exact(3).all(|pixel| pixel == colour));
        }
    }
}
