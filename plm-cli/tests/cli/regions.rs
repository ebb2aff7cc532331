use serde_json::{Value, json};

use crate::{fixtures, keys, picture, tiny, write};

fn clip() -> String {
    let path = fixtures().join("videos/clip.mp4");
    path.to_str().unwrap().to_owned()
}

/// The JSON of a run that answers in 4 tokens, with as few tiles as can be.
fn asked(args: &[&str]) -> Value {
    let more = ["--max-new-tokens", "4", "--json"];
    tiny(&[args, &more].concat()).json()
}

/// The fields of every answer, and some more.
fn with_answer(more: &[&'static str]) -> Vec<&'static str> {
    let answer = [
        "question",
        "text",
        "token_ids",
        "finish",
        "prompt_tokens",
        "media_tiles",
        "timing",
        "peak_rss_bytes",
        "device",
        "dtype",
    ];
    let mut names = [&answer[..], more].concat();
    names.sort_unstable();
    names
}

#[test]
fn an_answer_without_a_box_keeps_its_text() {
    let (image, dir) = (picture("shapes.png"), tempfile::tempdir().unwrap());
    let out = dir.path().join("annotated.png");
    let mut args = vec!["ground", "--image", &image, "--phrase", "the red circle"];
    args.extend([
        "--vision-input-type",
        "vanilla",
        "--out",
        out.to_str().unwrap(),
    ]);
    let report = asked(&args);
    let more = ["understood", "boxes", "misread", "size_wh", "out"];
    assert_eq!(keys(&report), with_answer(&more));
    assert_eq!(report["size_wh"], json!([120, 80]));
    assert_eq!(
        report["question"],
        "Provide a bounding box of the region this sentence describes: 'the red circle'.\nUse the format [x1, y1, x2, y2]."
    );
    // Random weights write no box in 4 tokens, which is an answer, not an error.
    assert_eq!(report["understood"], false);
    assert_eq!(report["boxes"], json!([]));
    assert_eq!(report["misread"].as_array().unwrap().len(), 1);
    assert_eq!(report["out"], Value::Null);
    assert!(!out.exists());
    let text = report["text"].as_str().unwrap();
    args.extend(["--max-new-tokens", "4"]);
    let run = tiny(&args);
    assert!(run.ok().starts_with(text), "{}", run.shown());
    assert!(run.stdout.contains("\nnot understood: "), "{}", run.shown());
}

#[test]
fn a_region_of_a_picture_is_named_or_drawn() {
    let image = picture("shapes.png");
    let question = |more: &[&str]| {
        let args = ["caption-region", "--image", &image, "--box", "12,14,52,54"];
        let report = asked(&[&args[..], &["--vision-input-type", "vanilla"], more].concat());
        assert_eq!(keys(&report), with_answer(&["box"]));
        assert_eq!(report["box"], json!([12.0, 14.0, 52.0, 54.0]));
        report["question"].as_str().unwrap().to_owned()
    };
    assert!(question(&[]).contains("([100,175,433,675])"));
    let other = question(&["--box-format", "standard", "--box-order", "xywh"]);
    assert!(other.contains("([0.100,0.175,0.333,0.500])"), "{other}");
    assert!(question(&["--draw"]).contains("red rectangle"));
}

#[test]
fn a_drawn_region_changes_what_the_model_sees() {
    let image = picture("shapes.png");
    let tokens = |region| {
        let args = [
            "caption-region",
            "--image",
            &image,
            "--draw",
            "--box",
            region,
            "--vision-input-type",
            "vanilla",
            "--max-new-tokens",
            "16",
            "--json",
        ];
        tiny(&args).json()["token_ids"].clone()
    };
    assert_ne!(tokens("0,0,119,79"), tokens("50,30,70,50"));
}

#[test]
fn events_of_a_clip_are_asked_for_by_frames_that_have_times() {
    let video = clip();
    let dir = tempfile::tempdir().unwrap();
    let boxes = write(
        dir.path(),
        "boxes.json",
        r#"{"0": [5, 5, 40, 40], "39": null}"#,
    );
    let report = asked(&[
        "locate",
        "--video",
        &video,
        "--boxes",
        &boxes,
        "--event",
        "The square stops",
    ]);
    let more = [
        "understood",
        "intervals",
        "misread",
        "frame_indices",
        "frame_seconds",
    ];
    assert_eq!(keys(&report), with_answer(&more));
    // 40 frames at 15 a second: fewer than 32 seconds, so 32 frames of the whole clip.
    let indices = report["frame_indices"].as_array().unwrap();
    assert_eq!((indices.len(), &indices[31]), (32, &json!(39)));
    assert_eq!(report["frame_seconds"][0], json!(0.0));
    assert_eq!(
        report["question"],
        "Given the region marked by the red rectangle in the video, please provide the start and end frame of when 'The square stops' happens. Use the format [start, end] where start and end are frame numbers between 0 and 31 in this 32 frame video."
    );
    assert_eq!(report["understood"], false);

    let report = asked(&["dense-caption", "--video", &video, "--num-frames", "5"]);
    let more = [
        "understood",
        "captions",
        "misread",
        "frame_indices",
        "frame_seconds",
    ];
    assert_eq!(keys(&report), with_answer(&more));
    assert_eq!(report["frame_indices"], json!([0, 8, 16, 24, 32]));
    assert_eq!(report["media_tiles"], json!([5]));
}

#[test]
fn a_region_of_a_clip_is_described_in_some_frames() {
    let args = ["caption-region", "--video", &clip(), "--box", "5,5,40,40"];
    let report = asked(&[&args[..], &["--num-frames", "8", "--frames", "10,39"]].concat());
    let more = ["box", "interval", "frame_indices", "frame_seconds"];
    assert_eq!(keys(&report), with_answer(&more));
    assert_eq!(report["interval"]["start"], 2);
    assert_eq!(report["interval"]["end"], 7);
    assert_eq!(report["interval"]["start_frame"], 10);
    assert!(
        report["question"].as_str().unwrap().ends_with(
            "in the region marked by the red rectangle within frames [2, 7] in this 40 frame video."
        ),
        "{report}"
    );
}

#[test]
fn wrong_arguments_exit_with_2() {
    let (image, video) = (picture("shapes.png"), clip());
    for args in [
        &["ground", "--image", &image][..],
        &["ground", "--phrase", "a"],
        &[
            "ground",
            "--image",
            &image,
            "--phrase",
            "a",
            "--box-format",
            "001",
        ],
        &[
            "ground",
            "--image",
            &image,
            "--phrase",
            "a",
            "--box-order",
            "yxyx",
        ],
        &[
            "ground", "--image", &image, "--phrase", "a", "--out", "a.jpg",
        ],
        &[
            "ground",
            "--image",
            &image,
            "--phrase",
            "a",
            "--num-frames",
            "2",
        ],
        &["caption-region", "--image", &image],
        &["caption-region", "--box", "1,2,3,4"],
        &["caption-region", "--image", &image, "--box", "1,2,3"],
        &["caption-region", "--image", &image, "--box", "5,2,3,4"],
        &["caption-region", "--image", &image, "--box", "1,2,nan,4"],
        &[
            "caption-region",
            "--image",
            &image,
            "--video",
            &video,
            "--box",
            "1,2,3,4",
        ],
        &["caption-region", "--image", &image, "--boxes", "b.json"],
        &[
            "caption-region",
            "--image",
            &image,
            "--box",
            "1,2,3,4",
            "--frames",
            "1,2",
        ],
        &["caption-region", "--video", &video, "--draw"],
        &["caption-region", "--video", &video, "--frames", "2,1"],
        &["locate", "--video", &video],
        &["locate", "--event", "a"],
        &[
            "locate", "--video", &video, "--event", "a", "--box", "1,2,3,4", "--boxes", "b",
        ],
        &["dense-caption"],
        &["dense-caption", "--image", &image],
    ] {
        let run = tiny(args);
        assert!(!run.wrong_arguments().is_empty(), "{}", run.shown());
    }
}

#[test]
fn what_is_wrong_with_boxes_and_frames_is_told_in_one_line() {
    let (image, video) = (picture("shapes.png"), clip());
    let dir = tempfile::tempdir().unwrap();
    let broken = write(dir.path(), "broken.json", "{");
    let short = write(dir.path(), "short.json", r#"{"3": [1, 2, 3]}"#);
    let lost = dir.path().join("no/a.png");
    for (args, parts) in [
        (
            &["caption-region", "--image", &image, "--box", "120,0,130,5"][..],
            &["shapes.png", "120x80", "outside"][..],
        ),
        (
            &["caption-region", "--video", &video, "--frames", "0,40"],
            &["0 to 40", "0 to 39"],
        ),
        (
            &["dense-caption", "--video", &video, "--boxes", &broken],
            &["broken.json", "not valid JSON"],
        ),
        (
            &["dense-caption", "--video", &video, "--boxes", &short],
            &["short.json", "frame 3 must have four numbers"],
        ),
        (
            &["dense-caption", "--video", &video, "--boxes", "lost.json"],
            &["cannot read lost.json"],
        ),
        (
            &[
                "ground",
                "--image",
                &image,
                "--phrase",
                "a",
                "--out",
                lost.to_str().unwrap(),
            ],
            &["cannot write", "a.png"],
        ),
        (
            &["ground", "--image", "lost.png", "--phrase", "a"],
            &["lost.png"],
        ),
    ] {
        let run = tiny(args);
        for part in parts {
            assert!(run.error().contains(part), "{part}: {}", run.shown());
        }
    }
}
