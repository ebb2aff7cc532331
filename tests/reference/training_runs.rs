//! Whole runs of fine-tuning: files of samples, and what is left of a run.

use std::fs;
use std::path::Path;

use plm_train::config::Part;
use plm_train::{Config, Event, Flow, fine_tune};

use crate::reference_data::*;

/// A run on three samples of text and a picture.
pub fn run_config(dir: &Path, base: &Path, part: Part) -> Config {
    let media = fixtures().join("media");
    let rows: Vec<String> = [("shapes.png", "Red."), ("", "No."), ("", "Perhaps not.")]
        .iter()
        .enumerate()
        .map(|(i, (image, answer))| {
            let mut row = serde_json::json!({"conversations": [
                {"from": "human", "value": format!("Question {i}?")},
                {"from": "assistant", "value": answer},
            ]});
            if !image.is_empty() {
                row["image"] = (*image).into();
            }
            row.to_string()
        })
        .collect();
    fs::write(dir.join("train.jsonl"), rows.join("\n")).unwrap();
    let text = format!(
        "model = {base:?}\ndump_dir = \"run\"\nsteps = 6\n\
         optim = {{ lr = 1e-3, warmup = 2, clip = 1.0 }}\n\
         checkpoint = {{ every = 100, keep = 1 }}\n\
         [data]\nvision_input_type = \"vanilla\"\nbatch_size = 2\n\
         datamix = [{{ path = \"train.jsonl\", root_dir = {media:?} }}]\n"
    );
    fs::write(dir.join("run.toml"), text).unwrap();
    let mut config = Config::from_file(dir.join("run.toml")).unwrap();
    config.train = part;
    config
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let base = fixtures().join("gigantic");
    let mut config = run_config(dir.path(), &base, Part::Lora);
    config.checkpoint.every = 2;
    let blocked = dir.path().join("run/checkpoint-0000004");
    let error = fine_tune(&config, false, |event| {
        if let Event::Saved(saved) = event {
            assert!(saved.ends_with("checkpoint-0000002"));
            // Something else has the name of the next.
            fs::create_dir_all(blocked.join("not empty")).unwrap();
        }
        Flow::Continue
    });
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("checkpoint-0000004: cannot be written"),
        "{error}"
    );
    let before = dir.path().join("run/checkpoint-0000002");
    for file in [
        "adapter_model.safetensors",
        "optimizer.bpk",
        "trainer_state.json",
    ] {
        assert!(before.join(file).is_file(), "{file}");
    }
    let left = fs::read_dir(dir.path().join("run")).unwrap();
    let left = left.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with('.')
    });
    assert_eq!(left.count(), 0);
}

#[test]
fn a_model_in_metas_layout_is_trained_by_adapters_alone() {
    let dir = tempfile::tempdir().unwrap();
    let base = fixtures().join("original");
    let config = run_config(dir.path(), &base, Part::FrozenVision);
    let error = fine_tune(&config, false, |_| Flow::Continue).unwrap_err();
    assert!(error.to_string().contains("convert them first"), "{error}");
    let config = run_config(dir.path(), &base, Part::Lora);
    let outcome = fine_tune(&config, false, |_| Flow::Continue).unwrap();
    assert_eq!(outcome.step, 6);
}

#[test]
fn boxes_videos_and_several_pictures_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = run_config(dir.path(), &fixtures().join("gigantic"), Part::Lora);
    let turns = |value: &str| {
        serde_json::json!([
            {"from": "human", "value": value},
            {"from": "gpt", "value": "It is <|bbox0|>."},
        ])
    };
    let rows = [
        serde_json::json!({
            "image": "shapes.png", "bbox": [[1, 2, 3, 4]], "width": 64, "height": 48,
            "conversations": turns("<image>\nWhere?"),
        }),
        serde_json::json!({
            "image": ["shapes.png", "shapes.png"],
            "conversations": turns("<image> or <image>?"),
        }),
        serde_json::json!({
            "video": "clip.mp4", "conversations": turns("What moves?"),
        }),
    ];
    for (row, refused) in [
        (rows[0].clone(), None),
        (rows[1].clone(), None),
        (rows[2].clone(), Some("clip.mp4")),
        (
            serde_json::json!({"image": "shapes.png", "video": "a"}),
            Some("both"),
        ),
        (serde_json::json!({"image": "shapes.png"}), Some("neither")),
        (
            serde_json::json!({"conversations": [{"from": "dog", "value": "Wuff"}]}),
            Some("from `dog`"),
        ),
        (
            serde_json::json!({"bbox": [[1, 2, 3, 4]], "text": "<|bbox0|>"}),
            Some("without `width`"),
        ),
    ] {
        fs::write(dir.path().join("train.jsonl"), row.to_string()).unwrap();
        config.steps = Some(1);
        let _ = fs::remove_dir_all(dir.path().join("run"));
        match (fine_tune(&config, false, |_| Flow::Continue), refused) {
            (Ok(outcome), None) => assert_eq!(outcome.step, 1),
            (Err(error), Some(part)) => {
                let message = error.to_string();
                assert!(
                    message.contains("line 1") && message.contains(part),
                    "{message}"
                );
            }
            (other, _) => panic!("{row}: {other:?}"),
        }
    }
}

#[test]
fn a_curve_that_cannot_be_drawn_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let config = run_config(dir.path(), &fixtures().join("gigantic"), Part::Lora);
    let curve = dir.path().join("run/loss.png");
    let stopped = fine_tune(&config, false, |event| match event {
        Event::Step(report, ..) if report.step == 1 => Flow::Stop,
        _ => Flow::Continue,
    });
    assert_eq!(stopped.unwrap().step, 2);
    assert!(fs::read(&curve).unwrap().starts_with(b"\x89PNG"));
    // Something else has its name.
    fs::remove_file(&curve).unwrap();
    fs::create_dir(&curve).unwrap();
    let mut told = None;
    let outcome = fine_tune(&config, true, |event| {
        if let Event::NotDrawn(error) = event {
            told = Some(error.to_string());
        }
        Flow::Continue
    });
    assert!(outcome.unwrap().dir.ends_with("final"));
    let told = told.unwrap();
    assert!(told.contains("loss.png: cannot be written"), "{told}");
}

#[test]
fn epochs_become_steps_and_files_must_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = run_config(dir.path(), &fixtures().join("gigantic"), Part::Lora);
    (config.steps, config.epochs) = (None, Some(2.0));
    // Two of three samples a step.
    let stopped = fine_tune(&config, false, |event| match event {
        Event::Step(..) => Flow::Stop,
        _ => Flow::Continue,
    });
    let stopped = stopped.unwrap();
    assert_eq!((stopped.step, stopped.steps), (1, 3));
    let path = dir.path().join("train.jsonl");
    let rows = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{rows}\n{rows}")).unwrap();
    let error = fine_tune(&config, true, |_| Flow::Continue).unwrap_err();
    assert!(error.to_string().contains("are 6 steps now, and were 3"));
    fs::write(&path, rows).unwrap();
    let outcome = fine_tune(&config, true, |_| Flow::Continue).unwrap();
    assert_eq!((outcome.step, outcome.steps), (3, 3));
}
