//! Lists of many answers, in any order: a model that is to look things up learns more from a line of
//! lookups than from a question and an answer each.

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::{
    Category, Turn, name, numbers, pick, places, relations, say, unique_mention, yes_or_no,
};
use crate::caption::{caption_of, cell_name, with_place};
use crate::mention::Attribute;
use crate::scene::GRID;
use crate::{Quarter, Scene};

/// Most entries of a list.
const MOST: usize = 8;

/// Draws what is asked in an entry, and its answer.
type Ask<R> = fn(&Scene, &mut R) -> Option<(String, String)>;

impl Category {
    /// The categories that have lists.
    pub const LISTED: &[Self] = &[
        Self::Presence,
        Self::Count,
        Self::Position,
        Self::Place,
        Self::Relation,
        Self::Neighbour,
        Self::Caption,
    ];
}

/// A list about a scene, if it has one of the category that is drawn. One alone: what a list before
/// says would be read there, not seen.
pub(crate) fn list(scene: &Scene, of: &[Category], rng: &mut impl Rng) -> Option<Turn> {
    match pick(of, rng) {
        Category::Caption => Some(quarters(scene, rng)),
        category => list_of(scene, category, rng),
    }
}

/// A caption whose quarters come in any order.
fn quarters(scene: &Scene, rng: &mut impl Rng) -> Turn {
    let mut quarters = Quarter::ALL;
    quarters.shuffle(rng);
    let phrasings = ["What is in every quarter?", "Describe every quarter."];
    Turn::new(
        Category::Caption,
        pick(&phrasings, rng),
        caption_of(scene, quarters),
    )
}

fn list_of(scene: &Scene, category: Category, rng: &mut impl Rng) -> Option<Turn> {
    let (phrasings, entry): (_, Ask<_>) = match category {
        Category::Presence => (["Which things are there?", "What is there?"], presence),
        Category::Count => (["How many are there?", "Count everything."], count),
        Category::Position => (["Where is everything?", "Where is every thing?"], position),
        Category::Place => (["What is in every place?", "What is in every row?"], place),
        Category::Relation => (
            ["Where is which thing?", "Which is left, which is above?"],
            relation,
        ),
        Category::Neighbour => (
            ["What is at every thing?", "What is directly where?"],
            neighbour,
        ),
        other => panic!("there are no lists of {}", other.name()),
    };
    let mut entries: Vec<(String, String)> = Vec::new();
    for _ in 0..3 * MOST {
        if entries.len() == MOST {
            break;
        }
        // A thing's place is not to be copied from an entry before.
        let is_new = |entry: &(String, String)| {
            let is_other = |other: &(String, String)| {
                entry.0 != other.0 && (category != Category::Position || entry.1 != other.1)
            };
            entries.iter().all(is_other)
        };
        let next = entry(scene, rng).filter(is_new);
        entries.extend(next);
    }
    let entries = entries
        .into_iter()
        .map(|(asked, answer)| format!("{asked}: {answer}."));
    let answer = entries.collect::<Vec<_>>().join(" ");
    let question = say(&phrasings, "", "", rng);
    (!answer.is_empty()).then(|| Turn::new(category, question, answer))
}

/// `a red star: yes`.
fn presence<R: Rng>(scene: &Scene, rng: &mut R) -> Option<(String, String)> {
    let yes = rng.random_bool(0.5);
    let mention = numbers::present(scene, yes, rng)?;
    Some((mention.a(), yes_or_no(yes).to_owned()))
}

/// `red stars: 2`.
fn count<R: Rng>(scene: &Scene, rng: &mut R) -> Option<(String, String)> {
    let mention = pick(&numbers::countable(scene, rng), rng);
    Some((mention.several(), mention.count(scene).to_string()))
}

/// `the star: small red star in row 1 column 2`.
fn position<R: Rng>(scene: &Scene, rng: &mut R) -> Option<(String, String)> {
    let (index, mention) = unique_mention(scene, Attribute::Place, |_| true, rng)?;
    Some((mention.the(), with_place(&scene.things[index])))
}

/// `row 1 column 2: small red star`.
fn place<R: Rng>(scene: &Scene, rng: &mut R) -> Option<(String, String)> {
    let (row, column) = (rng.random_range(0..GRID), rng.random_range(0..GRID));
    let there = scene.at(row, column);
    let asked = cell_name(row, column);
    // There are more empty cells than others.
    (there.is_some() || rng.random_bool(0.4)).then(|| (asked, name(there)))
}

/// `the star and the blue ring: left, above`.
fn relation<R: Rng>(scene: &Scene, rng: &mut R) -> Option<(String, String)> {
    let (first, mention_a) = unique_mention(scene, Attribute::Place, |_| true, rng)?;
    let (second, mention_b) = unique_mention(scene, Attribute::Place, |_| true, rng)?;
    if first == second {
        return None;
    }
    let (a, b) = (&scene.things[first], &scene.things[second]);
    let across = relations::is_left_of(a, b).map(|left| if left { "left" } else { "right" });
    let down = relations::is_above(a, b).map(|above| if above { "above" } else { "below" });
    let answer: Vec<&str> = across.into_iter().chain(down).collect();
    let asked = format!("{} and {}", mention_a.the(), mention_b.the());
    Some((asked, answer.join(", ")))
}

/// `right of the star: blue ring`.
fn neighbour<R: Rng>(scene: &Scene, rng: &mut R) -> Option<(String, String)> {
    let (direction, mention, there) = places::beside(scene, 0.3, rng)?;
    Some((format!("{direction} {}", mention.the()), name(there)))
}
