//! Questions for what a thing is.

use rand::Rng;

use super::{Category, Turn, say, unique_mention};
use crate::mention::{Attribute, Mention, Noun};
use crate::scene::pick;
use crate::{Kind, Scene};

pub(super) fn colour(scene: &Scene, rng: &mut impl Rng) -> Option<Turn> {
    let (thing, mention) = unique_mention(scene, Attribute::Colour, |_| true, rng)?;
    let phrasings = [
        "What colour is {a}?",
        "Which colour does {a} have?",
        "What is the colour of {a}?",
        "Name the colour of {a}.",
    ];
    let question = say(&phrasings, &mention.the(), "", rng);
    let answer = scene.things[thing].colour.name();
    let turn = Turn::new(Category::Colour, question, answer);
    Some(turn.about(scene, &mention, Attribute::Colour))
}

pub(super) fn shape(scene: &Scene, rng: &mut impl Rng) -> Option<Turn> {
    let is_shape = |kind| matches!(kind, Kind::Shape(..));
    let (thing, mention) = unique_mention(scene, Attribute::Form, is_shape, rng)?;
    let Kind::Shape(shape, _) = scene.things[thing].kind else {
        return None;
    };
    let phrasings = [
        "What shape is {a}?",
        "Which shape does {a} have?",
        "What is the shape of {a}?",
        "Name the shape of {a}.",
    ];
    let question = say(&phrasings, &mention.the(), "", rng);
    let turn = Turn::new(Category::Shape, question, shape.name());
    Some(turn.about(scene, &mention, Attribute::Form))
}

pub(super) fn size(scene: &Scene, rng: &mut impl Rng) -> Option<Turn> {
    let is_shape = |kind| matches!(kind, Kind::Shape(..));
    let (thing, mention) = unique_mention(scene, Attribute::Size, is_shape, rng)?;
    let Kind::Shape(_, size) = scene.things[thing].kind else {
        return None;
    };
    let phrasings = [
        "Is {a} small or large?",
        "What size is {a}?",
        "How large is {a}?",
        "What is the size of {a}?",
    ];
    let question = say(&phrasings, &mention.the(), "", rng);
    let turn = Turn::new(Category::Size, question, size.name());
    Some(turn.about(scene, &mention, Attribute::Size))
}

pub(super) fn digit(scene: &Scene, rng: &mut impl Rng) -> Option<Turn> {
    let is_digit = |kind| matches!(kind, Kind::Digit(_));
    let (thing, mention) = named(scene, is_digit, rng)?;
    let Kind::Digit(digit) = scene.things[thing].kind else {
        return None;
    };
    let question = if mention == Mention::new(Noun::Digit(None)) {
        let phrasings = [
            "What digit is shown?",
            "Which digit do you see?",
            "What is the digit?",
            "Read the digit.",
        ];
        pick(&phrasings, rng).to_owned()
    } else {
        let phrasings = [
            "What is {a}?",
            "Which digit is {a}?",
            "Read {a}.",
            "What does {a} say?",
        ];
        say(&phrasings, &mention.the(), "", rng)
    };
    let turn = Turn::new(Category::Digit, question, digit.to_string());
    Some(turn.about(scene, &mention, Attribute::Form))
}

pub(super) fn word(scene: &Scene, rng: &mut impl Rng) -> Option<Turn> {
    let is_word = |kind| matches!(kind, Kind::Word(..));
    let (thing, mention) = named(scene, is_word, rng)?;
    let Kind::Word(word, _) = scene.things[thing].kind else {
        return None;
    };
    let question = if mention == Mention::new(Noun::Word(None)) {
        let phrasings = [
            "What word is written?",
            "Which word do you see?",
            "What does the word say?",
            "Read the word.",
        ];
        pick(&phrasings, rng).to_owned()
    } else {
        let phrasings = [
            "What is {a}?",
            "Which word is {a}?",
            "Read {a}.",
            "What does {a} say?",
        ];
        say(&phrasings, &mention.the(), "", rng)
    };
    let turn = Turn::new(Category::Word, question, word);
    Some(turn.about(scene, &mention, Attribute::Form))
}

/// A digit or word that is the only one, or the only one of its colour.
fn named(
    scene: &Scene,
    wanted: impl Fn(Kind) -> bool,
    rng: &mut impl Rng,
) -> Option<(usize, Mention)> {
    unique_mention(scene, Attribute::Form, wanted, rng)
        .filter(|(_, mention)| mention.noun != Noun::Thing)
}
