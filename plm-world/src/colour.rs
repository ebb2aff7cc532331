//! Colours with names, and backgrounds on which they can be seen.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// Red, green and blue.
pub type Rgb = [u8; 3];

/// A colour with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Colour {
    /// Red.
    Red,
    /// Green.
    Green,
    /// Blue.
    Blue,
    /// Yellow.
    Yellow,
    /// Orange.
    Orange,
    /// Purple.
    Purple,
    /// Pink.
    Pink,
    /// Brown.
    Brown,
    /// White, on dark backgrounds only.
    White,
    /// Black, on light backgrounds only.
    Black,
}

/// How far each channel of a colour strays from its middle.
const VARIATION: i32 = 12;

/// Least distance in RGB between a colour and the background under it.
const CONTRAST: i32 = 85;

impl Colour {
    /// All colours.
    pub const ALL: [Self; 10] = [
        Self::Red,
        Self::Green,
        Self::Blue,
        Self::Yellow,
        Self::Orange,
        Self::Purple,
        Self::Pink,
        Self::Brown,
        Self::White,
        Self::Black,
    ];

    /// The name in texts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Yellow => "yellow",
            Self::Orange => "orange",
            Self::Purple => "purple",
            Self::Pink => "pink",
            Self::Brown => "brown",
            Self::White => "white",
            Self::Black => "black",
        }
    }

    /// The middle of the tones that have this name.
    #[must_use]
    pub fn rgb(self) -> Rgb {
        match self {
            Self::Red => [215, 30, 35],
            Self::Green => [30, 155, 55],
            Self::Blue => [35, 75, 225],
            Self::Yellow => [243, 218, 25],
            Self::Orange => [247, 135, 18],
            Self::Purple => [135, 45, 175],
            Self::Pink => [243, 125, 185],
            Self::Brown => [150, 92, 48],
            Self::White => [243, 243, 243],
            Self::Black => [15, 15, 15],
        }
    }

    /// A tone of this name.
    pub fn tone(self, rng: &mut impl Rng) -> Rgb {
        self.rgb().map(|channel| stray(channel, VARIATION, rng))
    }

    /// The colours that can be seen on every part of a background.
    #[must_use]
    pub fn seen_on(background: &Background) -> Vec<Self> {
        let seen = |colour: &Self| {
            background.ends().iter().all(|end| {
                let distance = end.iter().zip(colour.rgb());
                let squares = distance.map(|(a, b)| (i32::from(*a) - i32::from(b)).pow(2));
                squares.sum::<i32>() >= CONTRAST * CONTRAST
            })
        };
        Self::ALL.into_iter().filter(seen).collect()
    }
}

fn stray(channel: u8, most: i32, rng: &mut impl Rng) -> u8 {
    let moved = i32::from(channel) + rng.random_range(-most..=most);
    moved.clamp(0, 255) as u8
}

/// What backgrounds pictures and clips have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backgrounds {
    /// Light, dark and grey ones.
    All,
    /// Grey ones, which are next to nothing to a new model: it sees the brightness of the others
    /// long before what stands on them.
    Grey,
}

/// What a picture shows where there is nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Background {
    /// The tone in the middle.
    pub rgb: Rgb,
    /// How much brighter the picture becomes from the middle to its right and to its lower edge.
    pub slope: [i32; 2],
    /// The most that a pixel strays from its tone.
    pub noise: u8,
}

impl Background {
    /// A light, dark or grey tone; sometimes it changes over the picture or has noise.
    pub fn random(backgrounds: Backgrounds, rng: &mut impl Rng) -> Self {
        let all = backgrounds == Backgrounds::All;
        // Few colours are hard to see on these.
        let grey = match rng.random_range(0..5) {
            0 | 1 if all => rng.random_range(212..=248),
            2 | 3 if all => rng.random_range(8..=40),
            _ => rng.random_range(112..=144),
        };
        let tint = rng.random_range(0..=7);
        let slope = rng.random_range(3..=8);
        Self {
            rgb: [grey; 3].map(|channel| stray(channel, tint, rng)),
            slope: *[[0, 0], [0, 0], [slope, 0], [0, slope], [-slope, slope]]
                .choose(rng)
                .unwrap_or(&[0, 0]),
            noise: if rng.random_bool(0.15) {
                rng.random_range(2..=6)
            } else {
                0
            },
        }
    }

    /// A tone without slope or noise.
    pub fn plain(backgrounds: Backgrounds, rng: &mut impl Rng) -> Self {
        Self {
            slope: [0, 0],
            noise: 0,
            ..Self::random(backgrounds, rng)
        }
    }

    /// The tone at a place, of which both numbers run from -1 to 1 over the picture.
    #[must_use]
    pub fn at(&self, x: f32, y: f32) -> Rgb {
        let change = self.slope[0] as f32 * x + self.slope[1] as f32 * y;
        // Rounded without a call, since this runs for every pixel.
        let change = (change + 256.5) as i32 - 256;
        self.rgb
            .map(|channel| (i32::from(channel) + change).clamp(0, 255) as u8)
    }

    /// The tones of the four corners.
    fn ends(&self) -> [Rgb; 4] {
        [
            self.at(-1.0, -1.0),
            self.at(1.0, -1.0),
            self.at(-1.0, 1.0),
            self.at(1.0, 1.0),
        ]
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn every_background_lets_at_least_eight_colours_be_seen() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut least = usize::MAX;
        for _ in 0..2000 {
            let background = Background::random(Backgrounds::All, &mut rng);
            let seen = Colour::seen_on(&background);
            // Of a grey one both differ.
            let tone = background.rgb[1];
            assert_eq!(seen.contains(&Colour::White), tone < 170, "{background:?}");
            assert_eq!(seen.contains(&Colour::Black), tone > 85, "{background:?}");
            least = least.min(seen.len());
        }
        assert!(least >= 8, "{least}");
    }

    #[test]
    fn tones_of_two_names_stay_apart() {
        for (i, a) in Colour::ALL.iter().enumerate() {
            for b in &Colour::ALL[i + 1..] {
                let gaps = a.rgb().into_iter().zip(b.rgb());
                let widest = gaps.map(|(a, b)| a.abs_diff(b)).max().unwrap();
                assert!(i32::from(widest) > 2 * VARIATION, "{a:?} {b:?}");
            }
        }
    }
}
