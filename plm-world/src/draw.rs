//! Pictures of scenes.

use rand::{Rng, RngExt};

use crate::scene::CELL;
use crate::{Error, Kind, Scene};

/// A picture of 8-bit RGB.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Width and height in pixels.
    pub size_px: u32,
    /// Bytes, row by row.
    pub rgb: Vec<u8>,
}

/// Where a thing is drawn, in pixels.
pub(crate) struct Spot {
    pub(crate) kind: Kind,
    pub(crate) middle: [f32; 2],
    pub(crate) half: [f32; 2],
}

impl Spot {
    /// Calls `ink` with every pixel that the thing touches, and how many of its
    /// `samples`x`samples` points are covered.
    pub(crate) fn draw(&self, size_px: u32, samples: u32, mut ink: impl FnMut(usize, u32)) {
        let [columns, rows] = [0, 1].map(|axis| {
            let (middle, half) = (self.middle[axis], self.half[axis]);
            let first = (middle - half).floor().max(0.0) as u32;
            first..((middle + half).ceil().max(0.0) as u32).min(size_px)
        });
        for y in rows {
            for x in columns.clone() {
                let covered = self.covered(x, y, samples);
                if covered > 0 {
                    ink((y * size_px + x) as usize, covered);
                }
            }
        }
    }
}

impl Spot {
    /// How many of a pixel's points are covered; all or none where the corners and the middle are.
    fn covered(&self, x: u32, y: u32, samples: u32) -> u32 {
        let (x, y) = (x as f32, y as f32);
        let covers = |right: f32, down: f32| {
            let u = (x + right - self.middle[0]) / self.half[0];
            let v = (y + down - self.middle[1]) / self.half[1];
            self.kind.covers(u, v)
        };
        let ends = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.5)];
        match ends
            .iter()
            .filter(|(right, down)| covers(*right, *down))
            .count()
        {
            0 => return 0,
            5 => return samples * samples,
            _ => {}
        }
        let at = |sample: u32| (sample as f32 + 0.5) / samples as f32;
        let points = (0..samples).flat_map(|i| (0..samples).map(move |j| (at(i), at(j))));
        points.filter(|(right, down)| covers(*right, *down)).count() as u32
    }
}

impl Scene {
    /// Draws the scene; `rng` gives the background's noise.
    pub fn draw(&self, rng: &mut impl Rng) -> Picture {
        let size_px = self.size_px;
        let mut rgb = self.draw_background(rng);
        let scale = size_px as f32 / (CELL * self.grid as f32);
        let samples = if size_px < 200 { 4 } else { 3 };
        for thing in &self.things {
            let spot = Spot {
                kind: thing.kind,
                middle: thing.middle.map(|at| at * scale),
                half: thing.half.map(|half| half * scale),
            };
            spot.draw(size_px, samples, |pixel, covered| {
                for (old, new) in rgb[3 * pixel..].iter_mut().zip(thing.rgb) {
                    *old = blend(*old, new, covered, samples * samples);
                }
            });
        }
        Picture { size_px, rgb }
    }

    fn draw_background(&self, rng: &mut impl Rng) -> Vec<u8> {
        let background = &self.background;
        let size = self.size_px as usize;
        if background.slope == [0, 0] && background.noise == 0 {
            return background.rgb.repeat(size * size);
        }
        let mut rgb = vec![0; 3 * size * size];
        for (pixel, number) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(0..) {
            let at = |i: usize| (i as f32 + 0.5) / size as f32 * 2.0 - 1.0;
            *pixel = background.at(at(number % size), at(number / size));
        }
        if background.noise > 0 {
            let most = u32::from(background.noise);
            let mut random = vec![0_u8; size * size];
            rng.fill(&mut random[..]);
            for (pixel, random) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(random) {
                let change = (u32::from(random) * (2 * most + 1) / 256) as i32 - most as i32;
                for channel in pixel {
                    *channel = (i32::from(*channel) + change).clamp(0, 255) as u8;
                }
            }
        }
        rgb
    }
}

/// `covered` of `all` parts of the new, the others of the old.
pub(crate) fn blend(old: u8, new: u8, covered: u32, all: u32) -> u8 {
    ((u32::from(old) * (all - covered) + u32::from(new) * covered + all / 2) / all) as u8
}

impl Picture {
    /// The picture as a PNG file; `name` is what it shows, for messages.
    ///
    /// # Errors
    /// [`Error::Png`] when it cannot be encoded.
    pub fn to_png(&self, name: &str) -> Result<Vec<u8>, Error> {
        encode(self).map_err(|source| Error::Png {
            name: name.to_owned(),
            source,
        })
    }
}

fn encode(picture: &Picture) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.size_px, picture.size_px);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    encoder.set_filter(png::Filter::Up);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&picture.rgb)?;
    writer.finish()?;
    Ok(bytes)
}
