//! Where a thing has ink, in its own box.

use crate::glyphs::has_ink;
use crate::scene::{LETTER_HALF, LETTER_PITCH};
use crate::{Kind, Shape};

impl Kind {
    /// Whether a place in the thing's box is covered; both numbers run from -1 to 1.
    pub(crate) fn covers(self, x: f32, y: f32) -> bool {
        match self {
            Self::Shape(shape, _) => shape.covers(x, y),
            Self::Digit(digit) => has_ink(char::from(b'0' + digit), x, y),
            Self::Word(word, capitals) => {
                let half_width = LETTER_PITCH * (word.len() - 1) as f32 / 2.0 + LETTER_HALF[0];
                let from_left = (x + 1.0) * half_width - LETTER_HALF[0];
                let letter = (from_left / LETTER_PITCH).round().max(0.0);
                let inside = (from_left - letter * LETTER_PITCH) / LETTER_HALF[0];
                let character = word.chars().nth(letter as usize).unwrap_or(' ');
                let capital = character.to_ascii_uppercase();
                has_ink(if capitals { capital } else { character }, inside, y)
            }
        }
    }
}

impl Shape {
    /// Whether a place in the shape's box is covered; both numbers run from -1 to 1.
    pub(crate) fn covers(self, x: f32, y: f32) -> bool {
        let square = x * x + y * y;
        match self {
            Self::Circle => square <= 1.0,
            Self::Square => x.abs().max(y.abs()) <= 0.9,
            Self::Triangle => y <= 0.85 && x.abs() <= (y + 1.0) / 1.85,
            Self::Star => square <= 1.0 && star(x, y + 0.05),
            Self::Cross => x.abs().min(y.abs()) <= 0.3 && x.abs().max(y.abs()) <= 1.0,
            Self::Ring => (0.3..=1.0).contains(&square),
            Self::Diamond => x.abs() / 0.8 + y.abs() <= 1.0,
            Self::Heart => {
                let (x, y) = (x * 1.15, 0.15 - y * 1.15);
                let inner = x * x + y * y - 1.0;
                inner.powi(3) <= x * x * y.powi(3)
            }
        }
    }
}

/// A star of five points that reaches to the unit circle, one point up.
fn star(x: f32, y: f32) -> bool {
    const INNER: f32 = 0.42;
    let step = std::f32::consts::TAU / 10.0;
    // The star is ten mirrored copies of one sector, from a point to the notch beside it.
    let angle = x.atan2(-y).rem_euclid(2.0 * step);
    let angle = angle.min(2.0 * step - angle);
    let radius = x.hypot(y);
    let (px, py) = (radius * angle.cos(), radius * angle.sin());
    let (nx, ny) = (INNER * step.cos(), INNER * step.sin());
    // On the inner side of the line from the point (1, 0) to the notch.
    (nx - 1.0) * py - ny * (px - 1.0) >= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WORDS;

    /// The share of a shape's box that it covers.
    fn share(shape: Shape) -> f32 {
        let side = 100;
        let at = |i: i32| (i as f32 + 0.5) / side as f32 * 2.0 - 1.0;
        let covered = (0..side * side).filter(|i| shape.covers(at(i % side), at(i / side)));
        covered.count() as f32 / (side * side) as f32
    }

    #[test]
    fn shapes_cover_what_their_formulas_say() {
        let expected = [
            (Shape::Circle, 0.785),
            (Shape::Square, 0.81),
            (Shape::Triangle, 0.4625),
            (Shape::Star, 0.31),
            (Shape::Cross, 0.51),
            (Shape::Ring, 0.55),
            (Shape::Diamond, 0.40),
        ];
        for (shape, area) in expected {
            assert!(
                (share(shape) - area).abs() < 0.02,
                "{shape:?} {}",
                share(shape)
            );
        }
        assert!((0.5..0.75).contains(&share(Shape::Heart)));
    }

    #[test]
    fn shapes_stay_in_their_box() {
        for shape in Shape::ALL {
            for i in 0..400 {
                let along = i as f32 / 100.0 - 2.0;
                for (x, y) in [(along, 1.01), (along, -1.01), (1.01, along), (-1.01, along)] {
                    assert!(!shape.covers(x, y), "{shape:?} {x} {y}");
                }
            }
        }
    }

    #[test]
    fn words_fit_two_cells() {
        assert!(WORDS.iter().all(|word| (3..=4).contains(&word.len())));
        let mut words = WORDS.to_vec();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), WORDS.len());
    }
}
