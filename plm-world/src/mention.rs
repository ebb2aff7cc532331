//! How texts speak of things.

use crate::{Colour, Kind, Scene, Shape, Size, Thing};

/// What of a thing a text may tell or ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attribute {
    Colour,
    /// Which shape, digit or word it is.
    Form,
    Size,
    Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noun {
    Thing,
    Shape(Shape),
    Digit(Option<u8>),
    Word(Option<&'static str>),
}

/// A noun with what is said of it, such as `small red circle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mention {
    pub(crate) size: Option<Size>,
    pub(crate) colour: Option<Colour>,
    pub(crate) noun: Noun,
}

impl Mention {
    pub(crate) fn new(noun: Noun) -> Self {
        Self {
            size: None,
            colour: None,
            noun,
        }
    }

    pub(crate) fn coloured(colour: Colour, noun: Noun) -> Self {
        Self {
            size: None,
            colour: Some(colour),
            noun,
        }
    }

    /// Everything that can be said of a thing but its place.
    pub(crate) fn full(thing: &Thing) -> Self {
        let (size, noun) = match thing.kind {
            Kind::Shape(shape, size) => (Some(size), Noun::Shape(shape)),
            Kind::Digit(digit) => (None, Noun::Digit(Some(digit))),
            Kind::Word(word, _) => (None, Noun::Word(Some(word))),
        };
        Self {
            size,
            colour: Some(thing.colour),
            noun,
        }
    }

    /// All mentions of a thing, from the shortest to the longest.
    pub(crate) fn all(thing: &Thing) -> Vec<Self> {
        let full = Self::full(thing);
        let general = match full.noun {
            Noun::Digit(_) => Noun::Digit(None),
            Noun::Word(_) => Noun::Word(None),
            Noun::Thing | Noun::Shape(_) => Noun::Thing,
        };
        let mut mentions = Vec::new();
        for size in [None, full.size] {
            for colour in [None, full.colour] {
                for noun in [general, full.noun] {
                    let mention = Self { size, colour, noun };
                    if !mentions.contains(&mention) {
                        mentions.push(mention);
                    }
                }
            }
        }
        mentions
    }

    /// Whether a thing is meant. Sizes of digits and words have no names, so that a `small thing`
    /// may mean them.
    pub(crate) fn matches(&self, thing: &Thing) -> bool {
        let (noun, size) = match (self.noun, thing.kind) {
            (Noun::Thing, Kind::Shape(_, size)) => (true, Some(size)),
            (Noun::Thing, _) => (true, None),
            (Noun::Shape(shape), Kind::Shape(other, size)) => (shape == other, Some(size)),
            (Noun::Digit(digit), Kind::Digit(other)) => (digit.is_none_or(|d| d == other), None),
            (Noun::Word(word), Kind::Word(other, _)) => (word.is_none_or(|w| w == other), None),
            _ => (false, None),
        };
        let sized = self
            .size
            .is_none_or(|own| size.is_none_or(|size| own == size));
        noun && sized && self.colour.is_none_or(|colour| colour == thing.colour)
    }

    /// How many things are meant.
    pub(crate) fn count(&self, scene: &Scene) -> usize {
        scene
            .things
            .iter()
            .filter(|thing| self.matches(thing))
            .count()
    }

    /// Whether exactly one thing is meant.
    pub(crate) fn is_unique(&self, scene: &Scene) -> bool {
        self.count(scene) == 1
    }

    pub(crate) fn tells(&self, attribute: Attribute) -> bool {
        match attribute {
            Attribute::Colour => self.colour.is_some(),
            Attribute::Size => self.size.is_some(),
            Attribute::Form => !matches!(
                self.noun,
                Noun::Thing | Noun::Digit(None) | Noun::Word(None)
            ),
            Attribute::Place => false,
        }
    }

    /// `small red circle`, `blue digit 7`, `word cat`.
    pub(crate) fn one(&self) -> String {
        let noun = match self.noun {
            Noun::Thing => "thing".to_owned(),
            Noun::Shape(shape) => shape.name().to_owned(),
            Noun::Digit(None) => "digit".to_owned(),
            Noun::Digit(Some(digit)) => format!("digit {digit}"),
            Noun::Word(None) => "word".to_owned(),
            Noun::Word(Some(word)) => format!("word {word}"),
        };
        self.with_noun(&noun)
    }

    /// `small red circles`, `digits`; a digit's or word's name is left out.
    pub(crate) fn several(&self) -> String {
        self.with_noun(match self.noun {
            Noun::Thing => "things",
            Noun::Shape(shape) => shape.plural(),
            Noun::Digit(_) => "digits",
            Noun::Word(_) => "words",
        })
    }

    fn with_noun(&self, noun: &str) -> String {
        let size = self.size.map(Size::name);
        let colour = self.colour.map(Colour::name);
        let words: Vec<&str> = size.into_iter().chain(colour).chain([noun]).collect();
        words.join(" ")
    }

    /// `the small red circle`.
    pub(crate) fn the(&self) -> String {
        format!("the {}", self.one())
    }

    /// `a small red circle`; a word with its name is `the word cat`.
    pub(crate) fn a(&self) -> String {
        let one = self.one();
        match self.noun {
            Noun::Word(Some(_)) => format!("the {one}"),
            _ if one.starts_with('o') => format!("an {one}"),
            _ => format!("a {one}"),
        }
    }
}
