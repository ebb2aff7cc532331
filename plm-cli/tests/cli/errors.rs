use std::fs;

use crate::{picture, plm, tiny, write};

#[test]
fn contradictory_arguments_exit_with_2() {
    let image = picture("shapes.png");
    for args in [
        &[][..],
        &["no-such-command"],
        &["generate"],
        &["generate", "--system", "alone"],
        &["generate", "--prompt"],
        &["generate", "--prompt", "a", "--no-such-flag"],
        &["generate", "--prompt", "a", "stray"],
        &["generate", "--prompt", "a", "--messages", "m.json"],
        &["generate", "--image", &image, "--messages", "m.json"],
        &["generate", "--prompt", "a", "--batch", "b.jsonl"],
        &["generate", "--messages", "m.json", "--batch", "b.jsonl"],
        &[
            "generate",
            "--prompt",
            "a",
            "--num-frames",
            "4",
            "--fps",
            "1",
        ],
        &["generate", "--prompt", "a", "--num-frames", "4"],
        &["generate", "--image", &image, "--fps", "1"],
        &[
            "generate", "--prompt", "a", "--video", "v.mp4", "--fps", "0",
        ],
        &["generate", "--prompt", "a", "--video", "v.mp4", "--fps=nan"],
        &["preprocess", "--image", &image, "--num-frames", "4"],
        &["chat", "--fps", "0"],
        &[
            "generate",
            "--prompt",
            "a",
            "--quantize",
            "q8",
            "--dtype",
            "bf16",
        ],
        &["generate", "--prompt", "a", "--quantize", "q5"],
        &["generate", "--prompt", "a", "--stream", "--json"],
        &["generate", "--batch", "b.jsonl", "--stream"],
        &["generate", "--prompt", "a", "--stream", "--num-beams", "2"],
        &["generate", "--prompt", "a", "--temperature", "-1"],
        &["generate", "--prompt", "a", "--temperature", "warm"],
        &["generate", "--prompt", "a", "--top-p", "1.5"],
        &["generate", "--prompt", "a", "--max-new-tokens", "0"],
        &["generate", "--prompt", "a", "--max-new-tokens", "-1"],
        &["generate", "--prompt", "a", "--vision-input-type", "tiles"],
        &["generate", "--image", &image, "--max-num-tiles", "0"],
        &["generate", "--prompt", "a", "--device", "cuda:0"],
        &["generate", "--prompt", "a", "--dtype", "f64"],
        &["generate", "--prompt", "a", "--threads", "0"],
        &["trace", "--prompt", "a"],
        &["preprocess", "--json"],
        &["tokenize"],
        &["score", "--prompt", "a"],
        &["score", "--prompt", "a", "--continuation", ""],
        &["score", "--continuation", "a"],
    ] {
        let run = plm(args);
        assert!(run.wrong_arguments().lines().count() > 0, "{}", run.shown());
    }
}

#[test]
fn bad_files_are_named_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let folder = dir.path().to_str().unwrap();
    let text = write(dir.path(), "text.png", "no picture at all");
    let whole = fs::read(picture("shapes.png")).unwrap();
    fs::write(dir.path().join("cut.png"), &whole[..whole.len() / 2]).unwrap();
    let broken = write(dir.path(), "broken.json", "[{\"role\": \"user\",");
    let object = write(dir.path(), "object.json", "{}");
    let role = write(dir.path(), "role.json", "[\n{\"content\": \"a\"}\n]");
    let lost = write(
        dir.path(),
        "lost.json",
        r#"[{"role": "user", "content": [{"type": "image", "path": "lost.png"}]}]"#,
    );
    let blank = write(dir.path(), "blank.jsonl", "\n\n");
    let line = write(
        dir.path(),
        "line.jsonl",
        "[{\"role\": \"user\", \"content\": \"a\"}]\n[{\"role\": \"user\"}]\n",
    );
    for (args, parts) in [
        (["--image", &path("missing.png")], &["missing.png"][..]),
        (["--image", folder], &[folder]),
        (["--image", &text], &["text.png", "PNG"]),
        (["--image", &path("cut.png")], &["cut.png"]),
        (["--video", "clip.mp4"], &["cannot read", "clip.mp4"]),
        (
            ["--messages", &path("missing.json")],
            &["cannot read", "missing.json"],
        ),
        (["--messages", folder], &["cannot read", folder]),
        (["--messages", &broken], &["broken.json", "not valid JSON"]),
        (
            ["--messages", &object],
            &["object.json", "list of messages"],
        ),
        (
            ["--messages", &role],
            &["role.json", "messages[0]", "`role` is missing"],
        ),
        (
            ["--messages", &lost],
            &["lost.json", "messages[0].content[0]", "lost.png"],
        ),
        (["--batch", &path("missing.jsonl")], &["missing.jsonl"]),
        (["--batch", &blank], &["blank.jsonl", "no conversation"]),
        (
            ["--batch", &line],
            &["line.jsonl, line 2", "`content` is missing"],
        ),
    ] {
        let run = tiny(&[&["generate"], &args[..]].concat());
        for part in parts {
            assert!(run.error().contains(part), "{part}: {}", run.shown());
        }
    }
    let run = tiny(&["preprocess", "--image", &text, "--json"]);
    assert!(run.error().contains("text.png"), "{}", run.shown());
}

