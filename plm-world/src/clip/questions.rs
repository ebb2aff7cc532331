//! Questions about clips, and their answers.

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::{Action, Actor, Clip, NUM_FRAMES};
use crate::mention::{Mention, Noun};
use crate::questions::{say, yes_or_no};
use crate::scene::pick;
use crate::{Category, Turn};

impl Actor {
    fn mention(&self) -> Mention {
        Mention::coloured(self.colour, Noun::Shape(self.shape))
    }

    /// `moves left`, `stays`, `appears`, `disappears`.
    fn does(&self) -> String {
        match self.action {
            Action::Stay => "stays".to_owned(),
            Action::Move(direction) => format!("moves {}", direction.name()),
            Action::Appear(_) => "appears".to_owned(),
            Action::Disappear(_) => "disappears".to_owned(),
        }
    }
}

/// What can be asked about a clip, as often as it stands here.
const QUESTIONS: [Question; 12] = [
    Question::Direction,
    Question::Direction,
    Question::Happens,
    Question::Happens,
    Question::DoesIt,
    Question::DoesIt,
    Question::WhatDoes,
    Question::WhatDoes,
    Question::OfTheActor,
    Question::CountFirst,
    Question::CountLast,
    Question::Describe,
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Question {
    Direction,
    Happens,
    DoesIt,
    WhatDoes,
    OfTheActor,
    CountFirst,
    CountLast,
    Describe,
}

impl Question {
    fn ask(self, clip: &Clip, rng: &mut impl Rng) -> Option<Turn> {
        match self {
            Self::Direction => direction(clip, rng),
            Self::Happens => Some(happens(clip, rng)),
            Self::DoesIt => Some(does_it(clip, rng)),
            Self::WhatDoes => what_does(clip, rng),
            Self::OfTheActor => of_the_actor(clip, rng),
            Self::CountFirst => Some(count(clip, "at the beginning", 0, rng)),
            Self::CountLast => Some(count(clip, "at the end", NUM_FRAMES - 1, rng)),
            Self::Describe => Some(describe(clip, rng)),
        }
    }
}

/// A question about a clip.
pub fn ask_clip(clip: &Clip, rng: &mut impl Rng) -> Turn {
    loop {
        if let Some(turn) = pick(&QUESTIONS, rng).ask(clip, rng) {
            return turn;
        }
    }
}

/// Up to so many questions about a clip, of kinds that differ.
pub fn converse_clip(clip: &Clip, num_turns: usize, rng: &mut impl Rng) -> Vec<Turn> {
    let mut questions = QUESTIONS.to_vec();
    questions.shuffle(rng);
    let mut asked = Vec::new();
    let mut turns = Vec::new();
    for question in questions {
        if turns.len() == num_turns || asked.contains(&question) {
            continue;
        }
        if let Some(turn) = question.ask(clip, rng) {
            asked.push(question);
            turns.push(turn);
        }
    }
    turns
}

/// What every thing does, the one that does something first.
pub(crate) fn describe(clip: &Clip, rng: &mut impl Rng) -> Turn {
    let phrasings = [
        "Describe the clip.",
        "What happens in the clip?",
        "Describe what happens.",
        "What happens?",
    ];
    let sentences = clip.actors.iter().map(|actor| {
        let (a, does) = (actor.mention().a(), actor.does());
        match actor.action {
            Action::Move(_) => format!("{a} {does}."),
            _ => format!("{a} {does} in the {}.", actor.quarter().name()),
        }
    });
    let sentences: Vec<String> = sentences.collect();
    Turn::new(Category::Clip, pick(&phrasings, rng), sentences.join(" "))
}

fn direction(clip: &Clip, rng: &mut impl Rng) -> Option<Turn> {
    let actor = &clip.actors[0];
    let Action::Move(direction) = actor.action else {
        return None;
    };
    let phrasings = [
        "Which direction does {a} move?",
        "Where does {a} move?",
        "Which way does {a} move?",
        "In which direction does {a} move?",
    ];
    let question = say(&phrasings, &actor.mention().the(), "", rng);
    Some(Turn::new(Category::Clip, question, direction.name()))
}

fn happens(clip: &Clip, rng: &mut impl Rng) -> Turn {
    let actor = &clip.actors[rng.random_range(0..clip.actors.len())];
    let the = actor.mention().the();
    let moves = matches!(actor.action, Action::Move(_));
    let phrasings: &[&str] = if moves {
        &["What happens to {a}?", "What does {a} do?"]
    } else {
        &[
            "What happens to {a}?",
            "What does {a} do?",
            "Does {a} appear, disappear or stay?",
            "Does {a} stay, appear or disappear?",
        ]
    };
    let question = say(phrasings, &the, "", rng);
    let answer = actor.does();
    Turn::new(Category::Clip, question, format!("it {answer}"))
}

/// Whether a thing does something; as often as not it does.
fn does_it(clip: &Clip, rng: &mut impl Rng) -> Turn {
    let actor = &clip.actors[rng.random_range(0..clip.actors.len())];
    let actions = ["move", "appear", "disappear", "stay"];
    let own = match actor.action {
        Action::Move(_) => 0,
        Action::Appear(_) => 1,
        Action::Disappear(_) => 2,
        Action::Stay => 3,
    };
    let yes = rng.random_bool(0.5);
    let other = (own + rng.random_range(1..actions.len())) % actions.len();
    let action = actions[if yes { own } else { other }];
    let question = format!("Does {} {action}?", actor.mention().the());
    Turn::new(Category::Clip, question, yes_or_no(yes))
}

fn what_does(clip: &Clip, rng: &mut impl Rng) -> Option<Turn> {
    let index = rng.random_range(0..clip.actors.len());
    let actor = &clip.actors[index];
    // Where both stay, it is asked of neither.
    let same = clip
        .actors
        .iter()
        .filter(|other| other.action == actor.action);
    if same.count() > 1 {
        return None;
    }
    let does = match actor.action {
        Action::Move(_) => "moves".to_owned(),
        _ => actor.does(),
    };
    let phrasings = ["What {a}?", "Which thing {a}?", "Name what {a}."];
    let question = say(&phrasings, &does, "", rng);
    Some(Turn::new(Category::Clip, question, actor.mention().one()))
}

fn of_the_actor(clip: &Clip, rng: &mut impl Rng) -> Option<Turn> {
    let actor = &clip.actors[0];
    let does = match actor.action {
        Action::Move(_) => "moves".to_owned(),
        Action::Stay => return None,
        _ => actor.does(),
    };
    let (phrasings, answer) = if rng.random_bool(0.5) {
        (
            [
                "What colour is the thing that {a}?",
                "What is the colour of what {a}?",
            ],
            actor.colour.name(),
        )
    } else {
        (
            [
                "What shape is the thing that {a}?",
                "What is the shape of what {a}?",
            ],
            actor.shape.name(),
        )
    };
    let question = say(&phrasings, &does, "", rng);
    Some(Turn::new(Category::Clip, question, answer))
}

fn count(clip: &Clip, when: &str, frame: usize, rng: &mut impl Rng) -> Turn {
    let phrasings = [
        "How many things are there {a}?",
        "How many things do you see {a}?",
        "Count the things {a}.",
    ];
    let question = say(&phrasings, when, "", rng);
    Turn::new(Category::Clip, question, clip.count(frame).to_string())
}
