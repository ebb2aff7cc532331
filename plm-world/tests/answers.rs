//! Questions are read back from their words and answered from the scene alone, by other code than
//! the one that wrote them.

use std::collections::{BTreeMap, BTreeSet};

use plm_world::{
    Backgrounds, Category, DataSet, Kind, Medium, Scene, Task, Thing, Turn, ask, caption, converse,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Questions with their slots; the letter after `@` says what stands there.
const PATTERNS: [(Category, &str, Answer); 17] = [
    (
        Category::Presence,
        "Is there @m in the picture?|Is there @m?|Do you see @m?|Can you see @m?|Does the picture show @m?|Is @m in the picture?",
        presence,
    ),
    (
        Category::Count,
        "How many @m are there?|How many @m do you see?|Count the @m.|What is the number of @m?|How many @m are in the picture?",
        count,
    ),
    (
        Category::Comparison,
        "Are there more @m than @n?|Do you see more @m than @n?|Does the picture show more @m than @n?",
        more,
    ),
    (
        Category::Comparison,
        "Are there more @m or @n?|Of what are there more, @m or @n?|What do you see more of, @m or @n?",
        which_more,
    ),
    (
        Category::Colour,
        "What colour is @m?|Which colour does @m have?|What is the colour of @m?|Name the colour of @m.",
        colour,
    ),
    (
        Category::Shape,
        "What shape is @m?|Which shape does @m have?|What is the shape of @m?|Name the shape of @m.",
        form,
    ),
    (
        Category::Size,
        "Is @m small or large?|What size is @m?|How large is @m?|What is the size of @m?",
        size,
    ),
    (
        Category::Digit,
        "Which @m do you see?|What @m is shown?|Which digit is @m?|What is @m?|Read @m.|What does @m say?",
        form,
    ),
    (
        Category::Word,
        "Which @m do you see?|What @m is written?|Which word is @m?|What is @m?|Read @m.|What does @m say?",
        form,
    ),
    (
        Category::Position,
        "In which quarter is @m?|Which quarter is @m in?|Where do you see @m?|Where is @m?",
        quarter,
    ),
    (
        Category::Position,
        "In which row and column is @m?|Which row and column is @m in?|What are the row and column of @m?|Name the row and column of @m.",
        row_and_column,
    ),
    (
        Category::Position,
        "In which row is @m?|Which row is @m in?|What is the row of @m?|Name the row of @m.",
        row,
    ),
    (
        Category::Position,
        "In which column is @m?|Which column is @m in?|What is the column of @m?|Name the column of @m.",
        column,
    ),
    (
        Category::Place,
        "What is in row @m column @n?|What do you see in row @m column @n?|Which thing is in row @m column @n?|Name what is in row @m column @n.",
        at_cell,
    ),
    (
        Category::Place,
        "What is in the @m quarter?|What is in the @m?|What do you see in the @m?|Which thing is in the @m?",
        in_quarter,
    ),
    (
        Category::Neighbour,
        "What is directly @m the @n?|What do you see directly @m the @n?|Which thing is directly @m the @n?|Name what is directly @m the @n.",
        next_to,
    ),
    (
        Category::Relation,
        "Is @m to the left or to the right of @n?|Is @m left or right of @n?|Is @m above or below @n?|Is @m higher or lower than @n?|Is @m to the left of @n?|Is @m to the right of @n?|Is @m left of @n?|Is @m right of @n?|Is @m above @n?|Is @m below @n?|Is @m higher than @n?|Is @m lower than @n?",
        relation,
    ),
];

/// From the question's pattern and its two slots; none if the question has not one answer.
type Answer = fn(&Scene, &str, &str, &str) -> Option<String>;

/// What stands in the slots, if a question has the form of the pattern.
fn slots<'q>(pattern: &str, question: &'q str) -> Option<(&'q str, &'q str)> {
    let (before, rest) = pattern.split_once("@m").unwrap();
    let question = question.strip_prefix(before)?;
    match rest.split_once("@n") {
        None => Some((question.strip_suffix(rest)?, "")),
        Some((between, after)) => {
            let (m, n) = question.strip_suffix(after)?.split_once(between)?;
            Some((m, n))
        }
    }
}

