//! Clips of one or two things, of which at most one does something.

mod draw;
mod questions;

use rand::{Rng, RngExt};

pub(crate) use questions::describe;
pub use questions::{ask_clip, converse_clip};

use crate::scene::pick;
use crate::{Background, Backgrounds, Colour, Quarter, Rgb, Shape};

/// Frames of a clip.
pub const NUM_FRAMES: usize = 8;

/// Side of a frame in logical pixels: one tile of the model.
pub const FRAME: f32 = 56.0;

/// Sides of clips in pixels, as often as they stand here.
const SIZES_PX: [u32; 10] = [56, 56, 56, 56, 112, 112, 112, 84, 168, 224];

/// What happens in a clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// What is behind the things.
    pub background: Background,
    /// One or two things, the one that does something first.
    pub actors: Vec<Actor>,
    /// Side of the frames in pixels.
    pub size_px: u32,
}

/// A thing of a clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Actor {
    /// Its shape.
    pub shape: Shape,
    /// The name of its colour.
    pub colour: Colour,
    /// Its tone.
    pub rgb: Rgb,
    /// What it does.
    pub action: Action,
    /// Its middle in the first frame, in logical pixels.
    pub start: [f32; 2],
    /// Its middle in the last frame.
    pub end: [f32; 2],
    /// Half of its width and height in logical pixels.
    pub radius: f32,
}

/// What a thing of a clip does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is there all the time, at one place.
    Stay,
    /// It moves from the first frame to the last.
    Move(Direction),
    /// It is there from this frame on.
    Appear(usize),
    /// It is there before this frame.
    Disappear(usize),
}

/// Where a thing moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the left edge.
    Left,
    /// To the right edge.
    Right,
    /// To the upper edge.
    Up,
    /// To the lower edge.
    Down,
}

impl Direction {
    /// All directions.
    pub const ALL: [Self; 4] = [Self::Left, Self::Right, Self::Up, Self::Down];

    /// The name in texts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl Actor {
    /// Whether it is in a frame.
    #[must_use]
    pub fn is_in(&self, frame: usize) -> bool {
        match self.action {
            Action::Stay | Action::Move(_) => true,
            Action::Appear(first) => frame >= first,
            Action::Disappear(end) => frame < end,
        }
    }

    /// Its middle in a frame, in logical pixels.
    #[must_use]
    pub fn middle(&self, frame: usize) -> [f32; 2] {
        let part = frame as f32 / (NUM_FRAMES - 1) as f32;
        [0, 1].map(|axis| self.start[axis] + part * (self.end[axis] - self.start[axis]))
    }

    /// The quarter that it starts in.
    #[must_use]
    pub fn quarter(&self) -> Quarter {
        let [right, low] = self.start.map(|at| usize::from(at > FRAME / 2.0));
        Quarter::ALL[2 * low + right]
    }
}

impl Clip {
    /// One or two things that differ in shape or colour, in halves of their own.
    pub fn random(backgrounds: Backgrounds, rng: &mut impl Rng) -> Self {
        let background = Background::plain(backgrounds, rng);
        let colours = Colour::seen_on(&background);
        let action = match rng.random_range(0..100) {
            0..50 => Action::Move(pick(&Direction::ALL, rng)),
            50..68 => Action::Appear(rng.random_range(3..=5)),
            68..86 => Action::Disappear(rng.random_range(3..=5)),
            _ => Action::Stay,
        };
        // A thing that moves keeps to one half; the other thing is in the other.
        let by_rows = match action {
            Action::Move(Direction::Left | Direction::Right) => true,
            Action::Move(Direction::Up | Direction::Down) => false,
            _ => rng.random_bool(0.5),
        };
        let half = rng.random_range(0..2);
        let mut actors = vec![actor(action, &colours, by_rows, half, rng)];
        while actors.len() == 1 && rng.random_bool(0.6) {
            let other = actor(Action::Stay, &colours, by_rows, 1 - half, rng);
            if (other.shape, other.colour) != (actors[0].shape, actors[0].colour) {
                actors.push(other);
            }
        }
        Self {
            background,
            actors,
            size_px: pick(&SIZES_PX, rng),
        }
    }

    /// How many things are in a frame.
    #[must_use]
    pub fn count(&self, frame: usize) -> usize {
        self.actors
            .iter()
            .filter(|actor| actor.is_in(frame))
            .count()
    }
}

fn actor(
    action: Action,
    colours: &[Colour],
    by_rows: bool,
    half: usize,
    rng: &mut impl Rng,
) -> Actor {
    let radius = rng.random_range(8.0..=11.5_f32);
    let mut place = |half: usize| {
        let room = FRAME / 4.0 - radius - 1.0;
        FRAME * (half as f32 + 0.5) / 2.0 + rng.random_range(-1.0..=1.0) * room
    };
    let (fixed, [from, to]) = (place(half), [place(0), place(1)]);
    let [start, end] = match action {
        Action::Move(Direction::Right | Direction::Down) => [from, to],
        Action::Move(Direction::Left | Direction::Up) => [to, from],
        _ => [if rng.random_bool(0.5) { from } else { to }; 2],
    };
    let at = |along: f32| {
        if by_rows {
            [along, fixed]
        } else {
            [fixed, along]
        }
    };
    let colour = pick(colours, rng);
    Actor {
        shape: pick(&Shape::ALL, rng),
        colour,
        rgb: colour.tone(rng),
        action,
        start: at(start),
        end: at(end),
        radius,
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn things_stay_in_the_frame_and_apart() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for _ in 0..2000 {
            let clip = Clip::random(Backgrounds::All, &mut rng);
            for frame in 0..NUM_FRAMES {
                for actor in &clip.actors {
                    for at in actor.middle(frame) {
                        let inside = actor.radius..=FRAME - actor.radius;
                        assert!(inside.contains(&at), "{actor:?}");
                    }
                }
                if let [a, b] = &clip.actors[..] {
                    let [p, q] = [a, b].map(|actor| actor.middle(frame));
                    let gap = (p[0] - q[0]).abs().max((p[1] - q[1]).abs());
                    assert!(gap >= a.radius + b.radius, "{clip:?}");
                }
            }
        }
    }

    #[test]
    fn what_moves_moves_far() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let mut seen = [0; 4];
        for _ in 0..2000 {
            let clip = Clip::random(Backgrounds::All, &mut rng);
            let actor = &clip.actors[0];
            let [dx, dy] = [0, 1].map(|axis| actor.end[axis] - actor.start[axis]);
            match actor.action {
                Action::Move(direction) => {
                    let along = match direction {
                        Direction::Left => -dx,
                        Direction::Right => dx,
                        Direction::Up => -dy,
                        Direction::Down => dy,
                    };
                    assert!(along > 15.0, "{actor:?}");
                    assert_eq!(dx.abs().min(dy.abs()), 0.0);
                    seen[direction as usize] += 1;
                }
                _ => assert_eq!([dx, dy], [0.0; 2]),
            }
        }
        assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
    }
}
