use super::*;

fn config(text: &str) -> Result<Config, Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.toml");
    fs::write(&path, text).unwrap();
    Config::from_file(path)
}

const LEAST: &str = r#"
    model = "m"
    dump_dir = "d"
    steps = 3
    optim = { lr = 1e-3 }
    [data]
    datamix = [{ path = "a.jsonl" }]
"#;

#[test]
fn little_must_be_said() {
    let config = config(LEAST).unwrap();
    assert_eq!(config.trainable(), Trainable::FrozenVision);
    assert!(config.model.ends_with("m") && config.model.is_absolute());
    assert!(config.data.datamix[0].path.is_absolute());
    assert_eq!(config.optim.betas, [0.9, 0.999]);
}

#[test]
fn wrong_fields_and_values_are_named() {
    for (line, part) in [
        ("step = 3", "unknown field `step`"),
        ("optim.lr = 0.0", "duplicate key"),
        (
            "epochs = 2.0",
            "either steps or epochs must be given, and not both",
        ),
        (
            "drop_path = 1.0",
            "drop_path must be at least 0 and below 1",
        ),
        (
            "drop_path = 0.1",
            "drop_path needs a vision tower that is trained",
        ),
        ("devices = [\"tpu\"]", "device `tpu`"),
        (
            "devices = [\"cuda:0\", \"cuda:1\"]",
            "data.grad_acc_steps must be at least the number of devices",
        ),
        ("max_seqlen = 1", "data.max_seqlen must be at least 2"),
        ("batch_size = 0", "data.batch_size must be at least 1"),
        ("vision_input_type = \"grid\"", "data.vision_input_type"),
        ("quantize = \"nf4\"", "quantize needs train = \"lora\""),
        (
            "init = \"random\"\ntrain = \"lora\"",
            "init = \"random\" needs weights that are trained and saved",
        ),
        (
            "quantize = \"q5\"\ntrain = \"lora\"",
            "`q5` is none of q8, q4, nf4",
        ),
    ] {
        let first = [
            "step",
            "epochs",
            "drop_path",
            "optim",
            "quantize",
            "init",
            "devices",
        ];
        let text = match first.iter().any(|field| line.starts_with(field)) {
            true => format!("{line}\n{LEAST}"),
            false => format!("{LEAST}\n{line}"),
        };
        let error = config(&text).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        let message = format!("{error} {}", source.unwrap_or_default());
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn steps_follow_from_epochs() {
    for (epochs, steps) in [("1", 3), ("2.5", 7), ("0.01", 1), ("1.4", 4)] {
        let text = LEAST.replace("steps = 3", &format!("epochs = {epochs}"));
        let config = config(&format!("{text}\nbatch_size = 2\ngrad_acc_steps = 2")).unwrap();
        // Ten samples, four a step.
        assert_eq!(config.num_steps(10), steps, "{epochs}");
    }
    assert_eq!(config(LEAST).unwrap().num_steps(10), 3);
    for (line, part) in [
        ("", "either steps or epochs must be given"),
        ("epochs = 0", "epochs must be above 0"),
        ("epochs = inf", "epochs must be above 0"),
        ("steps = 0", "steps must be at least 1"),
    ] {
        let error = config(&LEAST.replace("steps = 3", line)).unwrap_err();
        assert!(error.to_string().contains(part), "{line}: {error}");
    }
}
