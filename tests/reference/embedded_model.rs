//! The embedded model answers questions about pictures and clips that it has never seen.

use plm::{Image, LoadOptions, PerceptionLM};
use plm_train::{ExactMatchOptions, exact_match};
use plm_world::{Backgrounds, Category, DataSet, ROWS, Task};

use crate::reference_data::*;

/// Questions of a category.
const QUESTIONS: usize = 60;

/// The least share of right answers, in percent, below what `demo/README.md` says by what chance
/// does to so few questions.
fn least(category: &str) -> f64 {
    match category {
        "clip" | "colour" | "comparison" | "digit" | "place" | "shape" | "size" => 90.0,
        "caption" | "count" | "position" | "presence" | "relation" | "word" => 82.0,
        _ => 75.0,
    }
}

/// The same of all questions together.
const LEAST_OF_ALL: f64 = 93.0;

#[test]
fn questions_of_all_categories_are_answered_right() {
    let dir = tempfile::tempdir().unwrap();
    let set = DataSet {
        task: Task::Evaluation,
        seed: 2026,
        backgrounds: Backgrounds::All,
    };
    let count = QUESTIONS * Category::ALL.len();
    set.write(dir.path(), 0, count as u64, |_| {}).unwrap();
    let plm = PerceptionLM::embedded(&LoadOptions::default()).unwrap();
    let options = ExactMatchOptions {
        max_new_tokens: 200,
        ..ExactMatchOptions::default()
    };
    let file = dir.path().join(ROWS);
    let found = exact_match(&plm, &file, None, &options, |_, _| {}).unwrap();
    let percent = |tally: plm_train::Tally| 100.0 * tally.share();
    let categories = &found.categories;
    assert_eq!(categories.len(), Category::ALL.len());
    for (category, tally) in categories {
        assert_eq!(tally.questions, QUESTIONS);
        let share = percent(*tally);
        assert!(share >= least(category), "{category}: {categories:?}");
    }
    assert!(percent(found.total) >= LEAST_OF_ALL, "{categories:?}");
}

#[test]
fn the_picture_of_the_readme_is_described_right() {
    let plm = PerceptionLM::embedded(&LoadOptions::default()).unwrap();
    let image = Image::open(fixtures().join("../../examples/media/scene.png")).unwrap();
    let ask = plm::Conversation::ask("Describe the picture.", [image.into()]);
    let answer = plm.generate(&ask, &plm::Decoding::default()).unwrap();
    assert_eq!(
        answer.text,
        "top left: brown digit 7 in row 1 column 2, small green diamond in row 2 column 2. \
         top right: small green diamond in row 1 column 4. \
         bottom left: brown word park in row 3 column 1. \
         bottom right: large black cross in row 4 column 4."
    );
}
