//! From a folder of pictures and captions to a model that describes pictures so: writes the rows,
//! trains an adapter, stops and resumes, merges, and compares answers before and after.
//!
//! ```sh
//! cargo run --release --example picture_folder                          # makes a folder of its own
//! cargo run --release --example picture_folder -- scans Perception-LM-1B
//! ```
//!
//! Beside each picture (`lung.png`) stands its caption (`lung.txt`).

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use plm::{AdapterSource, ConvertOptions, Layout, LoadOptions, PerceptionLM, Precision, convert};
use plm_train::{Config, Event, ExactMatchOptions, Flow, exact_match, fine_tune};
use plm_world::{Backgrounds, DataSet, Medium, Quarter, Task};
use serde_json::json;

const QUESTION: &str = "What are the findings?";

fn main() -> Result<(), Box<dyn Error>> {
    let work = tempfile::tempdir()?;
    let mut args = std::env::args().skip(1);
    let pictures = match args.next() {
        Some(dir) => PathBuf::from(dir),
        None => draw_pictures(&work.path().join("pictures"))?,
    };
    let model = args.next().unwrap_or_else(|| "plm/embedded".into());
    let model = fs::canonicalize(&model)?;

    // One picture in eight is kept back, to see what was learnt.
    let rows = rows(&pictures)?;
    let (kept, learnt): (Vec<_>, Vec<_>) = rows.iter().enumerate().partition(|(i, _)| i % 8 == 0);
    for (name, rows) in [("train.jsonl", learnt), ("validation.jsonl", kept)] {
        let lines: String = rows.iter().map(|(_, row)| format!("{row}\n")).collect();
        fs::write(work.path().join(name), lines)?;
    }
    let toml = format!(
        r#"
        model = {model:?}
        dump_dir = "run"
        epochs = 4.0
        train = "lora"
        lora = {{ rank = 16, alpha = 32 }}
        optim = {{ lr = 2e-3, warmup = 5 }}
        [data]
        datamix = [{{ path = "train.jsonl" }}]
        validation = "validation.jsonl"
        batch_size = 8
        [eval]
        every = 1000000
        "#
    );
    fs::write(work.path().join("run.toml"), toml)?;
    let config = Config::from_file(work.path().join("run.toml"))?;

    let answers = |plm: &PerceptionLM, when: &str| -> Result<(), Box<dyn Error>> {
        let validation = work.path().join("validation.jsonl");
        let options = ExactMatchOptions::default();
        let mut shown = 0;
        let found = exact_match(plm, validation, None, &options, |answered, _| {
            if shown < 2 {
                println!(
                    "{when}: {:?}, where {:?} is meant",
                    answered.answer, answered.expected
                );
                shown += 1;
            }
        })?;
        println!(
            "{when}: {} of {} right",
            found.total.right, found.total.questions
        );
        Ok(())
    };
    answers(
        &PerceptionLM::from_dir(&model, &LoadOptions::default())?,
        "before",
    )?;

    // A run can be stopped after any step; what is there is gone on with.
    let stopped = fine_tune(&config, false, |event| match event {
        Event::Step(report, ..) if report.step == 4 => Flow::Stop,
        event => show(&event),
    })?;
    println!("stopped after {} of {} steps", stopped.step, stopped.steps);
    let outcome = fine_tune(&config, true, |event| show(&event))?;

    // The adapter becomes part of the weights; `LoadOptions::adapters` would answer with both.
    let merged = work.path().join("merged");
    let options = ConvertOptions {
        layout: Layout::HuggingFace,
        max_shard_bytes: None,
        precision: Precision::Auto,
        quantize: None,
        merge: vec![AdapterSource::new(outcome.dir)],
        progress: None,
    };
    convert(&model, &merged, &options)?;
    answers(
        &PerceptionLM::from_dir(&merged, &LoadOptions::default())?,
        "after",
    )
}

fn show(event: &Event<'_>) -> Flow {
    if let Event::Step(report, steps, _) = event
        && report.step % 10 == 0
    {
        println!("step {} of {steps}: loss {:.3}", report.step, report.loss);
    }
    Flow::Continue
}

/// Rows in Meta's form, of the pictures of a folder that have a caption.
fn rows(dir: &Path) -> Result<Vec<serde_json::Value>, Box<dyn Error>> {
    let mut rows = Vec::new();
    let mut files: Vec<PathBuf> = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    files.sort();
    for picture in files {
        let caption = picture.with_extension("txt");
        if picture == caption || !caption.exists() {
            continue;
        }
        let caption = fs::read_to_string(&caption)?;
        rows.push(json!({
            "image": fs::canonicalize(&picture)?,
            "conversations": [
                { "from": "system", "value": "" },
                { "from": "human", "value": QUESTION },
                { "from": "assistant", "value": caption.trim() },
            ],
        }));
    }
    Ok(rows)
}

/// Pictures of the synthetic world, with captions of another kind than its model gives.
fn draw_pictures(dir: &Path) -> Result<PathBuf, Box<dyn Error>> {
    fs::create_dir_all(dir)?;
    let set = DataSet {
        task: Task::Evaluation,
        seed: 99,
        backgrounds: Backgrounds::All,
    };
    for index in 0..560 {
        let sample = set.sample(index);
        let Medium::Picture(scene) = &sample.medium else {
            continue;
        };
        let name = format!("{index:03}.png");
        fs::write(dir.join(&name), sample.encode(&name)?)?;
        let things = Quarter::ALL
            .into_iter()
            .flat_map(|quarter| scene.in_quarter(quarter));
        let colours = things.map(|thing| thing.colour.name());
        let caption = format!("Findings: {}.", colours.collect::<Vec<_>>().join(", "));
        fs::write(dir.join(name).with_extension("txt"), caption)?;
    }
    Ok(dir.to_owned())
}
