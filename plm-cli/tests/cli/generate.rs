use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::{
    expected, fixtures, keys, picture, plm, sorted, tiny, tiny_with_input, with_tiny, write,
};

/// A question about one picture that is answered in 8 tokens.
fn question(more: &[&str]) -> Vec<String> {
    let picture = picture("shapes.png");
    let args = [
        "generate",
        "--image",
        &picture,
        "--prompt",
        "What can you see in the picture?",
        "--vision-input-type",
        "vanilla",
        "--max-new-tokens",
        "8",
    ];
    args.iter().chain(more).map(|&arg| arg.to_owned()).collect()
}

#[test]
fn json_has_the_documented_keys() {
    let answer = tiny(&question(&["--json"])).json();
    assert_eq!(
        keys(&answer),
        sorted([
            "text",
            "token_ids",
            "finish",
            "prompt_tokens",
            "media_tiles",
            "timing",
            "peak_rss_bytes",
            "device",
            "dtype",
        ])
    );
    assert_eq!(
        keys(&answer["timing"]),
        sorted([
            "load_s",
            "preprocess_s",
            "vision_s",
            "prefill_s",
            "decode_s",
            "decode_tokens_per_s",
        ])
    );
    assert_eq!(answer["finish"], "length");
    assert_eq!(answer["media_tiles"], json!([1]));
    assert_eq!(answer["dtype"], "bf16");
    assert_eq!(answer["device"], "flex");
    assert_eq!(answer["peak_rss_bytes"].is_u64(), cfg!(target_os = "linux"));
    assert!(answer["timing"]["decode_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn without_a_model_the_embedded_one_answers_and_a_note_says_so() {
    for args in [
        question(&["--json"]),
        question(&["--estimate", "--json"]),
        ["tokenize", "--text", "red", "--json"]
            .map(str::to_owned)
            .to_vec(),
    ] {
        let run = plm(&args);
        assert_eq!(run.code, Some(0), "{}", run.shown());
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.shown());
        let note = run.stderr.starts_with("note: no --model was given");
        assert!(note, "{}", run.shown());
        assert!(run.stderr.contains("embedded"), "{}", run.shown());
        run.object();
    }
}

#[test]
fn the_answer_is_the_references() {
    let case = expected("one_image_vanilla");
    let dir = tempfile::tempdir().unwrap();
    let messages = write(dir.path(), "m.json", &case["messages"].to_string());
    let media = fixtures().join("media");
    let run = tiny(&[
        "generate",
        "--messages",
        &messages,
        "--media-root",
        media.to_str().unwrap(),
        "--vision-input-type",
        case["vision_input_type"].as_str().unwrap(),
        "--max-num-tiles",
        &case["max_num_tiles"].to_string(),
        "--max-new-tokens",
        &case["max_new_tokens"].to_string(),
        "--json",
    ]);
    let answer = run.json();
    assert_eq!(answer["prompt_tokens"], case["num_tokens"]);
    assert_eq!(answer["token_ids"], case["greedy_ids"]);
    assert_eq!(answer["text"], case["greedy_text"]);
}

#[test]
fn text_stream_and_json_say_the_same() {
    let text = tiny(&question(&["--json"])).json()["text"].clone();
    let expected = format!("{}\n", text.as_str().unwrap());
    assert_eq!(tiny(&question(&[])).ok(), expected);
    assert_eq!(tiny(&question(&["--stream"])).ok(), expected);
    assert_eq!(tiny(&question(&["--threads", "1"])).ok(), expected);
}

#[test]
fn settings_reach_the_decoder() {
    let ids = |more: &[&str]| {
        let args = question(&[&["--json"], more].concat());
        tiny(&args).json()["token_ids"].clone()
    };
    let greedy = ids(&[]);
    assert_eq!(ids(&["--temperature", "0"]), greedy);
    assert_eq!(ids(&["--top-k", "1"]), greedy);
    assert_ne!(
        ids(&["--repetition-penalty", "5", "--no-repeat-ngram-size", "1"]),
        greedy
    );
    let warm = ["--temperature", "3", "--seed", "7"];
    assert_ne!(ids(&warm), greedy);
    assert_eq!(ids(&warm), ids(&warm));
    assert_eq!(ids(&["--num-beams", "2"]).as_array().unwrap().len(), 8);
}

#[test]
fn a_stop_string_ends_the_answer() {
    let answer = tiny(&question(&["--json"])).json();
    let text = answer["text"].as_str().unwrap().to_owned();
    // The first two letters in a row of the random answer.
    let letters: Vec<(usize, char)> = text.char_indices().collect();
    let pair = letters
        .windows(2)
        .find(|pair| pair.iter().all(|(_, c)| c.is_ascii_alphabetic()))
        .unwrap();
    let stop = format!("{}{}", pair[0].1, pair[1].1);
    let stopped = tiny(&question(&["--json", "--stop", &stop])).json();
    assert_eq!(stopped["finish"], "stop");
    assert_eq!(stopped["text"], text[..pair[0].0]);
}

#[test]
fn messages_name_pictures_relative_to_their_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(picture("shapes.png"), dir.path().join("here.png")).unwrap();
    let messages = json!([{"role": "user", "content": [
        {"type": "image", "path": "here.png"},
        {"type": "text", "text": "What can you see in the picture?"}
    ]}]);
    let file = write(dir.path(), "m.json", &messages.to_string());
    let settings = ["--vision-input-type", "vanilla", "--max-new-tokens", "8"];
    let args = [&["generate", "--messages", file.as_str()], &settings[..]].concat();
    let answer = tiny(&question(&[])).ok().to_owned();
    assert_eq!(tiny(&args).ok(), answer);

    let root = dir.path().to_str().unwrap();
    let args = ["generate", "--messages", "-", "--media-root", root];
    let run = tiny_with_input(&[&args[..], &settings].concat(), &messages.to_string());
    assert_eq!(run.ok(), answer);
}

