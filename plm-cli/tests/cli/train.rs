use std::fs;
use std::path::Path;

use crate::{keys, plm, sorted, tiny, tiny_dir};

/// A run of a few steps on two samples.
fn write_run(dir: &Path, extra: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let media = root.join("tests/fixtures/media");
    let model = tiny_dir();
    let rows = [
        r#"{"image": "shapes.png", "conversations": [{"from": "human", "value": "<image>\nWhat is this?"}, {"from": "assistant", "value": "Shapes."}]}"#,
        r#"{"conversations": [{"from": "human", "value": "Hello"}, {"from": "assistant", "value": "Hello too."}]}"#,
    ];
    fs::write(dir.join("train.jsonl"), rows.join("\n")).unwrap();
    let config = format!(
        "model = {model:?}\ndump_dir = \"run\"\nsteps = 4\ntrain = \"lora\"\n\
         optim = {{ lr = 1e-2, warmup = 1, clip = 1.0 }}\n\
         checkpoint = {{ every = 2, keep = 1 }}\n{extra}\n\
         [data]\nvision_input_type = \"vanilla\"\nvalidation = \"train.jsonl\"\n\
         datamix = [{{ path = \"train.jsonl\", root_dir = {media:?} }}]\n"
    );
    let path = dir.join("run.toml");
    fs::write(&path, config).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_adapter_is_trained_saved_and_used() {
    let dir = tempfile::tempdir().unwrap();
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/media");
    fs::copy(media.join("shapes.png"), dir.path().join("shapes.png")).unwrap();
    let config = write_run(dir.path(), "");
    let run = plm(&["train", &config, "--json"]);
    let report = run.object();
    let expected = ["steps", "finished", "out", "loss", "validation_loss"];
    assert_eq!(keys(&report), sorted(expected));
    assert_eq!(report["steps"], 4);
    assert_eq!(report["finished"], true);
    assert!(report["validation_loss"].as_f64().unwrap() > 0.0);
    let out = report["out"].as_str().unwrap();
    assert!(Path::new(out).join("adapter_model.safetensors").is_file());
    let metrics = fs::read_to_string(dir.path().join("run/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 5);
    assert!(dir.path().join("run/loss.png").is_file());

    let answer = |args: &[&str]| {
        let args = [&["generate", "--prompt", "Hello", "--json"], args].concat();
        tiny(&args).json()["token_ids"].clone()
    };
    let plain = answer(&[]);
    let scaled = format!("{out}:0");
    assert_eq!(answer(&["--adapter", &scaled]), plain);
    let strong = format!("{out}:20");
    assert_ne!(answer(&["--adapter", &strong]), plain);

    let again = plm(&["train", &config]);
    assert!(again.error().contains("holds a run; resume it"));
    let report = plm(&["train", &config, "--resume", "--json"]).object();
    assert_eq!(report["steps"], 4);
}

#[test]
fn a_bad_sample_is_named_or_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_run(
        dir.path(),
        "eval = { every = 100, samples = 0, answers = 0 }",
    );
    let mut rows = fs::read_to_string(dir.path().join("train.jsonl")).unwrap();
    rows.push_str("\n\n{\"image\": \"nowhere.png\", \"text\": \"A picture.\"}\n");
    fs::write(dir.path().join("train.jsonl"), rows).unwrap();
    let run = plm(&["train", &config]);
    assert_eq!(run.code, Some(1), "{}", run.shown());
    for part in ["train.jsonl, line 4", "nowhere.png"] {
        assert!(run.stderr.contains(part), "{}", run.shown());
    }

    let dir = dir.path().join("skipping");
    fs::create_dir(&dir).unwrap();
    let config = write_run(&dir, "eval = { every = 100, samples = 0, answers = 0 }");
    let rows = "{\"image\": 3}\n{\"text\": \"A caption.\"}\n";
    fs::write(dir.join("train.jsonl"), rows).unwrap();
    let mut text = fs::read_to_string(&config).unwrap();
    text.push_str("bad_samples = \"skip\"\n");
    fs::write(&config, text).unwrap();
    let run = plm(&["train", &config, "--json"]);
    assert!(run.stderr.contains("left out: "), "{}", run.shown());
    assert_eq!(run.object()["finished"], true);
}

#[test]
fn a_wrong_config_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_run(dir.path(), "step = 3");
    let run = plm(&["train", &config]);
    assert!(
        run.error().contains("run.toml: not the expected TOML"),
        "{}",
        run.shown()
    );
    assert!(
        run.error().contains("unknown field `step`"),
        "{}",
        run.shown()
    );
    assert!(
        plm(&["train", "nowhere.toml"])
            .error()
            .contains("nowhere.toml")
    );
}

#[test]
fn the_losses_of_several_runs_are_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["first.jsonl", "second.jsonl"].map(|name| {
        let path = dir.path().join(name);
        fs::write(&path, "{\"step\":0,\"loss\":2.5,\"num_labels\":3}\n").unwrap();
        path.to_str().unwrap().to_owned()
    });
    let out = dir.path().join("loss.png");
    let out = out.to_str().unwrap();
    let run = plm(&["plot", &files[0], &files[1], "--out", out]);
    assert_eq!(run.ok().trim_end(), out);
    assert!(fs::read(out).unwrap().starts_with(b"\x89PNG"));
    fs::write(&files[1], "no metrics").unwrap();
    let run = plm(&["plot", &files[0], &files[1], "--out", out]);
    assert!(run.error().contains("second.jsonl: holds no step"));
}
