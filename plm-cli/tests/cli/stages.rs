use std::fs;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use crate::{expected, fixtures, keys, picture, plm, sorted, tiny};

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (values, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    values
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect()
}

#[test]
fn a_trace_holds_every_stage() {
    let dir = tempfile::tempdir().unwrap();
    let trace = |name: &str, more: &[&str]| {
        let out = dir.path().join(name);
        let (first, second) = (picture("shapes.png"), picture("rings.png"));
        let args = [
            "trace",
            "--image",
            &first,
            "--image",
            &second,
            "--prompt",
            "Compare.",
            "--max-num-tiles",
            "4",
            "--out",
            out.to_str().unwrap(),
        ];
        let run = tiny(&[&args[..], more].concat());
        run.ok();
        (fs::read(&out).unwrap(), run)
    };
    let (bytes, run) = trace("last.safetensors", &["--json"]);
    let report = run.json();
    assert_eq!(keys(&report), sorted(["out", "tensors"]));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let names = [
        "input_ids",
        "pixel_values.0",
        "pixel_values.1",
        "vision_features.0",
        "vision_features.1",
        "projected.0",
        "projected.1",
        "logits_last",
    ];
    assert_eq!(keys(&report["tensors"]), sorted(names));
    for name in names {
        let tensor = file.tensor(name).unwrap();
        assert_eq!(report["tensors"][name], json!(tensor.shape()), "{name}");
        let dtype = if name == "input_ids" {
            Dtype::I64
        } else {
            Dtype::F32
        };
        assert_eq!(tensor.dtype(), dtype, "{name}");
    }
    let tokens = file.tensor("input_ids").unwrap().shape()[0];
    let tiles = file.tensor("pixel_values.0").unwrap().shape()[0];
    assert_eq!(
        file.tensor("pixel_values.0").unwrap().shape(),
        [tiles, 3, 56, 56]
    );
    assert_eq!(
        file.tensor("vision_features.0").unwrap().shape()[..2],
        [tiles, 16]
    );
    assert_eq!(file.tensor("projected.0").unwrap().shape()[..2], [tiles, 4]);
    let pixels = floats(file.tensor("pixel_values.1").unwrap().data());
    assert!(pixels.iter().all(|x| (-1.0..=1.0).contains(x)));

    let (bytes, run) = trace("all.safetensors", &["--all-logits"]);
    assert!(run.stdout.contains("  logits ["), "{}", run.stdout);
    let all = SafeTensors::deserialize(&bytes).unwrap();
    let vocab_size = file.tensor("logits_last").unwrap().shape()[0];
    let logits = all.tensor("logits").unwrap();
    assert_eq!(logits.shape(), [tokens, vocab_size]);
    let last = floats(file.tensor("logits_last").unwrap().data());
    let logits = floats(logits.data());
    let difference = last
        .iter()
        .zip(&logits[(tokens - 1) * vocab_size..])
        .map(|(a, b)| (a - b).abs());
    // One matrix product of another height may round differently.
    assert!(difference.fold(0.0, f32::max) < 1e-4);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        2,
        "nothing else is left"
    );
}