/// Conversations of different lengths and pictures, with paths relative to the fixtures.
fn conversations() -> Vec<Value> {
    let ask = |pictures: &[&str], text: &str| {
        let images = pictures
            .iter()
            .map(|path| json!({"type": "image", "path": path}));
        let content: Vec<Value> = images
            .chain([json!({"type": "text", "text": text})])
            .collect();
        json!([{"role": "user", "content": content}])
    };
    vec![
        ask(&["shapes.png"], "What can you see in the picture?"),
        ask(&[], "Hello! Who are you?"),
        json!([
            {"role": "system", "content": "Answer with one word."},
            {"role": "user", "content": "How many?"},
            {"role": "assistant", "content": "Three."},
            {"role": "user", "content": [{"type": "image", "path": "checks.webp"}, "And here?"]},
        ]),
        ask(&["rgba.png", "grey.png"], "Give me a caption."),
    ]
}

#[test]
fn a_batch_is_its_single_runs_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let media = fixtures().join("media");
    let common = |more: [&str; 2]| {
        let args = [
            "generate",
            more[0],
            more[1],
            "--media-root",
            media.to_str().unwrap(),
            "--max-num-tiles",
            "4",
            "--max-new-tokens",
            "10",
            "--json",
        ];
        args.map(str::to_owned)
    };
    let lines: Vec<String> = conversations().iter().map(Value::to_string).collect();
    let batch = write(dir.path(), "b.jsonl", &format!("{}\n\n", lines.join("\n")));
    let batch = tiny(&common(["--batch", &batch]));
    let answers: Vec<Value> = batch
        .ok()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), lines.len());
    for (answer, line) in answers.iter().zip(&lines) {
        let messages = write(dir.path(), "m.json", line);
        let single = tiny(&common(["--messages", &messages])).json();
        for key in [
            "text",
            "token_ids",
            "finish",
            "prompt_tokens",
            "media_tiles",
        ] {
            assert_eq!(answer[key], single[key], "{key} of {line}");
        }
        assert_eq!(keys(answer), keys(&single));
    }
}