/// The pattern of a question, its slots and what answers it.
fn read(turn: &Turn) -> (&'static str, &str, &str, Answer) {
    for (category, patterns, answer) in PATTERNS {
        if category != turn.category {
            continue;
        }
        for pattern in patterns.split('|') {
            if let Some((m, n)) = slots(pattern, &turn.question) {
                return (pattern, m, n, answer);
            }
        }
    }
    panic!("no pattern for `{}`", turn.question)
}

/// The words by which a thing can be called.
fn words(thing: &Thing) -> BTreeSet<String> {
    let mut words = vec![thing.colour.name().to_owned(), "thing".to_owned()];
    match thing.kind {
        Kind::Shape(shape, size) => words.extend([shape.name(), size.name()].map(str::to_owned)),
        Kind::Digit(digit) => words.extend(["digit".to_owned(), digit.to_string()]),
        Kind::Word(word, _) => words.extend(["word".to_owned(), format!("'{word}'")]),
    }
    words.into_iter().collect()
}

/// The things that a phrase such as `the small red circle` or `red things` means.
fn meant<'s>(scene: &'s Scene, phrase: &str) -> Vec<&'s Thing> {
    let mut said: Vec<String> = phrase.split(' ').map(str::to_owned).collect();
    said.retain(|word| !["a", "an", "the"].contains(&word.as_str()));
    // `the word red` names a word, not a colour.
    if let Some(place) = said.iter().position(|word| word == "word")
        && let Some(name) = said.get_mut(place + 1)
    {
        *name = format!("'{name}'");
    }
    let singular = |word: &String| match word.as_str() {
        "crosses" => "cross".to_owned(),
        "cross" => "cross".to_owned(),
        word if word.starts_with('\'') => word.to_owned(),
        word => word.strip_suffix('s').unwrap_or(word).to_owned(),
    };
    let said: Vec<String> = said.iter().map(singular).collect();
    let fits = |thing: &&Thing| {
        let words = words(thing);
        said.iter().all(|word| words.contains(word))
    };
    scene.things.iter().filter(fits).collect()
}

fn only<'s>(scene: &'s Scene, phrase: &str) -> Option<&'s Thing> {
    assert!(
        phrase.starts_with("the ") || ["digit", "word"].contains(&phrase),
        "{phrase}"
    );
    match meant(scene, phrase)[..] {
        [thing] => Some(thing),
        _ => None,
    }
}

fn name(thing: Option<&Thing>) -> String {
    thing.map_or("nothing".to_owned(), |thing| {
        let colour = thing.colour.name();
        match thing.kind {
            Kind::Shape(shape, size) => format!("{} {colour} {}", size.name(), shape.name()),
            Kind::Digit(digit) => format!("{colour} digit {digit}"),
            Kind::Word(word, _) => format!("{colour} word {word}"),
        }
    })
}

/// The cells that a thing takes, as (row, column) from 1.
fn cells(thing: &Thing) -> Vec<(usize, usize)> {
    let width = if matches!(thing.kind, Kind::Word(..)) {
        2
    } else {
        1
    };
    (1..=width)
        .map(|i| (thing.row + 1, thing.column + i))
        .collect()
}

fn at(scene: &Scene, cell: (usize, usize)) -> String {
    name(
        scene
            .things
            .iter()
            .find(|thing| cells(thing).contains(&cell)),
    )
}

fn yes_no(yes: bool) -> Option<String> {
    Some(if yes { "yes" } else { "no" }.to_owned())
}

fn presence(scene: &Scene, _: &str, m: &str, _: &str) -> Option<String> {
    yes_no(!meant(scene, m).is_empty())
}

fn count(scene: &Scene, _: &str, m: &str, _: &str) -> Option<String> {
    Some(meant(scene, m).len().to_string())
}

fn more(scene: &Scene, _: &str, m: &str, n: &str) -> Option<String> {
    yes_no(meant(scene, m).len() > meant(scene, n).len())
}

fn which_more(scene: &Scene, _: &str, m: &str, n: &str) -> Option<String> {
    match meant(scene, m).len().cmp(&meant(scene, n).len()) {
        std::cmp::Ordering::Less => Some(n.to_owned()),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(m.to_owned()),
    }
}

fn colour(scene: &Scene, _: &str, m: &str, _: &str) -> Option<String> {
    Some(only(scene, m)?.colour.name().to_owned())
}

