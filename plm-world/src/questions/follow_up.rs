//! Questions that go on about what the last one was about.

use rand::{Rng, RngExt};

use super::{Category, Topic, Turn, say};
use crate::caption::row_and_column;
use crate::mention::Attribute;
use crate::{Kind, Scene};

/// Asks for what the last turn did not tell.
pub(super) fn follow_up(scene: &Scene, topic: &Topic, rng: &mut impl Rng) -> Option<Turn> {
    let thing = &scene.things[topic.thing];
    let mut turns = Vec::new();
    let mut add = |attribute, category, phrasings: &[&str], answer: String| {
        if !topic.told.contains(&attribute) {
            turns.push(Turn::new(category, say(phrasings, "", "", rng), answer));
        }
    };
    let colours = ["What colour is it?", "Which colour does it have?"];
    let colour = thing.colour.name().to_owned();
    add(Attribute::Colour, Category::Colour, &colours, colour);
    let quarters = ["Where is it?", "In which quarter is it?"];
    let quarter = thing.quarter().name().to_owned();
    add(Attribute::Place, Category::Position, &quarters, quarter);
    if !matches!(thing.kind, Kind::Word(..)) {
        let cells = [
            "In which row and column is it?",
            "Which row and column is it in?",
        ];
        let cell = row_and_column(thing);
        add(Attribute::Place, Category::Position, &cells, cell);
    }
    if let Kind::Shape(shape, size) = thing.kind {
        let sizes = ["Is it small or large?", "What size is it?"];
        add(
            Attribute::Size,
            Category::Size,
            &sizes,
            size.name().to_owned(),
        );
        let shapes = ["What shape is it?", "Which shape does it have?"];
        add(
            Attribute::Form,
            Category::Shape,
            &shapes,
            shape.name().to_owned(),
        );
    }
    if turns.is_empty() {
        return None;
    }
    let chosen = rng.random_range(0..turns.len());
    Some(turns.swap_remove(chosen))
}
