//! Questions about clips, and their answers.

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

/// A question about a clip.
pub fn ask_clip(clip: &Clip, rng: &mut impl Rng) -> Turn {
    loop {
        let turn = match rng.random_range(0..100) {
            0..18 => direction(clip, rng),
            18..36 => Some(happens(clip, rng)),
            36..50 => Some(does_it(clip, rng)),
            50..66 => what_does(clip, rng),
            66..78 => of_the_mover(clip, rng),
            78..90 => Some(count(clip, rng)),
            _ => Some(describe(clip, rng)),
        };
        if let Some(turn) = turn {
            return turn;
        }
    }
}

/// Up to so many different questions about a clip.
pub fn converse_clip(clip: &Clip, num_turns: usize, rng: &mut impl Rng) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    for _ in 0..num_turns * 8 {
        if turns.len() == num_turns {
            break;
        }
        let next = ask_clip(clip, rng);
        if turns.iter().all(|turn| turn.question != next.question) {
            turns.push(next);
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
    let (question, answer) = match actor.action {
        Action::Move(_) => (
            say(
                &["What happens to {a}?", "What does {a} do?"],
                &the,
                "",
                rng,
            ),
            actor.does(),
        ),
        _ if rng.random_bool(0.5) => {
            let phrasings = [
                "Does {a} appear, disappear or stay?",
                "Does {a} stay, appear or disappear?",
            ];
            (say(&phrasings, &the, "", rng), actor.does())
        }
        _ => (
            say(
                &["What happens to {a}?", "What does {a} do?"],
                &the,
                "",
                rng,
            ),
            actor.does(),
        ),
    };
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

fn of_the_mover(clip: &Clip, rng: &mut impl Rng) -> Option<Turn> {
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

fn count(clip: &Clip, rng: &mut impl Rng) -> Turn {
    let (when, frame) = if rng.random_bool(0.5) {
        ("at the end", NUM_FRAMES - 1)
    } else {
        ("at the beginning", 0)
    };
    let phrasings = [
        "How many things are there {a}?",
        "How many things do you see {a}?",
        "Count the things {a}.",
    ];
    let question = say(&phrasings, when, "", rng);
    Turn::new(Category::Clip, question, clip.count(frame).to_string())
}
