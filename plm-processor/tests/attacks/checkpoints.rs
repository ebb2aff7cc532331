use std::path::Path;
use std::time::{Duration, Instant};

use plm_processor::{Conversation, EncodeOptions, Error, Image, Processor, ProcessorFiles, Video};

use crate::files;

fn with_template(template: &str) -> Result<Processor, Error> {
    let mut files = files();
    files.chat_template = Some(template.to_owned().into_bytes().into());
    Processor::from_files(&files)
}

fn refusal(template: &str) -> String {
    let processor = with_template(template).expect("compiles");
    let conversation = Conversation::from("Hi");
    let start = Instant::now();
    let error = processor
        .encode(&conversation, &EncodeOptions::default())
        .unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(60));
    error.to_string()
}

#[test]
fn the_built_in_template_serves_a_checkpoint_without_one() {
    let processor = Processor::from_files(&files()).expect("loads");
    let picture = Image::from_rgb8(28, 28, vec![1; 28 * 28 * 3]).unwrap();
    let conversation = Conversation::ask("Hi <|image|>", [picture.into()]);
    let options = EncodeOptions {
        max_num_tiles: Some(1),
        ..EncodeOptions::default()
    };
    let prompt = processor.encode(&conversation, &options).expect("encodes");
    assert_eq!(prompt.media[0].num_tokens(), 2);
    assert_eq!(
        processor
            .measure(&conversation, &options)
            .expect("measures")
            .prompt_tokens,
        prompt.len()
    );
}

#[test]
fn templates_that_loop_fail_or_recurse_are_refused() {
    let file = Path::new("checkpoint").join("chat_template.jinja");
    let file = file.display();
    let looping = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}";
    assert!(refusal(looping).starts_with(&format!("the chat template of {file} needs more than")));
    let writing = "{% for a in range(90000) %}{{ 'long' * 500 }}{% endfor %}";
    assert!(refusal(writing).starts_with(&format!("the chat template of {file} writes more than")));
    let raised = refusal("{{ raise_exception('no') }}");
    assert!(
        raised.starts_with(&format!(
            "the chat template of {file} refuses the conversation: "
        )),
        "{raised}"
    );
    let starts = format!("the chat template of {file} fails: ");
    for template in [
        "{% for a in range(99999999) %}{% endfor %}",
        "{{ messages[0].content[7].text.foo }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{% include 'other' %}",
        "{{ 1 / 0 }}",
    ] {
        let message = refusal(template);
        assert!(message.starts_with(&starts), "{template}: {message}");
    }
    let message = with_template("{% if %}").unwrap_err().to_string();
    assert!(message.starts_with(&format!("the chat template of {file} does not compile: ")));
}

#[test]
fn a_template_that_forgets_the_picture_is_refused() {
    let processor = with_template("{{ messages[0].content[1].text }}").expect("compiles");
    let picture = Image::from_rgb8(1, 1, vec![1; 3]).unwrap();
    let conversation = Conversation::ask("Hi", [picture.into()]);
    let message = processor
        .encode(&conversation, &EncodeOptions::default())
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "the prompt has 0 `<|image|>` for 1 image(s); remove `<|image|>` from the texts, or do not \
         parse special tokens"
    );
}

#[test]
fn conversations_without_anything_are_refused() {
    let processor = Processor::from_files(&files()).expect("loads");
    let encode = |conversation: Conversation| {
        processor
            .encode(&conversation, &EncodeOptions::default())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        encode(Conversation::new()),
        "the conversation is empty; add a message"
    );
    let video = Video::from_frames(Vec::new());
    assert_eq!(
        encode(Conversation::ask("Hi", [video.into()])),
        "the video in memory: it has no frame"
    );
}

#[test]
fn options_beyond_reason_are_refused() {
    let processor = Processor::from_files(&files()).expect("loads");
    for max_num_tiles in [0, 1025, u32::MAX] {
        let options = EncodeOptions {
            max_num_tiles: Some(max_num_tiles),
            ..Default::default()
        };
        let message = processor
            .measure(&Conversation::from("Hi"), &options)
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            format!(
                "`max_num_tiles` is {max_num_tiles} in the options, but must be between 1 and 1024"
            )
        );
    }
}

#[test]
fn garbage_in_place_of_files_is_refused_by_name() {
    let place = |name: &str| Path::new("checkpoint").join(name).display().to_string();
    let message = |change: &dyn Fn(&mut ProcessorFiles<'static>)| {
        let mut files = files();
        change(&mut files);
        Processor::from_files(&files).unwrap_err().to_string()
    };
    let garbage = || Some(b"\xFF{".as_slice().into());
    for (name, found) in [
        (
            "tokenizer_config.json",
            message(&|files| files.tokenizer_config = garbage()),
        ),
        (
            "processor_config.json",
            message(&|files| files.processor_config = garbage()),
        ),
        (
            "preprocessor_config.json",
            message(&|files| files.preprocessor_config = garbage()),
        ),
        (
            "video_preprocessor_config.json",
            message(&|files| files.video_preprocessor_config = garbage()),
        ),
        (
            "chat_template.json",
            message(&|files| files.chat_template_json = garbage()),
        ),
    ] {
        assert!(
            found.starts_with(&format!("{} cannot be understood: ", place(name))),
            "{found}"
        );
    }
    let found = message(&|files| files.tokenizer = b"{}".as_slice().into());
    let expected = format!("{} is not a usable tokenizer: ", place("tokenizer.json"));
    assert!(found.starts_with(&expected), "{found}");

    let config = br#"{"image_token": {"content": "<image>"}}"#.as_slice();
    let found = message(&|files| files.tokenizer_config = Some(config.into()));
    assert_eq!(
        found,
        format!(
            "{} has no special token `<image>`, which the image placeholder needs",
            place("tokenizer.json")
        )
    );
}

#[test]
fn a_folder_without_a_tokenizer_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let message = Processor::from_dir(dir.path()).unwrap_err().to_string();
    let file = dir.path().join("tokenizer.json");
    assert!(
        message.starts_with(&format!("cannot read {}: ", file.display())),
        "{message}"
    );
}