#[test]
fn preprocessing_shows_every_tile() {
    let (first, second) = (picture("shapes.png"), picture("turned.jpg"));
    let args = ["preprocess", "--image", &first, "--image", &second];
    let report = tiny(&[&args[..], &["--max-num-tiles", "4", "--json"]].concat()).json();
    assert_eq!(keys(&report), ["media"]);
    let media = report["media"].as_array().unwrap();
    assert_eq!(media.len(), 2);
    for medium in media {
        assert_eq!(
            keys(medium),
            sorted([
                "path",
                "size_wh",
                "grid_wh",
                "num_tiles",
                "num_tokens",
                "tiles"
            ])
        );
        let tiles = medium["tiles"].as_array().unwrap();
        let grid = &medium["grid_wh"];
        assert_eq!(medium["num_tiles"], tiles.len());
        assert_eq!(
            tiles.len() as u64,
            grid[0].as_u64().unwrap() * grid[1].as_u64().unwrap() + 1
        );
        assert_eq!(medium["num_tokens"], 4 * tiles.len());
        for tile in tiles {
            assert_eq!(keys(tile), sorted(["sha256_u8_chw", "mean", "std"]));
        }
    }
    assert_eq!(media[0]["path"], first.as_str());
    assert_eq!(media[0]["size_wh"], json!([120, 80]));
    assert_eq!(media[1]["size_wh"], json!([48, 80]), "turned upright");
    let hashes: Vec<&Value> = media[1]["tiles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tile| &tile["sha256_u8_chw"])
        .collect();
    assert_eq!(
        json!([hashes]),
        expected("turned_jpeg")["tile_sha256_u8_chw"]
    );

    let vanilla =
        tiny(&[&args[..3], &["--vision-input-type", "vanilla", "--json"]].concat()).json();
    assert_eq!(vanilla["media"][0]["grid_wh"], json!([1, 1]));
    assert_eq!(vanilla["media"][0]["num_tiles"], 1);
    let table = tiny(&args[..3]);
    assert!(
        table.ok().contains("shapes.png: 120x80 pixels, grid "),
        "{}",
        table.stdout
    );
}

/// Where the reference's goldens are, if they are.
fn golden() -> Option<std::path::PathBuf> {
    let dir = std::env::var_os("PLM_GOLDEN").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden"),
        Into::into,
    );
    let found = dir.join("preproc_tinyO.json").is_file();
    if !found {
        eprintln!("SKIPPED: no goldens in {}; set PLM_GOLDEN", dir.display());
    }
    found.then_some(dir)
}

#[test]
fn preprocessing_is_the_references() {
    let Some(dir) = golden() else {
        return;
    };
    let json = fs::read_to_string(dir.join("preproc_tinyO.json")).unwrap();
    let file: Value = serde_json::from_str(&json).unwrap();
    let model = dir.join("models/tinyO");
    let mut compared = 0;
    for row in file["rows"].as_array().unwrap() {
        let name = row["image"].as_str().unwrap();
        if !name.ends_with(".png") {
            continue;
        }
        let run = plm(&[
            "preprocess",
            "--model",
            model.to_str().unwrap(),
            "--image",
            dir.join("media").join(name).to_str().unwrap(),
            "--vision-input-type",
            row["vision_input_type"].as_str().unwrap(),
            "--max-num-tiles",
            &row["max_num_tiles"].to_string(),
            "--json",
        ]);
        let report = run.json();
        let medium = &report["media"][0];
        let grid = match &row["grid_wh"] {
            Value::Null => json!([1, 1]),
            grid => grid.clone(),
        };
        assert_eq!(medium["grid_wh"], grid, "{name}");
        assert_eq!(medium["size_wh"], row["size_wh"], "{name}");
        assert_eq!(medium["num_tiles"], row["num_tiles"], "{name}");
        assert_eq!(medium["num_tokens"], row["num_image_tokens"], "{name}");
        let pairs = medium["tiles"]
            .as_array()
            .unwrap()
            .iter()
            .zip(row["tiles"].as_array().unwrap());
        for (tile, expected) in pairs {
            assert_eq!(tile["sha256_u8_chw"], expected["sha256_u8_chw"], "{name}");
            for key in ["mean", "std"] {
                let difference = tile[key].as_f64().unwrap() - expected[key].as_f64().unwrap();
                // The reference sums in f32; the deviation of a population would be 1e-5 off.
                assert!(
                    difference.abs() < 2e-6,
                    "{key} of {name} is {difference} off"
                );
            }
            compared += 1;
        }
    }
    assert!(compared > 100, "only {compared} tiles compared");
}

