//! A box in a picture.

use super::RegionFault;
use crate::error::Result;

/// A box in pixels of a picture: finite, and not ending before it begins.
///
/// It may stick out of the picture. End and size are both kept as they were given or computed
/// once, because `x + (x2 - x)` is not always `x2`, and a digit of the text may hang on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelBox {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
    width: f64,
    height: f64,
}

impl PixelBox {
    /// A box by its upper left and its lower right corner.
    ///
    /// # Errors
    /// [`RegionFault::NotFinite`] and [`RegionFault::Reversed`], in [`Error::Region`](crate::Error::Region).
    pub fn from_xyxy(corners: [f64; 4]) -> Result<Self> {
        let [left, top, right, bottom] = corners;
        Self {
            left,
            top,
            right,
            bottom,
            width: right - left,
            height: bottom - top,
        }
        .checked(corners)
    }

    /// A box by its upper left corner and its size, as annotations have it.
    ///
    /// # Errors
    /// As [`PixelBox::from_xyxy`].
    pub fn from_xywh(numbers: [f64; 4]) -> Result<Self> {
        let [left, top, width, height] = numbers;
        Self {
            left,
            top,
            right: left + width,
            bottom: top + height,
            width,
            height,
        }
        .checked(numbers)
    }

    fn checked(self, numbers: [f64; 4]) -> Result<Self> {
        let [left, top, right, bottom] = self.xyxy();
        let all = [left, top, right, bottom, self.width, self.height];
        if !all.iter().all(|number| number.is_finite()) {
            return Err(RegionFault::NotFinite { numbers }.into());
        }
        if self.width < 0.0 || self.height < 0.0 {
            return Err(RegionFault::Reversed { numbers }.into());
        }
        Ok(self)
    }

    /// Left, top, right and bottom.
    #[must_use]
    pub fn xyxy(&self) -> [f64; 4] {
        [self.left, self.top, self.right, self.bottom]
    }

    /// Left, top, width and height.
    #[must_use]
    pub fn xywh(&self) -> [f64; 4] {
        [self.left, self.top, self.width, self.height]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_and_size_describe_the_same_box() {
        let corners = PixelBox::from_xyxy([1.0, 2.0, 4.0, 8.0]).unwrap();
        assert_eq!(corners.xywh(), [1.0, 2.0, 3.0, 6.0]);
        assert_eq!(PixelBox::from_xywh([1.0, 2.0, 3.0, 6.0]).unwrap(), corners);
    }

    #[test]
    fn nonsense_is_refused() {
        let message = |numbers| PixelBox::from_xyxy(numbers).unwrap_err().to_string();
        assert_eq!(
            message([0.0, f64::NAN, 1.0, 1.0]),
            "the box [0.0, NaN, 1.0, 1.0] has a number that is not finite"
        );
        assert!(message([5.0, 0.0, 4.0, 1.0]).contains("ends before it begins"));
        assert!(message([-1e308, 0.0, 1e308, 1.0]).contains("not finite"));
        assert!(PixelBox::from_xywh([0.0, 0.0, 1.0, -1.0]).is_err());
        assert!(PixelBox::from_xywh([1e308, 0.0, 1e308, 1.0]).is_err());
    }
}
