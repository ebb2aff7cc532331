//! Captions and the answers about clips are read back and compared with what is drawn.

use plm_world::{
    Actor, Backgrounds, Clip, Kind, NUM_FRAMES, Quarter, Scene, ask_clip, caption, caption_cells,
    converse_clip,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

#[test]
fn a_caption_says_what_is_in_every_cell() {
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    for _ in 0..2000 {
        let scene = Scene::random(Backgrounds::All, &mut rng);
        let text = caption(&scene);
        let mut found = Vec::new();
        let mut quarters = Vec::new();
        for sentence in text.strip_suffix('.').unwrap().split(". ") {
            let (quarter, things) = sentence.split_once(": ").unwrap();
            quarters.push(quarter);
            for thing in things.split(", ").filter(|thing| *thing != "nothing") {
                found.push(format!("{quarter}: {thing}"));
            }
        }
        assert_eq!(quarters, Quarter::ALL.map(Quarter::name));
        let mut expected: Vec<String> = Vec::new();
        for (vertical, rows) in [("top", 0..2), ("bottom", 2..4)] {
            for (horizontal, columns) in [("left", 0..2), ("right", 2..4)] {
                let inside = scene.things.iter();
                let inside =
                    inside.filter(|t| rows.contains(&t.row) && columns.contains(&t.column));
                expected.extend(inside.map(|thing| {
                    let colour = thing.colour.name();
                    let name = match thing.kind {
                        Kind::Shape(shape, size) => {
                            format!("{} {colour} {}", size.name(), shape.name())
                        }
                        Kind::Digit(digit) => format!("{colour} digit {digit}"),
                        Kind::Word(word, _) => format!("{colour} word {word}"),
                    };
                    let (row, column) = (thing.row + 1, thing.column + 1);
                    format!("{vertical} {horizontal}: {name} in row {row} column {column}")
                }));
            }
        }
        assert_eq!(found, expected);
    }
}

#[test]
fn the_caption_of_a_tile_has_its_cells_in_order() {
    let mut rng = ChaCha8Rng::seed_from_u64(22);
    let mut numbers = [0; 5];
    for _ in 0..2000 {
        let scene = Scene::random_tile(Backgrounds::All, &mut rng);
        numbers[scene.things.len()] += 1;
        let text = caption_cells(&scene);
        let rows: Vec<&str> = text.strip_suffix('.').unwrap().split(". ").collect();
        assert_eq!(rows.len(), 2, "{text}");
        for (row, cells) in rows.into_iter().enumerate() {
            let cells: Vec<&str> = cells.split(", ").collect();
            let is_word = |column| {
                let thing = scene.at(row, column);
                thing.is_some_and(|thing| matches!(thing.kind, Kind::Word(..)))
            };
            assert_eq!(cells.len(), if is_word(0) { 1 } else { 2 }, "{text}");
            assert_eq!(is_word(0), is_word(1), "{text}");
            for (column, cell) in cells.into_iter().enumerate() {
                let expected = scene.at(row, column).map(|thing| match thing.kind {
                    Kind::Shape(shape, size) => {
                        let colour = thing.colour.name();
                        format!("{} {colour} {}", size.name(), shape.name())
                    }
                    Kind::Digit(digit) => format!("{} digit {digit}", thing.colour.name()),
                    Kind::Word(word, _) => format!("{} word {word}", thing.colour.name()),
                });
                assert_eq!(cell, expected.as_deref().unwrap_or("nothing"), "{text}");
            }
        }
    }
    assert!(numbers.iter().all(|&number| number > 20), "{numbers:?}");
}

/// What a thing does, from where it is in the first frame and in the last.
fn does(actor: &Actor) -> String {
    let last = NUM_FRAMES - 1;
    let [from, to] = [0, last].map(|frame| actor.middle(frame));
    let (right, down) = (to[0] - from[0], to[1] - from[1]);
    match (actor.is_in(0), actor.is_in(last)) {
        (false, true) => "appears",
        (true, false) => "disappears",
        _ if right > 0.0 => "moves right",
        _ if right < 0.0 => "moves left",
        _ if down > 0.0 => "moves down",
        _ if down < 0.0 => "moves up",
        _ => "stays",
    }
    .to_owned()
}

fn name(actor: &Actor) -> String {
    format!("{} {}", actor.colour.name(), actor.shape.name())
}

fn quarter(actor: &Actor) -> String {
    let [x, y] = actor.middle(0);
    let vertical = if y < 28.0 { "top" } else { "bottom" };
    format!("{vertical} {}", if x < 28.0 { "left" } else { "right" })
}

fn answer(clip: &Clip, question: &str) -> String {
    let named = |actor: &&Actor| question.contains(&name(actor));
    let count = |frame| {
        clip.actors
            .iter()
            .filter(|actor| actor.is_in(frame))
            .count()
    };
    if question.ends_with("at the end?") || question.ends_with("at the end.") {
        return count(NUM_FRAMES - 1).to_string();
    }
    if question.contains("at the beginning") {
        return count(0).to_string();
    }
    let Some(actor) = clip.actors.iter().find(named) else {
        // Of what does what the last word says.
        let verb = question
            .trim_end_matches(['?', '.'])
            .rsplit(' ')
            .next()
            .unwrap();
        let starts = |actor: &&Actor| does(actor).split(' ').next() == Some(verb);
        let doing: Vec<&Actor> = clip.actors.iter().filter(starts).collect();
        if [
            "What happens?",
            "Describe what happens.",
            "What happens in the clip?",
            "Describe the clip.",
        ]
        .contains(&question)
        {
            let sentences = clip.actors.iter().map(|actor| {
                let (name, does) = (name(actor), does(actor));
                let article = if name.starts_with('o') { "an" } else { "a" };
                match does.starts_with("moves") {
                    true => format!("{article} {name} {does}."),
                    false => format!("{article} {name} {does} in the {}.", quarter(actor)),
                }
            });
            return sentences.collect::<Vec<String>>().join(" ");
        }
        let [actor] = doing[..] else {
            panic!("{question} {clip:?}")
        };
        return if question.contains("colour") {
            actor.colour.name().to_owned()
        } else if question.contains("shape") {
            actor.shape.name().to_owned()
        } else {
            name(actor)
        };
    };
    let does = does(actor);
    let verb = question.trim_end_matches('?').rsplit(' ').next().unwrap();
    if question.contains(" or ") || question.starts_with("What ") {
        format!("it {does}")
    } else if question.starts_with("Does") {
        let yes = does.trim_end_matches('s') == verb || verb == "move" && does.starts_with("move");
        if yes { "yes" } else { "no" }.to_owned()
    } else {
        does.strip_prefix("moves ").unwrap().to_owned()
    }
}

#[test]
fn answers_about_clips_are_what_the_frames_show() {
    let mut rng = ChaCha8Rng::seed_from_u64(22);
    for _ in 0..4000 {
        let clip = Clip::random(Backgrounds::All, &mut rng);
        let mut turns = converse_clip(&clip, 6, &mut rng);
        turns.push(ask_clip(&clip, &mut rng));
        assert!(turns.len() > 4, "{turns:?}");
        for turn in &turns {
            assert_eq!(
                turn.answer,
                answer(&clip, &turn.question),
                "{turn:?} {clip:?}"
            );
        }
    }
}
