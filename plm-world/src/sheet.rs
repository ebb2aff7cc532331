//! Many pictures in one, to look at.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::clip::{FRAME, NUM_FRAMES};
use crate::draw::Picture;
use crate::scene::CANVAS;
use crate::{Backgrounds, Clip, Scene};

/// White space between pictures, in pixels.
const GAP_PX: u32 = 2;

/// So many pictures a row, and as many rows, at the size in which the model sees them.
#[must_use]
pub fn picture_sheet(seed: u64, side: u32) -> Picture {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let pictures = (0..side * side).map(|_| {
        let mut scene = Scene::random(Backgrounds::All, &mut rng);
        scene.size_px = CANVAS as u32;
        scene.draw(&mut rng)
    });
    join(&pictures.collect::<Vec<Picture>>(), side)
}

/// Clips, one a row, at the size in which the model sees them.
#[must_use]
pub fn clip_sheet(seed: u64) -> Picture {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let frames = (0..NUM_FRAMES).flat_map(|_| {
        let mut clip = Clip::random(Backgrounds::All, &mut rng);
        clip.size_px = FRAME as u32;
        (0..NUM_FRAMES).map(move |frame| clip.draw(frame))
    });
    join(&frames.collect::<Vec<Picture>>(), NUM_FRAMES as u32)
}

/// A square of `side` x `side` pictures of one size.
fn join(pictures: &[Picture], side: u32) -> Picture {
    let part = pictures.first().map_or(0, |picture| picture.size_px);
    let size_px = side * (part + GAP_PX);
    let mut rgb = vec![255; 3 * (size_px * size_px) as usize];
    let bytes = 3 * part as usize;
    for (picture, place) in pictures.iter().zip(0..) {
        let (row, column) = (
            place / side * (part + GAP_PX),
            place % side * (part + GAP_PX),
        );
        for (line, y) in picture.rgb.chunks_exact(bytes).zip(row..) {
            let start = 3 * (y * size_px + column) as usize;
            rgb[start..start + bytes].copy_from_slice(line);
        }
    }
    Picture { size_px, rgb }
}
