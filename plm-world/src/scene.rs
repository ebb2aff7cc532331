//! What is in a picture.

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt};

use crate::{Background, Backgrounds, Colour, Kind, Quarter, Shape, Size, Thing, WORDS};

/// Side of a picture in logical pixels: two tiles of the model.
pub const CANVAS: f32 = 112.0;

/// Cells a side.
pub const GRID: usize = 4;

/// Cells a side of a picture that is one tile of the model.
pub(crate) const TILE_GRID: usize = 2;

/// Side of a cell in logical pixels: one image token of the model.
pub(crate) const CELL: f32 = CANVAS / GRID as f32;

/// Nothing is nearer to the border of its cells than that, in logical pixels.
pub(crate) const MARGIN: f32 = 2.0;

/// Distance between the middles of a word's letters: one patch of the model.
pub(crate) const LETTER_PITCH: f32 = 14.0;

/// Half of a letter's width and height.
pub(crate) const LETTER_HALF: [f32; 2] = [5.0, 9.0];

/// Most things in a picture.
pub const MAX_THINGS: usize = 7;

/// Sides of pictures in pixels, as often as they stand here.
const SIZES_PX: [u32; 20] = [
    112, 112, 112, 112, 112, 112, 112, 112, 112, 112, 168, 168, 168, 224, 224, 224, 224, 224, 336,
    448,
];

/// Largest side of pictures with noise, which makes large files.
const MAX_NOISY_PX: u32 = 224;

/// What is in a picture, from which it is drawn and every question about it is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// What is behind the things.
    pub background: Background,
    /// The things, row by row and from left to right.
    pub things: Vec<Thing>,
    /// Cells a side: [`GRID`], or two where the picture is a single tile.
    pub grid: usize,
    /// Side of the picture in pixels.
    pub size_px: u32,
}

impl Scene {
    /// Things in cells of their own, among which equal ones are common.
    pub fn random(backgrounds: Backgrounds, rng: &mut impl Rng) -> Self {
        Self::with(GRID, &[2, 8, 16, 20, 20, 16, 12, 6], backgrounds, rng)
    }

    /// A picture of one tile, most of whose cells have something in them.
    pub fn random_tile(backgrounds: Backgrounds, rng: &mut impl Rng) -> Self {
        Self::with(TILE_GRID, &[1, 2, 4, 6, 6], backgrounds, rng)
    }

    /// As many things as one of the weights stands for.
    fn with(grid: usize, weights: &[u32], backgrounds: Backgrounds, rng: &mut impl Rng) -> Self {
        let mut background = Background::random(backgrounds, rng);
        let size_px = pick(&SIZES_PX, rng) * grid as u32 / GRID as u32;
        if size_px > MAX_NOISY_PX {
            background.noise = 0;
        }
        let colours = few(&Colour::seen_on(&background), rng);
        let shapes = few(&Shape::ALL, rng);
        let count = weighted(weights, rng);
        let mut free = [[false; GRID]; GRID];
        for row in &mut free[..grid] {
            row[..grid].fill(true);
        }
        let mut things = Vec::new();
        let copied = rng.random_bool(0.35).then(|| shape(&shapes, rng));
        let copied_colour = pick(&colours, rng);
        while things.len() < count && free.as_flattened().contains(&true) {
            let colour = pick(&colours, rng);
            let (kind, colour) = match (copied, rng.random_range(0..100)) {
                (Some(kind), 0..55) => (kind, copied_colour),
                (_, 0..18) => (Kind::Digit(rng.random_range(0..10)), colour),
                (_, 18..34) => (Kind::Word(pick(&WORDS, rng), rng.random_bool(0.5)), colour),
                _ => (shape(&shapes, rng), colour),
            };
            // Where a word does not fit any more, something else is drawn.
            let Some((row, column)) = take_cell(&mut free, kind, rng) else {
                continue;
            };
            things.push(place(kind, colour, (row, column), rng));
        }
        things.sort_by_key(|thing| (thing.row, thing.column));
        Self {
            background,
            things,
            grid,
            size_px,
        }
    }

    /// What takes a cell, from 0.
    #[must_use]
    pub fn at(&self, row: usize, column: usize) -> Option<&Thing> {
        self.things.iter().find(|thing| thing.covers(row, column))
    }

    /// The things in a quarter.
    pub fn in_quarter(&self, quarter: Quarter) -> impl Iterator<Item = &Thing> {
        self.things
            .iter()
            .filter(move |thing| thing.quarter() == quarter)
    }
}

pub(crate) fn pick<T: Copy>(of: &[T], rng: &mut impl Rng) -> T {
    of[rng.random_range(0..of.len())]
}

/// A position, as often as its weight says.
pub(crate) fn weighted(weights: &[u32], rng: &mut impl Rng) -> usize {
    let mut left = rng.random_range(0..weights.iter().sum());
    for (position, weight) in weights.iter().enumerate() {
        match left.checked_sub(*weight) {
            Some(rest) => left = rest,
            None => return position,
        }
    }
    unreachable!("the number is below the sum of the weights")
}

