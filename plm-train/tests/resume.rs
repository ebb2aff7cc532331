//! A run in pieces. It stands alone in its process: the random numbers of dropout are the process's.

use std::fs;
use std::path::Path;

use plm::{AdapterSource, LoadOptions, PerceptionLM};
use plm_train::config::Part;
use plm_train::{Config, Event, Flow, fine_tune};

/// A run on three short texts; on two of them and a picture where the vision tower is trained.
fn run_config(dir: &Path, base: &Path, part: Part) -> Config {
    let answers = ["Red.", "No.", "Perhaps not."];
    let row = |i: usize| {
        let mut row = serde_json::json!({"conversations": [
            {"from": "human", "value": format!("Question {i}?")},
            {"from": "assistant", "value": answers[i]},
        ]});
        if i == 0 && part == Part::All {
            row["image"] = "shapes.png".into();
        }
        row
    };
    let rows: Vec<String> = (0..3).map(|i| row(i).to_string()).collect();
    fs::write(dir.join("train.jsonl"), rows.join("\n")).unwrap();
    let media = base.with_file_name("media");
    let text = format!(
        "model = {base:?}\ndump_dir = \"run\"\nsteps = 6\n\
         optim = {{ lr = 1e-3, warmup = 2, clip = 1.0 }}\n\
         lora = {{ dropout = 0.2, use_dora = true }}\n\
         checkpoint = {{ every = 100, keep = 1 }}\n\
         [data]\nbatch_size = 2\ndatamix = [{{ path = \"train.jsonl\", root_dir = {media:?} }}]\n"
    );
    fs::write(dir.join("run.toml"), text).unwrap();
    let mut config = Config::from_file(dir.join("run.toml")).unwrap();
    config.train = part;
    if part == Part::All {
        config.drop_path = 0.5;
    }
    config
}

#[test]
fn a_run_that_was_stopped_and_resumed_is_one_that_was_not() {
    // On one thread, so that sums are in one order.
    let thread = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    thread.unwrap().install(check_resuming);
}

fn check_resuming() {
    for (part, file) in [
        (Part::Lora, "adapter_model.safetensors"),
        (Part::FrozenVision, "model.safetensors"),
        (Part::All, "model.safetensors"),
    ] {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/gigantic");
        let (whole, pieces) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let config = run_config(whole.path(), &base, part);
        let outcome = fine_tune(&config, false, |_| Flow::Continue).unwrap();
        assert_eq!(outcome.step, 6);
        let expected = fs::read(outcome.dir.join(file)).unwrap();

        let mut config = run_config(pieces.path(), &base, part);
        let stop = |at: usize| {
            move |event: Event<'_>| match event {
                Event::Step(report, ..) if report.step + 1 == at => Flow::Stop,
                _ => Flow::Continue,
            }
        };
        let outcome = fine_tune(&config, false, stop(2)).unwrap();
        assert_eq!(outcome.step, 2);
        assert!(outcome.dir.ends_with("checkpoint-0000002"));
        let refused = fine_tune(&config, false, stop(9)).unwrap_err().to_string();
        assert!(refused.contains("holds a run"), "{refused}");
        let outcome = fine_tune(&config, true, stop(5)).unwrap();
        assert_eq!(outcome.step, 5);
        assert!(!pieces.path().join("run/checkpoint-0000002").exists());
        config.optim.lr = 1.0;
        let refused = fine_tune(&config, true, stop(9)).unwrap_err().to_string();
        assert!(refused.contains("began with another config"), "{refused}");
        config.optim.lr = 1e-3;
        let outcome = fine_tune(&config, true, stop(9)).unwrap();
        assert_eq!(outcome.step, 6);
        assert!(outcome.dir.ends_with("final"));
        assert!(
            fs::read(outcome.dir.join(file)).unwrap() == expected,
            "{part:?}"
        );
        if part == Part::All {
            fs::remove_dir_all(whole.path().join("run")).unwrap();
            let mut config = run_config(whole.path(), &base, part);
            config.drop_path = 0.0;
            let outcome = fine_tune(&config, false, |_| Flow::Continue).unwrap();
            assert!(fs::read(outcome.dir.join(file)).unwrap() != expected);
        }
        // What was made can be asked.
        let options = match part {
            Part::Lora => LoadOptions {
                adapters: vec![AdapterSource::new(&outcome.dir)],
                ..LoadOptions::default()
            },
            _ => LoadOptions::default(),
        };
        let model = if part == Part::Lora {
            &base
        } else {
            &outcome.dir
        };
        PerceptionLM::from_dir(model, &options).unwrap();
    }
}
