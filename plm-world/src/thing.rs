//! Things that pictures show.

use crate::{Colour, Rgb};

/// A form with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// A disc.
    Circle,
    /// A square on a side.
    Square,
    /// A triangle that points up.
    Triangle,
    /// A star with five points.
    Star,
    /// An upright cross.
    Cross,
    /// A circle with a hole.
    Ring,
    /// A square on a corner.
    Diamond,
    /// A heart.
    Heart,
}

impl Shape {
    /// All shapes.
    pub const ALL: [Self; 8] = [
        Self::Circle,
        Self::Square,
        Self::Triangle,
        Self::Star,
        Self::Cross,
        Self::Ring,
        Self::Diamond,
        Self::Heart,
    ];

    /// The name in texts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Star => "star",
            Self::Cross => "cross",
            Self::Ring => "ring",
            Self::Diamond => "diamond",
            Self::Heart => "heart",
        }
    }

    /// The name of several.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Circle => "circles",
            Self::Square => "squares",
            Self::Triangle => "triangles",
            Self::Star => "stars",
            Self::Cross => "crosses",
            Self::Ring => "rings",
            Self::Diamond => "diamonds",
            Self::Heart => "hearts",
        }
    }
}

/// How large a shape is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Size {
    /// Some 12 px across.
    Small,
    /// Some 21 px across.
    Large,
}

impl Size {
    /// The name in texts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }

    /// The other size.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Small => Self::Large,
            Self::Large => Self::Small,
        }
    }
}

/// What a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A shape.
    Shape(Shape, Size),
    /// A digit, 0 to 9.
    Digit(u8),
    /// A word of [`WORDS`]; drawn in capitals if the flag says so, and written small in texts.
    Word(&'static str, bool),
}

/// Words that pictures show.
pub const WORDS: [&str; 40] = [
    "cat", "dog", "sun", "car", "bus", "bag", "box", "cup", "hat", "pen", "key", "map", "bed",
    "egg", "fox", "ice", "jam", "leg", "net", "owl", "pig", "sky", "toy", "zoo", "book", "fish",
    "door", "tree", "milk", "bird", "hand", "king", "lamp", "moon", "nose", "park", "rain", "ship",
    "wolf", "cow",
];

/// A thing and its place on the grid of 4x4 cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Thing {
    /// What it is.
    pub kind: Kind,
    /// The name of its colour.
    pub colour: Colour,
    /// Its tone.
    pub rgb: Rgb,
    /// Its row, from 0.
    pub row: usize,
    /// Its column, from 0; of a word, which takes two cells, the left one.
    pub column: usize,
    /// Middle in logical pixels, of [`CANVAS`](crate::CANVAS) a side.
    pub middle: [f32; 2],
    /// Half of its width and height in logical pixels.
    pub half: [f32; 2],
}

impl Thing {
    /// The number of cells that it takes, side by side.
    #[must_use]
    pub fn columns(&self) -> usize {
        match self.kind {
            Kind::Word(..) => 2,
            Kind::Shape(..) | Kind::Digit(_) => 1,
        }
    }

    /// Whether it takes a cell.
    #[must_use]
    pub fn covers(&self, row: usize, column: usize) -> bool {
        self.row == row && (self.column..self.column + self.columns()).contains(&column)
    }

    /// The quarter of the picture that it is in.
    #[must_use]
    pub fn quarter(&self) -> Quarter {
        Quarter::ALL[self.row / 2 * 2 + self.column / 2]
    }
}

/// A quarter of a picture: one tile of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quarter {
    /// Rows 1 and 2, columns 1 and 2.
    TopLeft,
    /// Rows 1 and 2, columns 3 and 4.
    TopRight,
    /// Rows 3 and 4, columns 1 and 2.
    BottomLeft,
    /// Rows 3 and 4, columns 3 and 4.
    BottomRight,
}

impl Quarter {
    /// All quarters, in the order of the tiles.
    pub const ALL: [Self; 4] = [
        Self::TopLeft,
        Self::TopRight,
        Self::BottomLeft,
        Self::BottomRight,
    ];

    /// The name in texts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TopLeft => "top left",
            Self::TopRight => "top right",
            Self::BottomLeft => "bottom left",
            Self::BottomRight => "bottom right",
        }
    }
}