/// Often only two to four of them, so that things share what they are.
fn few<T: Copy>(of: &[T], rng: &mut impl Rng) -> Vec<T> {
    if rng.random_bool(0.6) {
        return of.to_vec();
    }
    let count = rng.random_range(2..=4);
    let mut of = of.to_vec();
    of.shuffle(rng);
    of.truncate(count);
    of
}

fn shape(shapes: &[Shape], rng: &mut impl Rng) -> Kind {
    let size = if rng.random_bool(0.5) {
        Size::Small
    } else {
        Size::Large
    };
    Kind::Shape(pick(shapes, rng), size)
}

/// Takes a free cell, or for a word two neighbours in one half.
fn take_cell(
    free: &mut [[bool; GRID]; GRID],
    kind: Kind,
    rng: &mut impl Rng,
) -> Option<(usize, usize)> {
    let width = if matches!(kind, Kind::Word(..)) { 2 } else { 1 };
    let cells = (0..GRID).flat_map(|row| (0..GRID).step_by(width).map(move |c| (row, c)));
    let fits =
        |(row, column): &(usize, usize)| free[*row][*column..column + width] == [true; 2][..width];
    let cells: Vec<(usize, usize)> = cells.filter(fits).collect();
    let (row, column) = *cells.choose(rng)?;
    free[row][column..column + width].fill(false);
    Some((row, column))
}

/// Puts a thing near the middle of its cells.
fn place(kind: Kind, colour: Colour, (row, column): (usize, usize), rng: &mut impl Rng) -> Thing {
    let scale = rng.random_range(0.94..=1.0_f32);
    let half = match kind {
        Kind::Shape(_, Size::Small) => [6.3 * scale; 2],
        Kind::Shape(_, Size::Large) => [10.8 * scale; 2],
        Kind::Digit(_) => [7.5 * scale, 10.5 * scale],
        Kind::Word(word, _) => {
            let between = LETTER_PITCH * (word.len() - 1) as f32;
            [between / 2.0 + LETTER_HALF[0], LETTER_HALF[1] * scale]
        }
    };
    let y = CELL * (row as f32 + 0.5);
    let (x, room_x) = match kind {
        Kind::Word(word, _) => {
            // Every letter in the middle of a patch; three letters begin at the first or second.
            let skipped = rng.random_range(0..=4 - word.len()) as f32;
            let first = CELL * column as f32 + LETTER_PITCH * (skipped + 0.5);
            (first + half[0] - LETTER_HALF[0], 0.0)
        }
        Kind::Shape(..) | Kind::Digit(_) => {
            (CELL * (column as f32 + 0.5), CELL / 2.0 - MARGIN - half[0])
        }
    };
    let mut jitter = |room: f32| rng.random_range(-1.0..=1.0) * room.min(4.0);
    let middle = [
        x + jitter(room_x),
        y + jitter(CELL / 2.0 - MARGIN - half[1]),
    ];
    Thing {
        kind,
        colour,
        rgb: colour.tone(rng),
        row,
        column,
        middle,
        half,
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn things_stay_inside_cells_of_their_own() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for _ in 0..3000 {
            let scene = Scene::random(Backgrounds::All, &mut rng);
            assert!(scene.things.len() <= MAX_THINGS);
            let mut taken = [[0; GRID]; GRID];
            for thing in &scene.things {
                let columns = thing.columns();
                assert_eq!(
                    thing.column / 2,
                    (thing.column + columns - 1) / 2,
                    "{thing:?}"
                );
                taken[thing.row][thing.column..thing.column + columns]
                    .iter_mut()
                    .for_each(|cell| *cell += 1);
                let cells = [
                    (CELL * thing.column as f32, CELL * columns as f32),
                    (CELL * thing.row as f32, CELL),
                ];
                for (axis, (start, length)) in cells.into_iter().enumerate() {
                    let before = thing.middle[axis] - thing.half[axis] - start;
                    let after = start + length - thing.middle[axis] - thing.half[axis];
                    assert!(before.min(after) >= MARGIN - 1e-3, "{thing:?}");
                }
            }
            assert!(taken.as_flattened().iter().all(|&count| count <= 1));
        }
    }

    #[test]
    fn equal_things_are_common_and_every_number_of_things_occurs() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (mut counts, mut threes) = ([0; MAX_THINGS + 1], 0);
        for _ in 0..2000 {
            let scene = Scene::random(Backgrounds::All, &mut rng);
            counts[scene.things.len()] += 1;
            let equal = |a: &Thing| {
                let same = scene
                    .things
                    .iter()
                    .filter(|b| (a.kind, a.colour) == (b.kind, b.colour));
                same.count() >= 3
            };
            threes += usize::from(scene.things.iter().any(equal));
        }
        assert!(counts.iter().all(|&count| count >= 20), "{counts:?}");
        assert!(threes > 200, "{threes}");
    }
}
