//! Questions about pictures, and their answers.

mod attributes;
mod follow_up;
mod lists;
mod numbers;
mod places;
mod relations;

use rand::{Rng, RngExt};

use crate::caption::{caption, caption_cells};
use crate::mention::{Attribute, Mention};
use crate::scene::{pick, weighted};
use crate::{Kind, Scene};

pub(crate) use lists::list;
use places::name;

/// What a question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// Whether something is there.
    Presence,
    /// The colour of something.
    Colour,
    /// The shape of something.
    Shape,
    /// Whether something is small or large.
    Size,
    /// Which digit is shown.
    Digit,
    /// Which word is written.
    Word,
    /// How many there are.
    Count,
    /// Where something is.
    Position,
    /// What is at a place.
    Place,
    /// How two things lie to each other.
    Relation,
    /// What is next to something.
    Neighbour,
    /// Of what there is more.
    Comparison,
    /// Everything in the picture.
    Caption,
    /// What happens in a clip.
    Clip,
}

impl Category {
    /// All categories.
    pub const ALL: [Self; 14] = [
        Self::Presence,
        Self::Colour,
        Self::Shape,
        Self::Size,
        Self::Digit,
        Self::Word,
        Self::Count,
        Self::Position,
        Self::Place,
        Self::Relation,
        Self::Neighbour,
        Self::Comparison,
        Self::Caption,
        Self::Clip,
    ];

    /// The categories of short answers about pictures.
    pub const SHORT: &[Self] = Self::ALL.split_at(Self::ALL.len() - 2).0;

    /// The name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Colour => "colour",
            Self::Shape => "shape",
            Self::Size => "size",
            Self::Digit => "digit",
            Self::Word => "word",
            Self::Count => "count",
            Self::Position => "position",
            Self::Place => "place",
            Self::Relation => "relation",
            Self::Neighbour => "neighbour",
            Self::Comparison => "comparison",
            Self::Caption => "caption",
            Self::Clip => "clip",
        }
    }
}

/// A question and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// What is asked for.
    pub category: Category,
    /// The question.
    pub question: String,
    /// The only answer that is right.
    pub answer: String,
    /// The thing that `it` would mean next.
    topic: Option<Topic>,
}

/// A thing that a turn is about, and what the turn tells of it.
#[derive(Clone, Debug, PartialEq)]
struct Topic {
    thing: usize,
    told: Vec<Attribute>,
}

impl Turn {
    pub(crate) fn new(
        category: Category,
        question: impl Into<String>,
        answer: impl Into<String>,
    ) -> Self {
        Self {
            category,
            question: question.into(),
            answer: answer.into(),
            topic: None,
        }
    }

    /// Sets what `it` means next: the thing of the mention, of which the answer tells more.
    fn about(mut self, scene: &Scene, mention: &Mention, answered: Attribute) -> Self {
        let all = [
            Attribute::Colour,
            Attribute::Form,
            Attribute::Size,
            Attribute::Place,
        ];
        let told = |attribute: &Attribute| mention.tells(*attribute) || *attribute == answered;
        let thing = scene.things.iter().position(|thing| mention.matches(thing));
        self.topic = thing.map(|thing| Topic {
            thing,
            told: all.into_iter().filter(told).collect(),
        });
        self
    }
}

/// A question of a category, if the scene has one.
///
/// [`Category::Clip`] is about clips; scenes have no such question.
pub fn ask(scene: &Scene, category: Category, rng: &mut impl Rng) -> Option<Turn> {
    match category {
        Category::Presence => numbers::presence(scene, rng),
        Category::Colour => attributes::colour(scene, rng),
        Category::Shape => attributes::shape(scene, rng),
        Category::Size => attributes::size(scene, rng),
        Category::Digit => attributes::digit(scene, rng),
        Category::Word => attributes::word(scene, rng),
        Category::Count => numbers::count(scene, rng),
        Category::Position => places::position(scene, rng),
        Category::Place => places::place(scene, rng),
        Category::Relation => relations::relation(scene, rng),
        Category::Neighbour => places::neighbour(scene, rng),
        Category::Comparison => numbers::comparison(scene, rng),
        Category::Caption => Some(describe(scene, rng)),
        Category::Clip => None,
    }
}

