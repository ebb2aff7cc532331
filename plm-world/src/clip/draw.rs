//! Clips as animated GIF files.

use gif::{Encoder, EncodingError, Frame, Repeat};

use super::{Clip, FRAME, NUM_FRAMES};
use crate::draw::{Picture, Spot, blend};
use crate::{Error, Kind, Size};

/// Points a side of a pixel; what they make of a thing's edge is all the tones that a clip has.
const SAMPLES: u32 = 4;

/// Tones of one thing between the background and its own.
const TONES: usize = (SAMPLES * SAMPLES) as usize;

/// How long a frame is shown, in hundredths of a second.
const DELAY_CS: u16 = 12;

impl Clip {
    /// One frame as a picture.
    #[must_use]
    pub fn draw(&self, frame: usize) -> Picture {
        let palette = self.palette();
        let places = self.draw_places(frame);
        let rgb = places.iter().flat_map(|&place| {
            let start = 3 * usize::from(place);
            palette[start..start + 3].iter().copied()
        });
        Picture {
            size_px: self.size_px,
            rgb: rgb.collect(),
        }
    }

    /// The clip as a GIF file; `name` is for messages.
    ///
    /// # Errors
    /// [`Error::Gif`] when it cannot be encoded.
    pub fn to_gif(&self, name: &str) -> Result<Vec<u8>, Error> {
        self.encode().map_err(|source| Error::Gif {
            name: name.to_owned(),
            source,
        })
    }

    fn encode(&self) -> Result<Vec<u8>, EncodingError> {
        let mut bytes = Vec::new();
        let side = self.size_px as u16;
        let mut encoder = Encoder::new(&mut bytes, side, side, &self.palette())?;
        encoder.set_repeat(Repeat::Infinite)?;
        for frame in 0..NUM_FRAMES {
            let places = self.draw_places(frame);
            let mut frame = Frame::from_indexed_pixels(side, side, places, None);
            frame.delay = DELAY_CS;
            encoder.write_frame(&frame)?;
        }
        drop(encoder);
        Ok(bytes)
    }

    /// The background, then of every thing its tones from the faintest to the fullest.
    fn palette(&self) -> Vec<u8> {
        let background = self.background.rgb;
        let mut palette = background.to_vec();
        for actor in &self.actors {
            for covered in 1..=TONES as u32 {
                let tones = background.into_iter().zip(actor.rgb);
                palette.extend(tones.map(|(old, new)| blend(old, new, covered, TONES as u32)));
            }
        }
        palette
    }

    /// A frame's pixels, by their places in the palette.
    fn draw_places(&self, frame: usize) -> Vec<u8> {
        let size_px = self.size_px;
        let scale = size_px as f32 / FRAME;
        let mut places = vec![0; (size_px * size_px) as usize];
        for (actor, first) in self.actors.iter().zip((0..).step_by(TONES)) {
            if !actor.is_in(frame) {
                continue;
            }
            let spot = Spot {
                kind: Kind::Shape(actor.shape, Size::Large),
                middle: actor.middle(frame).map(|at| at * scale),
                half: [actor.radius * scale; 2],
            };
            spot.draw(size_px, SAMPLES, |pixel, covered| {
                places[pixel] = (first + covered as usize) as u8;
            });
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::Backgrounds;
    use plm_processor::{FrameRule, FrameSampling, Video};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn a_gif_gives_its_frames_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clip.gif");
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for _ in 0..20 {
            let clip = Clip::random(Backgrounds::All, &mut rng);
            fs::write(&path, clip.to_gif("a clip").unwrap()).unwrap();
            let video = Video::open(&path).unwrap();
            assert_eq!(video.num_frames(), NUM_FRAMES);
            let all: Vec<usize> = (0..NUM_FRAMES).collect();
            let frames = video.frames(&all).unwrap();
            for (index, frame) in frames.iter().enumerate() {
                assert_eq!(frame.rgb(), clip.draw(index).rgb, "{clip:?}");
            }
            let rules = [
                FrameRule::All,
                FrameRule::NumFrames(NUM_FRAMES),
                FrameRule::Meta {
                    max_frames: NUM_FRAMES,
                },
                FrameRule::Meta { max_frames: 32 },
            ];
            for rule in rules {
                let sampling = FrameSampling {
                    rule,
                    ..FrameSampling::default()
                };
                let positions = video.positions(&sampling).unwrap();
                let indices: Vec<usize> = positions.iter().map(|p| p.index).collect();
                assert_eq!(indices, all, "{rule:?}");
            }
        }
    }
}
