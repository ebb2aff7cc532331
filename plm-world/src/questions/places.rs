//! Questions for where things are, and for what is at a place.

use rand::{Rng, RngExt};

use super::{Category, Turn, say, unique_mention};
use crate::caption::row_and_column;
use crate::mention::{Attribute, Mention};
use crate::scene::{GRID, pick};
use crate::{Kind, Quarter, Scene, Thing};

const NOTHING: &str = "nothing";

pub(super) fn position(scene: &Scene, rng: &mut impl Rng) -> Option<Turn> {
    let (index, mention) = unique_mention(scene, Attribute::Place, |_| true, rng)?;
    let thing = &scene.things[index];
    // A word is in two columns.
    let kinds = if matches!(thing.kind, Kind::Word(..)) {
        2
    } else {
        4
    };
    let (phrasings, answer) = match rng.random_range(0..kinds) {
        0 => (
            [
                "Where is {a}?",
                "In which quarter is {a}?",
                "Which quarter is {a} in?",
                "Where do you see {a}?",
            ],
            thing.quarter().name().to_owned(),
        ),
        1 => (
            [
                "In which row is {a}?",
                "Which row is {a} in?",
                "What is the row of {a}?",
                "Name the row of {a}.",
            ],
            (thing.row + 1).to_string(),
        ),
        2 => (
            [
                "In which column is {a}?",
                "Which column is {a} in?",
                "What is the column of {a}?",
                "Name the column of {a}.",
            ],
            (thing.column + 1).to_string(),
        ),
        _ => (
            [
                "In which row and column is {a}?",
                "Which row and column is {a} in?",
                "What are the row and column of {a}?",
                "Name the row and column of {a}.",
            ],
            row_and_column(thing),
        ),
    };
    let question = say(&phrasings, &mention.the(), "", rng);
    let turn = Turn::new(Category::Position, question, answer);
    Some(turn.about(scene, &mention, Attribute::Place))
}

pub(super) fn place(scene: &Scene, rng: &mut impl Rng) -> Option<Turn> {
    if rng.random_bool(0.3) {
        return quarter(scene, rng);
    }
    let empty = rng.random_bool(0.2);
    let cells = (0..GRID * GRID).map(|cell| (cell / GRID, cell % GRID));
    let cells = cells.filter(|&(row, column)| scene.at(row, column).is_none() == empty);
    let cells: Vec<(usize, usize)> = cells.collect();
    if cells.is_empty() {
        return None;
    }
    let (row, column) = pick(&cells, rng);
    let phrasings = [
        "What is in row {a} column {b}?",
        "What do you see in row {a} column {b}?",
        "Which thing is in row {a} column {b}?",
        "Name what is in row {a} column {b}.",
    ];
    let [a, b] = [row, column].map(|number| (number + 1).to_string());
    let question = say(&phrasings, &a, &b, rng);
    let answer = name(scene.at(row, column));
    Some(Turn::new(Category::Place, question, answer))
}

fn quarter(scene: &Scene, rng: &mut impl Rng) -> Option<Turn> {
    let few = |quarter: &Quarter| match scene.in_quarter(*quarter).count() {
        0 => rng.random_bool(0.25),
        count => count == 1,
    };
    let quarters: Vec<Quarter> = Quarter::ALL.into_iter().filter(few).collect();
    if quarters.is_empty() {
        return None;
    }
    let quarter = pick(&quarters, rng);
    let phrasings = [
        "What is in the {a}?",
        "What is in the {a} quarter?",
        "What do you see in the {a}?",
        "Which thing is in the {a}?",
    ];
    let question = say(&phrasings, quarter.name(), "", rng);
    let answer = name(scene.in_quarter(quarter).next());
    Some(Turn::new(Category::Place, question, answer))
}

pub(super) fn neighbour(scene: &Scene, rng: &mut impl Rng) -> Option<Turn> {
    let (direction, mention, there) = beside(scene, 0.12, rng)?;
    let phrasings = [
        "What is directly {a} {b}?",
        "What do you see directly {a} {b}?",
        "Which thing is directly {a} {b}?",
        "Name what is directly {a} {b}.",
    ];
    let question = say(&phrasings, direction, &mention.the(), rng);
    Some(Turn::new(Category::Neighbour, question, name(there)))
}

/// A direction, a thing, and what is in the cell there; `empty` is the share of cells with nothing,
/// of which there are more than of others.
pub(super) fn beside<'s>(
    scene: &'s Scene,
    empty: f64,
    rng: &mut impl Rng,
) -> Option<(&'static str, Mention, Option<&'s Thing>)> {
    let not_word = |kind| !matches!(kind, Kind::Word(..));
    let (index, mention) = unique_mention(scene, Attribute::Place, not_word, rng)?;
    let Thing { row, column, .. } = scene.things[index];
    let directions = [
        ("left of", 0, -1),
        ("right of", 0, 1),
        ("above", -1, 0),
        ("below", 1, 0),
    ];
    let empty = rng.random_bool(empty);
    let cells = directions
        .into_iter()
        .filter_map(|(direction, down, right)| {
            let row = row.checked_add_signed(down).filter(|row| *row < GRID)?;
            let column = column.checked_add_signed(right).filter(|c| *c < GRID)?;
            let there = scene.at(row, column);
            (there.is_none() == empty).then_some((direction, there))
        });
    let cells: Vec<(&str, Option<&Thing>)> = cells.collect();
    if cells.is_empty() {
        return None;
    }
    let (direction, there) = pick(&cells, rng);
    Some((direction, mention, there))
}

pub(super) fn name(thing: Option<&Thing>) -> String {
    thing.map_or_else(|| NOTHING.to_owned(), |thing| Mention::full(thing).one())
}
