//! How often a model answers as a file says.

use std::fs;

use plm::{Decoding, Image, LoadOptions, PerceptionLM};
use plm_train::{ExactMatchOptions, Tally, exact_match};

use crate::reference_data::*;

#[test]
fn right_answers_are_counted_by_category() {
    let plm = PerceptionLM::from_dir(tiny(), &LoadOptions::default()).unwrap();
    let media = fixtures().join("media");
    let ask = |question: &str| {
        let image = Image::open(media.join("shapes.png")).unwrap();
        let conversation = plm::Conversation::ask(question, [image.into()]);
        let prompt = plm.encode(&conversation).unwrap();
        let decoding = Decoding {
            max_new_tokens: 4,
            ..Decoding::default()
        };
        plm.generate_prompt(&prompt, &decoding).unwrap().text
    };
    let row = |question: &str, answer: &str, category: Option<&str>| {
        let mut row = serde_json::json!({"image": "shapes.png", "conversations": [
            {"from": "human", "value": question},
            {"from": "assistant", "value": answer},
        ]});
        if let Some(category) = category {
            row["category"] = category.into();
        }
        row.to_string()
    };
    let rows = [
        row("What is this?", &ask("What is this?"), Some("what")),
        row("What is this?", "not what it says", Some("what")),
        row("Why?", &format!(" {}\n", ask("Why?")), Some("why")),
        row("How?", "not what it says", None),
    ];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("questions.jsonl");
    fs::write(&file, rows.join("\n")).unwrap();
    let options = ExactMatchOptions {
        max_new_tokens: 4,
        ..ExactMatchOptions::default()
    };
    let mut wrong = Vec::new();
    let found = exact_match(&plm, &file, Some(&media), &options, |answered, rows| {
        assert_eq!(rows, 4);
        if !answered.is_right() {
            wrong.push(answered.line);
        }
    });
    let found = found.unwrap();
    let tally = |questions, right| Tally { questions, right };
    assert_eq!(found.total, tally(4, 2));
    assert_eq!(found.categories["what"], tally(2, 1));
    assert_eq!(found.categories["why"], tally(1, 1));
    assert_eq!(found.categories.len(), 2);
    assert_eq!(wrong, [2, 4]);
}