fn form(scene: &Scene, _: &str, m: &str, _: &str) -> Option<String> {
    Some(match only(scene, m)?.kind {
        Kind::Shape(shape, _) => shape.name().to_owned(),
        Kind::Digit(digit) => digit.to_string(),
        Kind::Word(word, _) => word.to_owned(),
    })
}

fn size(scene: &Scene, _: &str, m: &str, _: &str) -> Option<String> {
    match only(scene, m)?.kind {
        Kind::Shape(_, size) => Some(size.name().to_owned()),
        _ => None,
    }
}

fn quarter_name(thing: &Thing) -> String {
    let vertical = if thing.row < 2 { "top" } else { "bottom" };
    let horizontal = if thing.column < 2 { "left" } else { "right" };
    format!("{vertical} {horizontal}")
}

fn quarter(scene: &Scene, _: &str, m: &str, _: &str) -> Option<String> {
    Some(quarter_name(only(scene, m)?))
}

fn one_cell(scene: &Scene, phrase: &str) -> Option<(usize, usize)> {
    match cells(only(scene, phrase)?)[..] {
        [cell] => Some(cell),
        _ => None,
    }
}

fn row_and_column(scene: &Scene, _: &str, m: &str, _: &str) -> Option<String> {
    let (row, column) = one_cell(scene, m)?;
    Some(format!("row {row} column {column}"))
}

fn row(scene: &Scene, _: &str, m: &str, _: &str) -> Option<String> {
    Some((only(scene, m)?.row + 1).to_string())
}

fn column(scene: &Scene, _: &str, m: &str, _: &str) -> Option<String> {
    Some(one_cell(scene, m)?.1.to_string())
}

fn at_cell(scene: &Scene, _: &str, m: &str, n: &str) -> Option<String> {
    Some(at(scene, (m.parse().unwrap(), n.parse().unwrap())))
}

fn in_quarter(scene: &Scene, _: &str, m: &str, _: &str) -> Option<String> {
    let things: Vec<&Thing> = scene
        .things
        .iter()
        .filter(|t| quarter_name(t) == m)
        .collect();
    (things.len() < 2).then(|| name(things.first().copied()))
}

fn next_to(scene: &Scene, _: &str, m: &str, n: &str) -> Option<String> {
    let (row, column) = one_cell(scene, &format!("the {n}"))?;
    let cell = match m {
        "left of" => (row, column - 1),
        "right of" => (row, column + 1),
        "above" => (row - 1, column),
        "below" => (row + 1, column),
        other => panic!("{other}"),
    };
    let inside = (1..=4).contains(&cell.0) && (1..=4).contains(&cell.1);
    inside.then(|| at(scene, cell))
}

fn relation(scene: &Scene, pattern: &str, m: &str, n: &str) -> Option<String> {
    let [a, b] = [m, n].map(|phrase| only(scene, phrase).map(cells));
    let (a, b) = (a?, b?);
    let all = |fits: &dyn Fn((usize, usize), (usize, usize)) -> bool| {
        a.iter().all(|p| b.iter().all(|q| fits(*p, *q)))
    };
    let holds = |word: &str| match word {
        "left" => all(&|p, q| p.1 < q.1),
        "right" => all(&|p, q| p.1 > q.1),
        "above" | "higher" => all(&|p, q| p.0 < q.0),
        "below" | "lower" => all(&|p, q| p.0 > q.0),
        _ => false,
    };
    let words = ["left", "right", "above", "below", "higher", "lower"];
    let asked: Vec<&str> = words
        .into_iter()
        .filter(|word| pattern.contains(word))
        .collect();
    match asked[..] {
        [word] => {
            let opposite = ["right", "left", "below", "above", "lower", "higher"];
            let place = words.iter().position(|other| *other == word).unwrap();
            // Two things of one column are neither left nor right: that is not asked.
            (holds(word) || holds(opposite[place])).then(|| yes_no(holds(word)))?
        }
        _ => {
            let true_ones: Vec<&str> = asked.into_iter().filter(|word| holds(word)).collect();
            (true_ones.len() == 1).then(|| true_ones[0].to_owned())
        }
    }
}

