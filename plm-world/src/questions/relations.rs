//! Questions for how two things lie to each other.

use rand::{Rng, RngExt};

use super::{Category, Turn, say, unique_mention, yes_or_no};
use crate::mention::Attribute;
use crate::{Scene, Thing};

pub(super) fn relation(scene: &Scene, rng: &mut impl Rng) -> Option<Turn> {
    let (first, mention_a) = unique_mention(scene, Attribute::Place, |_| true, rng)?;
    let (second, mention_b) = unique_mention(scene, Attribute::Place, |_| true, rng)?;
    if first == second {
        return None;
    }
    let (a, b) = (&scene.things[first], &scene.things[second]);
    let across = rng.random_bool(0.5);
    // Whether the first is left of the second, or above it; not asked where neither is the case.
    let is_before = if across {
        is_left_of(a, b)?
    } else {
        is_above(a, b)?
    };
    let (the_a, the_b) = (mention_a.the(), mention_b.the());
    let [before, after] = if across {
        ["left", "right"]
    } else {
        ["above", "below"]
    };
    if rng.random_bool(0.35) {
        let phrasings: [&str; 2] = if across {
            [
                "Is {a} left or right of {b}?",
                "Is {a} to the left or to the right of {b}?",
            ]
        } else {
            [
                "Is {a} above or below {b}?",
                "Is {a} higher or lower than {b}?",
            ]
        };
        let question = say(&phrasings, &the_a, &the_b, rng);
        let [before, after] = if question.contains("higher") {
            ["higher", "lower"]
        } else {
            [before, after]
        };
        let answer = if is_before { before } else { after };
        return Some(Turn::new(Category::Relation, question, answer));
    }
    let asks_before = rng.random_bool(0.5);
    let phrasings: &[&str] = match (across, asks_before) {
        (true, true) => &["Is {a} left of {b}?", "Is {a} to the left of {b}?"],
        (true, false) => &["Is {a} right of {b}?", "Is {a} to the right of {b}?"],
        (false, true) => &["Is {a} above {b}?", "Is {a} higher than {b}?"],
        (false, false) => &["Is {a} below {b}?", "Is {a} lower than {b}?"],
    };
    let question = say(phrasings, &the_a, &the_b, rng);
    let answer = yes_or_no(is_before == asks_before);
    Some(Turn::new(Category::Relation, question, answer))
}

/// Whether all columns of one are left of the other's, or all right of them.
pub(super) fn is_left_of(a: &Thing, b: &Thing) -> Option<bool> {
    if a.column + a.columns() <= b.column {
        Some(true)
    } else if b.column + b.columns() <= a.column {
        Some(false)
    } else {
        None
    }
}

pub(super) fn is_above(a: &Thing, b: &Thing) -> Option<bool> {
    (a.row != b.row).then_some(a.row < b.row)
}
