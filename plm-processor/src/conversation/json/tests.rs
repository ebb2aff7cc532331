use super::*;

fn read(json: &str) -> Result<Conversation> {
    Conversation::from_json_str(json, "media")
}

#[test]
fn a_plain_string_is_one_text() {
    let conversation = read(r#"[{"role": "user", "content": "Hi"}]"#).unwrap();
    assert_eq!(conversation, Conversation::from("Hi"));
}

#[test]
fn system_texts_are_joined() {
    let conversation = read(
        r#"[{"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "system", "content": "late"}]"#,
    )
    .unwrap();
    assert_eq!(conversation.system.as_deref(), Some("ab"));
    assert_eq!(conversation.messages[0].role, Role::Other("system".into()));
}

#[test]
fn mistakes_name_their_place() {
    for (json, expected) in [
        (
            "{",
            "messages: not valid JSON: EOF while parsing an object at line 1 column 1",
        ),
        (
            "{}",
            "messages: an object found, but this must be a list of messages",
        ),
        (
            "[3]",
            "messages[0]: a number found, but this must be an object",
        ),
        (r#"[{"content": "x"}]"#, "messages[0]: `role` is missing"),
        (
            r#"[{"role": 1, "content": "x"}]"#,
            "messages[0].role: a number found, but this must be a string",
        ),
        (r#"[{"role": "user"}]"#, "messages[0]: `content` is missing"),
        (
            r#"[{"role": "user", "content": null}]"#,
            "messages[0].content: null found, but this must be a string or a list",
        ),
        (
            r#"[{"role": "user", "content": ["a", true]}]"#,
            "messages[0].content[1]: a boolean found, but this must be an object",
        ),
        (
            r#"[{"role": "user", "content": [{"text": "a"}]}]"#,
            "messages[0].content[0]: `type` is missing",
        ),
        (
            r#"[{"role": "user", "content": [{"type": "text"}]}]"#,
            "messages[0].content[0]: `text` is missing",
        ),
        (
            r#"[{"role": "user", "content": [{"type": "audio"}]}]"#,
            "messages[0].content[0]: unknown type `audio`; it is `text`, `image` or `video`",
        ),
        (
            r#"[{"role": "user", "content": [{"type": "image"}]}]"#,
            "messages[0].content[0]: `path` is missing",
        ),
        (
            r#"[{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "image", "url": "http://a/b.png"}]}]"#,
            "messages[1].content[0]: `http://a/b.png` is an address, and pictures are not fetched; download the picture and give its `path`",
        ),
        (
            r#"[{"role": "user", "content": [{"type": "video"}]}]"#,
            "messages[0].content[0]: `path` is missing",
        ),
        (
            r#"[{"role": "system", "content": [{"type": "image", "path": "a"}]}]"#,
            "messages[0].content[0]: a system message takes text alone, not `image`",
        ),
    ] {
        assert_eq!(read(json).unwrap_err().to_string(), expected, "{json}");
    }
}

#[test]
fn a_picture_is_found_under_any_of_its_names() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.bmp");
    ::image::RgbImage::from_pixel(1, 1, ::image::Rgb([7; 3]))
        .save(&file)
        .unwrap();
    let picture = Image::from_rgb8(1, 1, vec![7; 3]).unwrap();
    for field in ["path", "image", "url"] {
        for path in ["a.bmp", file.to_str().unwrap()] {
            let part = serde_json::json!({"type": "image", field: path});
            let json = serde_json::json!([{"role": "user", "content": [part]}]);
            let conversation = Conversation::from_json(&json, dir.path()).unwrap();
            assert_eq!(conversation.images().collect::<Vec<_>>(), [&picture]);
        }
    }
}

#[test]
fn pictures_are_neither_fetched_nor_taken_from_the_json() {
    let fault = |part: Value| {
        let json = serde_json::json!([{"role": "user", "content": [part]}]);
        match Conversation::from_json(&json, "media").unwrap_err() {
            Error::Conversation { place, fault } => {
                assert!(place.starts_with("messages[0].content[0]"), "{place}");
                fault
            }
            other => panic!("{other}"),
        }
    };
    let image =
        |field: &str, value: &str| fault(serde_json::json!({"type": "image", field: value}));
    for field in ["path", "image", "url"] {
        let url = "HTTPS://a/b.png".to_owned();
        assert_eq!(image(field, &url), Fault::Url { url });
        assert_eq!(
            image(field, "data:image/png;base64,AA"),
            Fault::InlinePicture { field }
        );
    }
    assert_eq!(
        image("base64", "AA"),
        Fault::InlinePicture { field: "base64" }
    );
    assert_eq!(
        fault(serde_json::json!({"type": "video", "frames": ["data:,a"]})),
        Fault::InlinePicture { field: "frames" }
    );
    assert_eq!(
        fault(serde_json::json!({"type": "image", "url": 3})),
        Fault::WrongType {
            expected: "a string",
            found: "a number"
        }
    );
}

#[test]
fn a_file_that_is_not_there_is_named_with_its_place() {
    for (part, place, file) in [
        (r#""frames": ["no.png"]"#, ".frames[0]", "no.png"),
        (r#""path": "no.mp4""#, "", "no.mp4"),
    ] {
        let json = format!(r#"[{{"role": "user", "content": [{{"type": "video", {part}}}]}}]"#);
        let message = read(&json).unwrap_err().to_string();
        let file = Path::new("media").join(file);
        let start = format!(
            "messages[0].content[0]{place}: cannot read {}: ",
            file.display()
        );
        assert!(message.starts_with(&start), "{message}");
    }
}
