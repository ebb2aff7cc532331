//! Data sets as files, and the model's folder, as the processor reads them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use plm_processor::{
    Content, Conversation, EncodeOptions, Image, Message, Processor, Role, SpecialTokens, Video,
};
use plm_world::{Backgrounds, Category, DataSet, Error, NUM_FRAMES, ROWS, Task, write_checkpoint};
use serde_json::Value;

fn questions() -> Task {
    Task::Questions {
        turns: 6,
        captions: 0.1,
        clips: 0.2,
        of: Category::SHORT.to_vec(),
    }
}

fn write(task: Task, dir: &Path, start: u64, count: u64) -> Result<(), Error> {
    DataSet {
        task,
        seed: 5,
        backgrounds: Backgrounds::All,
    }
    .write(dir, start, count, |_| {})
}

fn rows(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join(ROWS)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn rows_and_media_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    write(questions(), dir.path(), 990, 60).unwrap();
    let rows = rows(dir.path());
    assert_eq!(rows.len(), 60);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        3,
        "rows and two folders"
    );
    let (mut pictures, mut clips) = (0, 0);
    for row in &rows {
        if let Some(name) = row["image"].as_str() {
            let image = Image::open(dir.path().join(name)).unwrap();
            assert_eq!(image.width(), image.height());
            pictures += 1;
        } else {
            let video = Video::open(dir.path().join(row["video"].as_str().unwrap())).unwrap();
            assert_eq!(video.num_frames(), NUM_FRAMES);
            clips += 1;
        }
        let (system, turns) = row["conversations"]
            .as_array()
            .unwrap()
            .split_first()
            .unwrap();
        assert_eq!([&system["from"], &system["value"]], ["system", ""]);
        assert!(!turns.is_empty() && turns.len() % 2 == 0);
        for pair in turns.chunks(2) {
            assert_eq!([&pair[0]["from"], &pair[1]["from"]], ["human", "assistant"]);
            assert!(
                pair.iter()
                    .all(|turn| !turn["value"].as_str().unwrap().is_empty())
            );
        }
        assert_eq!(row.get("category"), None);
    }
    assert!(pictures > 30 && clips > 3, "{pictures} {clips}");
}

#[test]
fn the_same_seed_gives_the_same_bytes_wherever_it_begins() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    write(questions(), &a, 0, 40).unwrap();
    write(questions(), &b, 20, 20).unwrap();
    assert_eq!(rows(&a)[20..], rows(&b));
    for row in rows(&b) {
        let name = row
            .get("image")
            .or(row.get("video"))
            .unwrap()
            .as_str()
            .unwrap();
        assert_eq!(
            fs::read(a.join(name)).unwrap(),
            fs::read(b.join(name)).unwrap()
        );
    }
    let other = DataSet {
        task: questions(),
        seed: 6,
        backgrounds: Backgrounds::All,
    };
    let set = DataSet {
        task: questions(),
        seed: 5,
        backgrounds: Backgrounds::All,
    };
    assert_ne!(set.sample(0), other.sample(0));
    let evaluation = DataSet {
        task: Task::Evaluation,
        seed: 5,
        backgrounds: Backgrounds::All,
    };
    assert_ne!(set.sample(0).medium, evaluation.sample(0).medium);
}

#[test]
fn a_folder_with_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(Task::Evaluation, dir.path(), 0, 1).unwrap();
    let error = write(Task::Evaluation, dir.path(), 1, 1).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is not empty; name a new folder")
    );
    assert!(matches!(
        write_checkpoint(dir.path(), 0),
        Err(Error::NotEmpty { .. })
    ));
    let error = write(Task::Captions { clips: 1.5 }, &dir.path().join("x"), 0, 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the share of clips is 1.5; it must be from 0 to 1"
    );
}

#[test]
fn an_evaluation_is_balanced_over_categories_and_over_yes_and_no() {
    let set = DataSet {
        task: Task::Evaluation,
        seed: 9,
        backgrounds: Backgrounds::All,
    };
    let mut answers: BTreeMap<Category, BTreeMap<String, usize>> = BTreeMap::new();
    for index in 0..14 * 1500 {
        let sample = set.sample(index);
        let [turn] = &sample.turns[..] else {
            panic!("{sample:?}")
        };
        let counts = answers.entry(turn.category).or_default();
        *counts.entry(turn.answer.clone()).or_default() += 1;
    }
    assert_eq!(answers.len(), Category::ALL.len());
    for (category, counts) in &answers {
        assert_eq!(counts.values().sum::<usize>(), 1500);
        let [yes, no] = ["yes", "no"].map(|word| counts.get(word).copied().unwrap_or(0));
        if yes + no > 0 {
            let share = yes as f64 / (yes + no) as f64;
            assert!(
                (0.45..=0.55).contains(&share),
                "{category:?}: {yes} yes, {no} no"
            );
        }
    }
    let counts = &answers[&Category::Count];
    let numbers = ["0", "1", "2", "3", "4"].map(|number| counts[number]);
    assert!(numbers.iter().all(|&count| count > 80), "{counts:?}");
}