/// How often conversations try a category of [`Category::SHORT`]: more often those that many scenes
/// have no question of.
const WEIGHTS: [u32; 12] = [3, 3, 3, 3, 8, 12, 3, 3, 3, 6, 5, 3];

/// Several turns about a scene, independent of each other but for some that ask on about `it`.
///
/// There are fewer where the scene has no more questions; no question comes twice.
pub fn converse(scene: &Scene, num_turns: usize, rng: &mut impl Rng) -> Vec<Turn> {
    converse_of(scene, num_turns, Category::SHORT, rng)
}

/// The same of some of the categories of [`Category::SHORT`] alone, but for turns about `it`.
pub(crate) fn converse_of(
    scene: &Scene,
    num_turns: usize,
    of: &[Category],
    rng: &mut impl Rng,
) -> Vec<Turn> {
    let mut weights = WEIGHTS;
    for (weight, category) in weights.iter_mut().zip(Category::SHORT) {
        if !of.contains(category) {
            *weight = 0;
        }
    }
    let mut turns: Vec<Turn> = Vec::new();
    for _ in 0..num_turns * 8 {
        if turns.len() == num_turns {
            break;
        }
        let last = turns.last().filter(|_| rng.random_bool(0.25));
        let next = match last.and_then(|turn| turn.topic.as_ref()) {
            Some(topic) => follow_up::follow_up(scene, topic, rng),
            None => ask(scene, Category::SHORT[weighted(&weights, rng)], rng),
        };
        let is_new = |turn: &Turn| turns.iter().all(|other| other.question != turn.question);
        turns.extend(next.filter(is_new));
    }
    // Of an empty picture little can be asked.
    while turns.is_empty() {
        turns.extend(ask(scene, Category::Presence, rng));
    }
    turns
}

fn describe(scene: &Scene, rng: &mut impl Rng) -> Turn {
    let question = pick(&DESCRIBE, rng);
    Turn::new(Category::Caption, question, caption(scene))
}

/// Asks what is in each cell of a picture of one tile.
pub(crate) fn describe_cells(scene: &Scene, rng: &mut impl Rng) -> Turn {
    let question = pick(&DESCRIBE_CELLS, rng);
    Turn::new(Category::Caption, question, caption_cells(scene))
}

const DESCRIBE_CELLS: [&str; 2] = ["What is in each cell?", "List the cells."];

const DESCRIBE: [&str; 5] = [
    "Describe the picture.",
    "List everything and its place.",
    "What is in the picture?",
    "Describe every thing and where it is.",
    "What do you see?",
];

/// One of several phrasings, with `{a}` and `{b}` filled in.
pub(crate) fn say(phrasings: &[&str], a: &str, b: &str, rng: &mut impl Rng) -> String {
    pick(phrasings, rng).replace("{a}", a).replace("{b}", b)
}

pub(crate) fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// A mention that means one thing alone and does not tell `hidden`.
fn unique_mention(
    scene: &Scene,
    hidden: Attribute,
    wanted: impl Fn(Kind) -> bool,
    rng: &mut impl Rng,
) -> Option<(usize, Mention)> {
    let things = scene.things.iter().enumerate();
    let things = things.filter(|(_, thing)| wanted(thing.kind));
    let with_mentions = things.filter_map(|(index, thing)| {
        let mut mentions = Mention::all(thing);
        mentions.retain(|mention| {
            // Without a form, only questions for it speak of a `red thing`.
            let formed = hidden == Attribute::Form || mention.noun != crate::mention::Noun::Thing;
            formed && !mention.tells(hidden) && mention.is_unique(scene)
        });
        (!mentions.is_empty()).then_some((index, mentions))
    });
    let found: Vec<(usize, Vec<Mention>)> = with_mentions.collect();
    if found.is_empty() {
        return None;
    }
    let (index, mentions) = &found[rng.random_range(0..found.len())];
    Some((*index, pick(mentions, rng)))
}