#[test]
fn tokens_are_shown_with_their_names() {
    let score = &expected("score")["score"][0];
    let text = score["continuation"].as_str().unwrap();
    let tokens = tiny(&["tokenize", "--text", text, "--json"]).json();
    assert_eq!(keys(&tokens), sorted(["ids", "tokens", "count"]));
    assert_eq!(tokens["ids"], score["continuation_ids"]);
    let count = tokens["ids"].as_array().unwrap().len();
    assert_eq!(tokens["count"], count);
    assert_eq!(tokens["tokens"].as_array().unwrap().len(), count);

    let special = tiny(&["tokenize", "--text", "<|eot_id|>", "--json"]).json();
    assert_eq!(special["tokens"], json!(["<|eot_id|>"]));
    let plain = tiny(&["tokenize", "--text", "<|eot_id|>", "--no-special", "--json"]).json();
    assert!(plain["count"].as_u64().unwrap() > 1);
    let empty = tiny(&["tokenize", "--text", "", "--json"]).json();
    assert_eq!(empty, json!({"ids": [], "tokens": [], "count": 0}));
    let table = tiny(&["tokenize", "--text", "<|eot_id|>"]);
    assert!(table.ok().ends_with("  <|eot_id|>\n"), "{}", table.stdout);
}

#[test]
fn a_score_is_the_references() {
    let case = expected("score");
    let same = expected("extra_eos");
    assert_eq!(case["messages"], same["messages"]);
    let picture = picture("shapes.png");
    for expected in case["score"].as_array().unwrap() {
        let run = tiny(&[
            "score",
            "--image",
            &picture,
            "--prompt",
            "What can you see in the picture?",
            "--vision-input-type",
            "vanilla",
            "--continuation",
            expected["continuation"].as_str().unwrap(),
            "--json",
        ]);
        let score = run.json();
        assert_eq!(
            keys(&score),
            sorted([
                "log_likelihood",
                "is_greedy",
                "token_ids",
                "token_log_probs",
                "prompt_tokens",
            ])
        );
        assert_eq!(score["prompt_tokens"], same["num_tokens"]);
        assert_eq!(score["token_ids"], expected["continuation_ids"]);
        let most_likely = expected["token_is_argmax"].as_array().unwrap();
        let is_greedy = most_likely.iter().all(|token| token == true);
        assert_eq!(score["is_greedy"], is_greedy);
        let sum = score["log_likelihood"].as_f64().unwrap();
        assert!(
            (sum - expected["sum_logprob"].as_f64().unwrap()).abs() < 2e-3,
            "{sum}"
        );
    }
}

#[test]
fn a_video_shows_its_sampled_frames() {
    let clip = fixtures().join("videos/clip.mp4").display().to_string();
    let found = tiny(&[
        "preprocess",
        "--video",
        &clip,
        "--num-frames",
        "4",
        "--json",
    ])
    .json();
    let media = &found["media"][0];
    assert_eq!(media["frame_indices"], json!([0, 10, 20, 30]));
    assert_eq!(media["size_wh"], json!([96, 64]));
    assert_eq!(
        (&media["num_tiles"], &media["num_tokens"]),
        (&json!(4), &json!(16))
    );
    let seconds = media["frame_seconds"].as_array().unwrap();
    assert!((seconds[1].as_f64().unwrap() - 10.0 / 15.0).abs() < 1e-9);

    let part = ["--fps", "3", "--start", "1", "--end", "2"];
    let args = [&["preprocess", "--video", &clip, "--json"][..], &part].concat();
    assert_eq!(
        tiny(&args).json()["media"][0]["frame_indices"],
        json!([15, 20, 25])
    );

    let question = [
        "generate",
        "--video",
        &clip,
        "--prompt",
        "What moves?",
        "--json",
    ];
    let args = [
        &question[..],
        &["--num-frames", "4", "--max-new-tokens", "2"],
    ]
    .concat();
    let answer = tiny(&args).json();
    assert_eq!(answer["media_tiles"], json!([4]));
    let all = tiny(&[&question[..], &["--estimate"]].concat()).json();
    assert_eq!(all["media_tiles"], json!([40]));
    let error = tiny(&[&question[..], &["--num-frames", "41"]].concat());
    assert_eq!(error.code, Some(1));
    assert!(
        error
            .stderr
            .contains("41 frames are asked for, but there are 40"),
        "{}",
        error.stderr
    );
}