#[test]
fn a_model_that_cannot_be_had_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let file = write(dir.path(), "model.safetensors", "");
    for (model, part) in [
        (path("missing"), "neither a folder nor a hub id"),
        (file, "is a file"),
        ("one-word".to_owned(), "neither a folder nor a hub id"),
        (dir.path().to_str().unwrap().to_owned(), "config.json"),
    ] {
        for args in [
            &["generate", "--prompt", "a"][..],
            &["generate", "--prompt", "a", "--estimate"],
            &["tokenize", "--text", "a"],
        ] {
            let run = plm(&[args, &["--model", &model]].concat());
            assert!(run.error().contains(part), "{}", run.shown());
        }
    }
}

#[test]
fn a_trace_that_cannot_be_written_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let nowhere = dir.path().join("no/such/t.safetensors");
    for out in [folder, nowhere.to_str().unwrap()] {
        let run = tiny(&["trace", "--prompt", "a", "--out", out]);
        assert!(
            run.error().starts_with(&format!("cannot write {out}: ")),
            "{}",
            run.shown()
        );
    }
    if std::path::Path::new("/dev/full").exists() {
        let run = tiny(&["trace", "--prompt", "a", "--out", "/dev/full"]);
        assert!(
            run.error().starts_with("cannot write /dev/full: "),
            "{}",
            run.shown()
        );
    }
    let out = dir.path().join("t.safetensors");
    let picture = dir.path().join("missing.png");
    let args = [
        "trace",
        "--out",
        out.to_str().unwrap(),
        "--image",
        picture.to_str().unwrap(),
    ];
    tiny(&args).error();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_prompt_that_is_too_long_says_what_to_do() {
    let text = "word ".repeat(20_000);
    let run = tiny(&["generate", "--prompt", &text]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    for part in ["the prompt has ", " tokens", "positions"] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
    let estimate = tiny(&["generate", "--prompt", &text, "--estimate", "--json"]).json();
    assert_eq!(estimate["fits"], false);
}

#[test]
fn errors_of_a_conversation_name_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let empty = write(dir.path(), "empty.json", "[]");
    let long = "word ".repeat(20_000);
    let long = format!(r#"[{{"role": "user", "content": "{long}"}}]"#);
    let long = write(dir.path(), "long.json", &long);
    let out = dir.path().join("t.safetensors");
    for command in [
        &["generate"][..],
        &["generate", "--stream"],
        &["score", "--continuation", "a"],
        &["trace", "--out", out.to_str().unwrap()],
    ] {
        let run = tiny(&[command, &["--messages", &empty]].concat());
        let start = format!("{empty}: the conversation is empty");
        assert!(run.error().starts_with(&start), "{}", run.shown());
        let run = tiny(&[command, &["--messages", &long]].concat());
        let start = format!("{long}: the prompt has ");
        assert!(run.error().starts_with(&start), "{}", run.stderr);
    }
    let run = tiny(&["generate", "--estimate", "--messages", &empty]);
    assert!(run.error().contains("empty.json: "), "{}", run.shown());
}

#[test]
fn a_batch_with_a_bad_line_is_refused_before_it_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let good = r#"[{"role": "user", "content": "Hello."}]"#;
    let long = good.replace("Hello.", &"word ".repeat(20_000));
    for (bad, part) in [
        (long.as_str(), "the prompt has "),
        ("[]", "the conversation is empty"),
    ] {
        let batch = write(dir.path(), "b.jsonl", &format!("{good}\n\n{bad}\n{good}\n"));
        let run = tiny(&["generate", "--batch", &batch, "--max-new-tokens", "2"]);
        let start = format!("{batch}, line 3: {part}");
        assert!(run.error().starts_with(&start), "{}", run.stderr);
    }
}