#[test]
fn every_answer_is_what_the_scene_says_and_the_only_one() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut asked: BTreeMap<Category, usize> = BTreeMap::new();
    for _ in 0..6000 {
        let scene = Scene::random(Backgrounds::All, &mut rng);
        for &category in Category::SHORT {
            if let Some(turn) = ask(&scene, category, &mut rng) {
                let (pattern, m, n, answer) = read(&turn);
                let expected = answer(&scene, pattern, m, n);
                assert_eq!(expected.as_ref(), Some(&turn.answer), "{turn:?} {scene:#?}");
                *asked.entry(category).or_default() += 1;
            }
        }
    }
    for &category in Category::SHORT {
        assert!(asked[&category] > 1000, "{category:?}: {asked:?}");
    }
}

/// `it` is what the turn before names; that turn's question means one thing.
#[test]
fn it_is_what_the_turn_before_is_about() {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let mut found = 0;
    for _ in 0..3000 {
        let scene = Scene::random(Backgrounds::All, &mut rng);
        let turns = converse(&scene, 6, &mut rng);
        for pair in turns.windows(2) {
            let question = &pair[1].question;
            let words: Vec<&str> = question.split([' ', '?']).collect();
            if !words.contains(&"it") {
                continue;
            }
            let (_, phrase, ..) = read(&pair[0]);
            let thing = only(&scene, phrase).unwrap_or_else(|| panic!("{phrase}: {pair:?}"));
            let right = match pair[1].category {
                Category::Colour => thing.colour.name().to_owned(),
                Category::Shape => form(&scene, "", phrase, "").unwrap(),
                Category::Size => size(&scene, "", phrase, "").unwrap(),
                Category::Position if question.contains("column") => {
                    row_and_column(&scene, "", phrase, "").unwrap()
                }
                Category::Position => quarter_name(thing),
                other => panic!("{other:?}"),
            };
            assert_eq!(pair[1].answer, right, "{pair:?}");
            found += 1;
        }
    }
    assert!(found > 1000, "{found}");
}

/// What an entry of a list should say after its colon.
fn listed(scene: &Scene, category: Category, asked: &str) -> Option<String> {
    match category {
        Category::Presence => presence(scene, "", asked, ""),
        Category::Count => count(scene, "", asked, ""),
        Category::Position => {
            let thing = only(scene, asked)?;
            let (row, column) = (thing.row + 1, thing.column + 1);
            Some(format!(
                "{} in row {row} column {column}",
                name(Some(thing))
            ))
        }
        Category::Place => {
            let (row, column) = asked.strip_prefix("row ")?.split_once(" column ")?;
            at_cell(scene, "", row, column)
        }
        Category::Neighbour => {
            let (direction, phrase) = asked.split_once(" the ")?;
            next_to(scene, "", direction, phrase)
        }
        Category::Relation => {
            let (a, b) = asked.split_once(" and ")?;
            let patterns = ["Is @m left or right of @n?", "Is @m above or below @n?"];
            let found = patterns.map(|pattern| relation(scene, pattern, a, b));
            Some(found.into_iter().flatten().collect::<Vec<_>>().join(", "))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn lists_say_of_each_entry_what_the_scene_says() {
    let set = DataSet {
        task: Task::Lists {
            of: Category::LISTED.to_vec(),
        },
        seed: 13,
        backgrounds: Backgrounds::All,
    };
    let mut entries: BTreeMap<Category, usize> = BTreeMap::new();
    for index in 0..6000 {
        let sample = set.sample(index);
        let Medium::Picture(scene) = &sample.medium else {
            panic!("lists are about pictures");
        };
        for turn in &sample.turns {
            if turn.category == Category::Caption {
                let sorted = |text: &str| {
                    let mut sentences: Vec<String> = text
                        .split_inclusive('.')
                        .map(|s| s.trim().to_owned())
                        .collect();
                    sentences.sort();
                    sentences
                };
                assert_eq!(sorted(&turn.answer), sorted(&caption(scene)));
                *entries.entry(turn.category).or_default() += 1;
                continue;
            }
            let mut places = BTreeSet::new();
            for entry in turn.answer.strip_suffix('.').unwrap().split(". ") {
                let (asked, answer) = entry.split_once(": ").unwrap();
                let expected = listed(scene, turn.category, asked);
                assert_eq!(expected.as_deref(), Some(answer), "{turn:?} {scene:#?}");
                *entries.entry(turn.category).or_default() += 1;
                let is_new = places.insert(answer.to_owned());
                assert!(is_new || turn.category != Category::Position, "{turn:?}");
            }
        }
    }
    assert_eq!(entries.len(), 7, "{entries:?}");
    assert!(entries.values().all(|&count| count > 500), "{entries:?}");
}
