//! Questions for how many there are, and whether there is one at all.

use rand::{Rng, RngExt};

use super::{Category, Turn, say, yes_or_no};
use crate::mention::{Mention, Noun};
use crate::scene::pick;
use crate::{Colour, Kind, Scene, Shape, WORDS};

pub(super) fn presence(scene: &Scene, rng: &mut impl Rng) -> Option<Turn> {
    let yes = rng.random_bool(0.5);
    let mention = present(scene, yes, rng)?;
    let phrasings: &[&str] = match mention.noun {
        Noun::Word(Some(_)) => &[
            "Do you see {a}?",
            "Can you see {a}?",
            "Does the picture show {a}?",
            "Is {a} in the picture?",
        ],
        _ => &[
            "Is there {a}?",
            "Is there {a} in the picture?",
            "Do you see {a}?",
            "Can you see {a}?",
            "Does the picture show {a}?",
        ],
    };
    let question = say(phrasings, &mention.a(), "", rng);
    Some(Turn::new(Category::Presence, question, yes_or_no(yes)))
}

/// Something that is in the scene, or something that is not.
pub(super) fn present(scene: &Scene, yes: bool, rng: &mut impl Rng) -> Option<Mention> {
    if yes {
        let thing = scene
            .things
            .get(rng.random_range(0..scene.things.len().max(1)))?;
        let mut mentions = Mention::all(thing);
        mentions.retain(is_worth_asking);
        Some(pick(&mentions, rng))
    } else {
        (0..20)
            .map(|_| near_miss(scene, rng))
            .find(|mention| is_worth_asking(mention) && mention.count(scene) == 0)
    }
}

/// Names something, or the colour of any digit, word or thing.
fn is_worth_asking(mention: &Mention) -> bool {
    match mention.noun {
        Noun::Thing => mention.colour.is_some() && mention.size.is_none(),
        Noun::Word(Some(_)) => mention.colour.is_none(),
        Noun::Shape(_) | Noun::Digit(_) | Noun::Word(None) => true,
    }
}

/// A mention of something in the scene, of which one part is another.
fn near_miss(scene: &Scene, rng: &mut impl Rng) -> Mention {
    let colours = Colour::seen_on(&scene.background);
    if scene.things.is_empty() {
        return Mention::coloured(pick(&colours, rng), Noun::Shape(pick(&Shape::ALL, rng)));
    }
    let mut mention = pick(
        &Mention::all(&scene.things[rng.random_range(0..scene.things.len())]),
        rng,
    );
    // Often what another thing has, so that both parts can be seen, but not together.
    let other = &scene.things[rng.random_range(0..scene.things.len())];
    let borrow = rng.random_bool(0.6);
    match (rng.random_range(0..4), mention.size, mention.colour) {
        (0, Some(size), _) => mention.size = Some(size.other()),
        (0..=1, _, Some(_)) if borrow => mention.colour = Some(other.colour),
        (0..=1, _, Some(_)) => mention.colour = Some(pick(&colours, rng)),
        _ => {
            mention.noun = match (mention.noun, other.kind) {
                (Noun::Shape(_), Kind::Shape(shape, _)) if borrow => Noun::Shape(shape),
                (Noun::Shape(_), _) => Noun::Shape(pick(&Shape::ALL, rng)),
                (Noun::Digit(Some(_)), _) => Noun::Digit(Some(rng.random_range(0..10))),
                (Noun::Word(Some(_)), _) => Noun::Word(Some(pick(&WORDS, rng))),
                (noun, _) => noun,
            };
        }
    }
    mention
}

pub(super) fn count(scene: &Scene, rng: &mut impl Rng) -> Option<Turn> {
    let mentions = countable(scene, rng);
    let mut counts: Vec<usize> = mentions
        .iter()
        .map(|mention| mention.count(scene))
        .collect();
    counts.sort_unstable();
    counts.dedup();
    // Every number as often as it can be; zeros, which there always are, less.
    if counts.len() > 1 && rng.random_bool(0.4) {
        counts.retain(|&count| count != 0);
    }
    let count = *counts.get(rng.random_range(0..counts.len().max(1)))?;
    let mentions: Vec<Mention> = mentions
        .into_iter()
        .filter(|mention| mention.count(scene) == count)
        .collect();
    let mention = pick(&mentions, rng);
    let phrasings = [
        "How many {a} are there?",
        "How many {a} do you see?",
        "Count the {a}.",
        "What is the number of {a}?",
        "How many {a} are in the picture?",
    ];
    let question = say(&phrasings, &mention.several(), "", rng);
    Some(Turn::new(Category::Count, question, count.to_string()))
}

