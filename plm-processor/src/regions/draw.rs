//! Boxes drawn on pictures.

use super::PixelBox;
use crate::image::Image;

/// Width of the line of a drawn box.
pub const BOX_WIDTH_PX: u32 = 4;

/// Colour of the line of a drawn box: red.
pub const BOX_COLOUR: [u8; 3] = [255, 0, 0];

/// Beyond any picture, and small enough to add to.
const FAR: i64 = 1 << 40;

impl Image {
    /// Draws a box as the model was trained to see it: a red line of 4 pixels inside the box.
    ///
    /// The pixels are those of Meta's `draw_bounding_boxes`: corners are rounded to f32, cut to
    /// whole pixels and belong to the box, and what lies outside the picture is left out. A box
    /// that is narrower than its line grows beyond itself, as Pillow's `ImageDraw.rectangle` has
    /// it.
    #[must_use]
    pub fn with_box(&self, region: &PixelBox) -> Self {
        let mut canvas = Canvas {
            width: i64::from(self.width()),
            height: i64::from(self.height()),
            rgb: self.rgb().to_vec(),
        };
        let [left, top, right, bottom] = region
            .xyxy()
            .map(|number| (number as f32 as i64).clamp(-FAR, FAR));
        let line = i64::from(BOX_WIDTH_PX);
        canvas.fill([left, right], [top, top + line - 1]);
        canvas.fill([left, right], [bottom - line + 1, bottom]);
        // The sides fill the rows between. Where the two lines above meet, Pillow draws them
        // upwards instead, and one row further down.
        let (first, end) = (top + line, bottom - line + 1);
        let rows = if end >= first {
            [first, end - 1]
        } else {
            [end + 1, first]
        };
        canvas.fill([left, left + line - 1], rows);
        canvas.fill([right - line + 1, right], rows);
        self.with_rgb(canvas.rgb)
    }
}

struct Canvas {
    width: i64,
    height: i64,
    rgb: Vec<u8>,
}

impl Canvas {
    /// Colours the pixels from first to last column and row that lie in the picture.
    fn fill(&mut self, [left, right]: [i64; 2], [top, bottom]: [i64; 2]) {
        let (left, right) = (left.max(0), (right + 1).min(self.width));
        if left >= right {
            return;
        }
        for y in top.max(0)..(bottom + 1).min(self.height) {
            let row = (y * self.width + left) as usize..(y * self.width + right) as usize;
            for pixel in self.rgb[3 * row.start..3 * row.end].chunks_exact_mut(3) {
                pixel.copy_from_slice(&BOX_COLOUR);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Rows of a black picture with a box, `#` where it is drawn.
    fn drawn(size: u32, corners: [f64; 4]) -> Vec<String> {
        let picture = Image::from_rgb8(size, size, vec![0; (size * size * 3) as usize]).unwrap();
        let picture = picture.with_box(&PixelBox::from_xyxy(corners).unwrap());
        let rows = picture.rgb().chunks_exact(3 * size as usize);
        rows.map(|row| {
            let pixels = row.chunks_exact(3);
            pixels
                .map(|pixel| if pixel == BOX_COLOUR { '#' } else { '.' })
                .collect()
        })
        .collect()
    }

    #[test]
    fn the_line_is_four_pixels_wide_inside_the_box() {
        assert_eq!(
            drawn(12, [1.9, 0.0, 10.0, 9.99]),
            [
                ".##########.",
                ".##########.",
                ".##########.",
                ".##########.",
                ".####..####.",
                ".####..####.",
                ".##########.",
                ".##########.",
                ".##########.",
                ".##########.",
                "............",
                "............",
            ]
        );
    }

    #[test]
    fn what_lies_outside_is_left_out() {
        assert_eq!(
            drawn(4, [-3.0, -2.0, 30.0, 1e30]),
            ["####", "####", "#...", "#..."]
        );
        assert_eq!(drawn(2, [5.0, 5.0, 9.0, 9.0]), ["..", ".."]);
    }

    proptest! {
        #[test]
        fn no_box_is_too_strange(corner in prop::array::uniform2(any::<f64>()), size in prop::array::uniform2(any::<f64>())) {
            let [x, y] = corner;
            if let Ok(region) = PixelBox::from_xywh([x, y, size[0].abs(), size[1].abs()]) {
                let picture = Image::from_rgb8(7, 5, vec![9; 105]).unwrap();
                prop_assert_eq!(picture.with_box(&region).size_wh(), (7, 5));
            }
        }
    }
}
