use std::fs;

use serde_json::json;

use crate::{picture, tiny, tiny_with_input, write};

const SETTINGS: [&str; 4] = ["--max-num-tiles", "4", "--max-new-tokens", "8"];

#[test]
fn turns_over_a_pipe_are_those_of_fresh_runs() {
    let image = picture("shapes.png");
    let other = picture("checks.webp");
    let chat = tiny_with_input(
        &[
            &["chat", "--image", &image, "--system", "Be brief."],
            &SETTINGS[..],
        ]
        .concat(),
        &format!("What is this?\n\n/image {other}\nAnd this?\n/quit\nnever read\n"),
    );
    let ask = |picture: &str, text: &str| {
        json!({"role": "user", "content": [
            {"type": "image", "path": picture}, {"type": "text", "text": text}
        ]})
    };
    let dir = tempfile::tempdir().unwrap();
    let mut messages = vec![
        json!({"role": "system", "content": "Be brief."}),
        ask(&image, "What is this?"),
    ];
    let mut expected = String::new();
    for next in [Some(ask(&other, "And this?")), None] {
        let file = write(dir.path(), "m.json", &json!(messages).to_string());
        let args = [&["generate", "--messages", &file, "--json"], &SETTINGS[..]].concat();
        let answer = tiny(&args).json()["text"].as_str().unwrap().to_owned();
        expected += &format!("{answer}\n");
        messages.push(json!({"role": "assistant", "content": answer}));
        messages.extend(next);
    }
    assert_eq!(chat.ok(), expected);
}

#[test]
fn pictures_start_at_the_media_root() {
    let path = picture("shapes.png");
    let (root, name) = path.rsplit_once('/').unwrap();
    let chat = |first: &[&str], next: &str| {
        let args = [&["chat"], first, &SETTINGS[..]].concat();
        tiny_with_input(&args, &format!("Hello.\n/image {next}\nAnd this?\n"))
    };
    let whole = chat(&["--image", &path], &path);
    let rooted = chat(&["--image", name, "--media-root", root], name);
    assert_eq!(rooted.ok(), whole.ok());
}

#[test]
fn a_reset_forgets_the_turns() {
    let args = [&["chat"], &SETTINGS[..]].concat();
    let once = tiny_with_input(&args, "Hello.\n");
    let twice = tiny_with_input(&args, "Hello.\n/reset\nHello.");
    assert_eq!(twice.ok(), once.ok().repeat(2));
    let changed = tiny_with_input(&args, "/system Be brief.\nHello.\n");
    let system = [&["chat", "--system", "Be brief."], &SETTINGS[..]].concat();
    assert_eq!(changed.ok(), tiny_with_input(&system, "Hello.\n").ok());
}

#[test]
fn the_chat_goes_on_after_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let broken = write(dir.path(), "broken.png", "no picture");
    let chat = tiny_with_input(
        &[&["chat"], &SETTINGS[..]].concat(),
        &format!("/image missing.png\n/image {broken}\n/imag\n/help\nHello.\n"),
    );
    assert_eq!(chat.code, Some(1), "{}", chat.shown());
    let hello = tiny_with_input(&[&["chat"], &SETTINGS[..]].concat(), "Hello.\n");
    assert_eq!(chat.stdout, hello.ok());
    let errors = chat
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 4, "{}", chat.stderr);
    assert!(chat.stderr.ends_with("error: 3 lines of the chat failed\n"));
    assert!(chat.stderr.contains("/reset"), "{}", chat.stderr);
}

#[test]
fn a_turn_that_is_too_long_is_withdrawn() {
    let args = [&["chat"], &SETTINGS[..]].concat();
    let long = "word ".repeat(20_000);
    let chat = tiny_with_input(&args, &format!("{long}\nHello.\n"));
    assert_eq!(chat.code, Some(1), "{}", chat.stderr);
    assert!(
        chat.stderr.contains("error: the prompt has "),
        "{}",
        chat.stderr
    );
    assert_eq!(chat.stdout, tiny_with_input(&args, "Hello.\n").ok());
}

#[test]
fn a_missing_first_picture_ends_the_chat_before_it_begins() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.png");
    let missing = missing.to_str().unwrap();
    let error = tiny_with_input(&["chat", "--image", missing], "Hello.\n");
    assert!(error.error().contains("missing.png"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    tiny(&["chat", "--num-beams", "2"]).wrong_arguments();
}