/// What can be counted: by shape, colour and size, most of it in the scene.
pub(super) fn countable(scene: &Scene, rng: &mut impl Rng) -> Vec<Mention> {
    let mut colours: Vec<Colour> = scene.things.iter().map(|thing| thing.colour).collect();
    colours.push(pick(&Colour::seen_on(&scene.background), rng));
    let shapes = scene.things.iter().filter_map(|thing| match thing.kind {
        Kind::Shape(shape, size) => Some((shape, size)),
        Kind::Digit(_) | Kind::Word(..) => None,
    });
    let mut mentions = vec![
        Mention::new(Noun::Thing),
        Mention::new(Noun::Digit(None)),
        Mention::new(Noun::Word(None)),
        Mention::new(Noun::Shape(pick(&Shape::ALL, rng))),
    ];
    for colour in colours.iter().copied() {
        mentions.push(Mention::coloured(colour, Noun::Thing));
    }
    for (shape, size) in shapes {
        let noun = Noun::Shape(shape);
        let sized = Some(size);
        mentions.push(Mention::new(noun));
        mentions.push(Mention {
            size: sized,
            ..Mention::new(noun)
        });
        for colour in colours.iter().copied() {
            mentions.push(Mention::coloured(colour, noun));
        }
    }
    let mut distinct: Vec<Mention> = Vec::new();
    for mention in mentions {
        if !distinct.contains(&mention) {
            distinct.push(mention);
        }
    }
    distinct
}

pub(super) fn comparison(scene: &Scene, rng: &mut impl Rng) -> Option<Turn> {
    let wanted = rng.random_range(0..5);
    let by_colour = rng.random_bool(0.4);
    let mut mentions = countable(scene, rng);
    mentions.retain(|mention| match mention.noun {
        Noun::Thing => by_colour && mention.colour.is_some(),
        Noun::Shape(_) => !by_colour && mention.colour.is_none() && mention.size.is_none(),
        Noun::Digit(_) | Noun::Word(_) => !by_colour,
    });
    let pairs = mentions
        .iter()
        .flat_map(|a| mentions.iter().map(move |b| (*a, *b)));
    let pairs = pairs.filter(|(a, b)| a != b);
    let pairs = pairs.map(|(a, b)| (a, b, a.count(scene), b.count(scene)));
    // More, fewer (or as many), or either for `which`.
    let fits = |(_, _, a, b): &(Mention, Mention, usize, usize)| match wanted {
        0 | 1 => a > b,
        2 => a < b,
        3 => a <= b && a + b > 0,
        _ => a != b,
    };
    let pairs: Vec<(Mention, Mention, usize, usize)> = pairs.filter(fits).collect();
    if pairs.is_empty() {
        return None;
    }
    let (a, b, count_a, count_b) = pick(&pairs, rng);
    let [first, second] = [a, b].map(|mention| mention.several());
    if wanted == 4 {
        let phrasings = [
            "Are there more {a} or {b}?",
            "Of what are there more, {a} or {b}?",
            "What do you see more of, {a} or {b}?",
        ];
        let question = say(&phrasings, &first, &second, rng);
        let answer = if count_a > count_b { first } else { second };
        return Some(Turn::new(Category::Comparison, question, answer));
    }
    let phrasings = [
        "Are there more {a} than {b}?",
        "Do you see more {a} than {b}?",
        "Does the picture show more {a} than {b}?",
    ];
    let question = say(&phrasings, &first, &second, rng);
    Some(Turn::new(
        Category::Comparison,
        question,
        yes_or_no(count_a > count_b),
    ))
}