#[test]
fn an_estimate_counts_what_a_run_reads() {
    let estimate = tiny(&question(&["--estimate", "--json"])).json();
    assert_eq!(
        keys(&estimate),
        sorted([
            "prompt_tokens",
            "media_tokens",
            "media_tiles",
            "num_tiles",
            "max_new_tokens",
            "total_tokens",
            "max_positions",
            "fits",
            "num_parameters",
            "weight_bytes",
            "kv_cache_bytes",
            "vision_flops",
            "prefill_flops",
            "decode_flops_per_token",
        ])
    );
    let answer = tiny(&question(&["--json"])).json();
    for key in ["prompt_tokens", "media_tiles"] {
        assert_eq!(estimate[key], answer[key], "{key}");
    }
    assert_eq!(estimate["fits"], true);
    let wide = tiny(&question(&["--estimate", "--json", "--dtype", "f32"])).json();
    let bytes = |estimate: &Value| estimate["weight_bytes"].as_u64().unwrap();
    assert_eq!(bytes(&wide), 2 * bytes(&estimate));
    let many = tiny(&question(&[
        "--estimate",
        "--json",
        "--max-new-tokens",
        "1000000",
    ]));
    assert_ne!(many.code, Some(0), "an option given twice is refused");
    let many = tiny(&[
        "generate",
        "--prompt",
        "a",
        "--max-new-tokens",
        "10000000",
        "--estimate",
    ]);
    assert!(
        many.ok().contains("the answer would be cut at"),
        "{}",
        many.stdout
    );
}

#[test]
fn a_prompt_that_is_too_long_is_made_to_fit_when_asked() {
    // Twenty pictures of 37 tiles with 4 tokens each, in 2048 positions.
    let mut args = vec!["generate".to_owned()];
    for _ in 0..20 {
        args.extend(["--image".to_owned(), picture("shapes.png")]);
    }
    let more = [
        "--prompt",
        "?",
        "--max-num-tiles",
        "36",
        "--max-new-tokens",
        "3",
    ];
    args.extend(more.map(str::to_owned));
    let message = tiny(&args);
    assert!(
        message.error().contains("max_num_tiles"),
        "{}",
        message.shown()
    );

    args.push("--fit".to_owned());
    let estimate = [args.clone(), vec!["--estimate".into(), "--json".into()]].concat();
    let estimate = tiny(&estimate).json();
    assert_eq!(estimate["fits"], true);
    let total = estimate["total_tokens"].as_u64().unwrap();
    assert!((1600..=2048).contains(&total), "{total}");

    args.push("--json".to_owned());
    let run = tiny(&args);
    assert_eq!(run.code, Some(0), "{}", run.shown());
    assert!(run.stderr.contains("made to fit"), "{}", run.shown());
    let answer = run.object();
    assert_eq!(answer["media_tiles"], estimate["media_tiles"]);
    assert_eq!(answer["prompt_tokens"], estimate["prompt_tokens"]);
}

#[test]
fn metas_rules_cut_pictures_their_way() {
    let preprocess = |more: &[&str]| {
        let turned = picture("turned.jpg");
        tiny(&[&["preprocess", "--image", &turned, "--json"], more].concat()).json()
    };
    let (usual, meta) = (preprocess(&[]), preprocess(&["--rules", "meta"]));
    let size = |report: &Value| report["media"][0]["size_wh"].as_array().unwrap().clone();
    let (mut usual, meta) = (size(&usual), size(&meta));
    usual.reverse();
    assert_eq!(usual, meta);
    let run = tiny(&["preprocess", "--image", "x", "--rules", "python"]);
    assert!(run.wrong_arguments().contains("`huggingface` or `meta`"));
}

#[test]
fn special_tokens_are_text_unless_asked_for() {
    let tokens = |more: &[&str]| {
        let args = [
            "generate",
            "--prompt",
            "a<|eot_id|>b",
            "--estimate",
            "--json",
        ];
        let estimate = tiny(&[&args[..], more].concat()).json();
        estimate["prompt_tokens"].as_u64().unwrap()
    };
    assert!(tokens(&["--parse-special"]) < tokens(&[]));
}

#[test]
fn help_names_what_exists() {
    let help = plm(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for command in [
        "generate",
        "trace",
        "preprocess",
        "tokenize",
        "score",
        "chat",
        "convert",
        "download",
        "bench",
        "train",
        "eval",
    ] {
        assert!(
            help.stdout.contains(&format!("\n  {command} ")),
            "{command}"
        );
        assert_eq!(plm(&[command, "--help"]).code, Some(0));
    }
    assert!(!help.stdout.contains("\n  serve "));
    plm(&["serve"]).wrong_arguments();
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let mut child = crate::command(&with_tiny(&question(&["--stream"])))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(
        !stderr.contains("error") && !stderr.contains("panicked"),
        "{stderr}"
    );
}

#[test]
fn a_full_disk_behind_standard_output_is_an_error() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = crate::command(&with_tiny(&question(&["--json"])))
        .stdout(full)
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("error: cannot write to standard output: "),
        "{stderr}"
    );
}