/// As `plm-train` reads a row.
fn conversation(row: &Value, dir: &Path) -> Conversation {
    let mut media = match (row["image"].as_str(), row["video"].as_str()) {
        (Some(name), _) => vec![Content::from(Image::open(dir.join(name)).unwrap())],
        (_, Some(name)) => vec![Content::from(Video::open(dir.join(name)).unwrap())],
        _ => Vec::new(),
    };
    let mut conversation = Conversation::new().system("");
    for turn in &row["conversations"].as_array().unwrap()[1..] {
        let role = match turn["from"].as_str() {
            Some("human") => Role::User,
            _ => Role::Assistant,
        };
        let mut content = std::mem::take(&mut media);
        content.push(Content::from(turn["value"].as_str().unwrap()));
        conversation = conversation.message(Message::new(role, content));
    }
    conversation
}

#[test]
fn the_folder_s_processor_reads_rows_a_token_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let [folder, data] = ["model", "data"].map(|name| dir.path().join(name));
    let vocabulary = write_checkpoint(&folder, 0).unwrap();
    let processor = Processor::from_dir(&folder).unwrap();
    assert_eq!(processor.tokenizer().vocab_size(), vocabulary);
    write(questions(), &data, 0, 100).unwrap();
    for row in rows(&data) {
        for turn in &row["conversations"].as_array().unwrap()[1..] {
            let text = turn["value"].as_str().unwrap();
            let ids = processor
                .tokenizer()
                .encode(text, SpecialTokens::AsText)
                .unwrap();
            assert_eq!(processor.text(&ids).unwrap(), text);
            let is_part = |c: &char| c.is_ascii_punctuation() || c.is_ascii_digit();
            let spaces = text.as_bytes().windows(2);
            let before_digits = spaces
                .filter(|p| p[0] == b' ' && p[1].is_ascii_digit())
                .count();
            let digits = text.chars().filter(char::is_ascii_digit).count();
            let words = text.split(' ').count() - digits;
            let expected = words + text.chars().filter(is_part).count() + before_digits;
            assert_eq!(ids.len(), expected, "{text}");
        }
        let conversation = conversation(&row, &data);
        let options = EncodeOptions::default();
        let asked = processor.encode(&conversation, &options).unwrap();
        let media_tokens = asked
            .token_ids
            .iter()
            .filter(|&&id| id == processor.image_token_id() || id == processor.video_token_id());
        let expected = if row.get("image").is_some() { 20 } else { 32 };
        assert_eq!(media_tokens.count(), expected);
        // What is trained on and what the template writes begin alike, but for the id that holds a
        // frame's place, which no embedding is taken of.
        let plain = |id: &u32| match *id {
            id if id == processor.video_token_id() => processor.image_token_id(),
            id => id,
        };
        let trained = processor
            .encode_for_training(&conversation, &options, 2048)
            .unwrap();
        let trained_ids = &trained.prompt.token_ids;
        let both = trained_ids.iter().zip(&asked.token_ids);
        let same = both.take_while(|(a, b)| plain(a) == plain(b)).count();
        assert!(
            same + 1 >= trained_ids.len(),
            "{same} of {}",
            trained_ids.len()
        );
    }
}

#[test]
fn questions_of_places_are_of_places() {
    let set = DataSet {
        task: Task::Questions {
            turns: 2,
            captions: 0.0,
            clips: 0.0,
            of: vec![
                Category::Position,
                Category::Place,
                Category::Relation,
                Category::Neighbour,
            ],
        },
        seed: 4,
        backgrounds: Backgrounds::All,
    };
    let categories = (0..300).flat_map(|index| set.sample(index).turns);
    let mut counts: BTreeMap<Category, usize> = BTreeMap::new();
    for turn in categories {
        *counts.entry(turn.category).or_default() += 1;
    }
    // Of an empty picture it is asked whether something is there.
    counts.remove(&Category::Presence);
    let expected = [
        Category::Position,
        Category::Place,
        Category::Relation,
        Category::Neighbour,
    ];
    assert!(expected.iter().all(|category| counts[category] > 30));
    // Of what `it` is, it may be asked on.
    let others = counts
        .iter()
        .filter(|(category, _)| !expected.contains(category));
    assert!(
        others.map(|(_, count)| count).sum::<usize>() < 60,
        "{counts:?}"
    );
}

#[test]
fn lists_are_of_the_categories_that_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    for of in [vec![], vec![Category::Caption, Category::Colour]] {
        let colour = of.contains(&Category::Colour);
        match write(Task::Lists { of }, dir.path(), 0, 1) {
            Err(Error::Categories { unknown, .. }) => {
                assert_eq!(unknown.contains(&Category::Colour), colour)
            }
            other => panic!("{other:?}"),
        }
    }
    let of = vec![Category::Relation, Category::Place];
    let set = DataSet {
        task: Task::Lists { of: of.clone() },
        seed: 4,
        backgrounds: Backgrounds::All,
    };
    let turns = (0..100).flat_map(|index| set.sample(index).turns);
    let found: Vec<Category> = turns.map(|turn| turn.category).collect();
    assert!(of.iter().all(|category| found.contains(category)));
    assert!(found.iter().all(|category| of.contains(category)));
}
