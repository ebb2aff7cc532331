use std::fs;

use crate::{fixtures, keys, picture, plm, sorted, tiny_dir};

#[test]
fn a_checkpoint_is_converted_there_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let original = fixtures().join("original").display().to_string();
    let convert = |from: &str, to: &str, more: &[&str]| {
        let run = plm(&[&["convert", "--model", from, "--out", to, "--json"], more].concat());
        run.json()
    };
    let hf = convert(&original, &path("hf"), &["--max-shard-size", "60KB"]);
    assert_eq!(
        keys(&hf),
        sorted(["out", "layout", "weight_files", "num_tensors", "num_bytes"])
    );
    assert_eq!(hf["layout"], "hf");
    assert_eq!(hf["weight_files"].as_array().unwrap().len(), 3);
    let back = convert(&path("hf"), &path("back"), &[]);
    assert_eq!(back["layout"], "original");
    assert_eq!(back["num_tensors"], hf["num_tensors"]);
    let again = convert(&path("back"), &path("again"), &["--to", "hf"]);
    assert_eq!(again["weight_files"][0], "model.safetensors");

    let answer = |model: &str| {
        let run = plm(&[
            "generate",
            "--model",
            model,
            "--image",
            &picture("shapes.png"),
            "--prompt",
            "What?",
            "--max-new-tokens",
            "6",
            "--json",
        ]);
        run.json()["token_ids"].clone()
    };
    let expected = answer(&original);
    for name in ["hf", "back", "again"] {
        assert_eq!(answer(&path(name)), expected, "{name}");
    }
}

#[test]
fn a_rounded_checkpoint_answers_without_a_flag() {
    let dir = tempfile::tempdir().unwrap();
    let original = fixtures().join("original").display().to_string();
    for format in ["q8", "q4"] {
        let out = dir.path().join(format).display().to_string();
        let run = plm(&[
            "convert",
            "--model",
            &original,
            "--out",
            &out,
            "--quantize",
            format,
            "--json",
        ]);
        assert_eq!(run.json()["layout"], "hf");
        let answer = |more: &[&str]| {
            let args = [
                "generate",
                "--prompt",
                "Hi",
                "--max-new-tokens",
                "4",
                "--json",
            ];
            let answer = plm(&[args.as_slice(), more].concat()).json();
            assert_eq!(answer["dtype"], format);
            answer["token_ids"].clone()
        };
        assert_eq!(
            answer(&["--model", &out]),
            answer(&["--model", &original, "--quantize", format])
        );
        let run = plm(&[
            "convert",
            "--model",
            &original,
            "--to",
            "original",
            "--quantize",
            format,
            "--out",
            &dir.path().join("meta").display().to_string(),
        ]);
        assert!(
            run.error().contains("Meta's layout cannot say"),
            "{}",
            run.shown()
        );
    }
}

#[test]
fn a_precision_is_written_in_the_same_layout() {
    let dir = tempfile::tempdir().unwrap();
    let convert = |more: &[&str]| {
        let (model, out) = (tiny_dir(), dir.path().join("out"));
        let (model, out) = (model.to_str().unwrap(), out.to_str().unwrap());
        plm(&[&["convert", "--model", model, "--out", out, "--json"], more].concat())
    };
    let report = convert(&["--dtype", "f32"]).json();
    assert_eq!(report["layout"], "hf");
    let stored = fs::metadata(tiny_dir().join("model.safetensors")).unwrap();
    let bytes = report["num_bytes"].as_u64().unwrap();
    // Twice the bytes of the tensors, which the header is not.
    assert!(bytes > stored.len() && bytes < 2 * stored.len(), "{bytes}");
    let run = convert(&["--dtype", "f32", "--quantize", "q8"]);
    assert!(run.wrong_arguments().contains("--dtype"), "{}", run.shown());
}

#[test]
fn what_is_there_stays() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("precious"), "1").unwrap();
    let out = dir.path().display().to_string();
    let original = fixtures().join("original").display().to_string();
    let run = plm(&["convert", "--model", &original, "--out", &out]);
    assert!(run.error().contains("cannot be written"), "{}", run.shown());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let run = plm(&["convert", "--out", &out]);
    assert!(run.wrong_arguments().contains("--model"));
    let run = plm(&[
        "convert",
        "--model",
        &original,
        "--out",
        "x",
        "--max-shard-size",
        "1TB",
    ]);
    assert!(
        run.wrong_arguments()
            .contains("a size is a number of bytes")
    );
}
