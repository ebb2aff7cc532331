//! LoRA and DoRA adapters in PEFT's layout.

use std::fs;
use std::path::Path;

use plm::{
    AdapterSource, Conversation, ConvertOptions, EncodeOptions, Error, Image, Layout, LoadOptions,
    PerceptionLM, Precision, Quantization, convert,
};
use plm_train::{LoraConfig, Sample, TargetModules, Trainable, Trainer, TrainerConfig, prepare};
use serde_json::json;

use crate::reference_data::*;

fn conversation() -> Conversation {
    let picture = Image::open(fixtures().join("media/shapes.png")).unwrap();
    Conversation::ask("What is this?", [picture.into()])
}

fn load(dir: &Path, adapters: Vec<AdapterSource>, precision: Precision) -> PerceptionLM {
    let options = LoadOptions {
        adapters,
        precision,
        ..LoadOptions::default()
    };
    PerceptionLM::from_dir(dir, &options).unwrap()
}

fn logits(plm: &PerceptionLM) -> Vec<f32> {
    let prompt = plm.encode(&conversation()).unwrap();
    plm.trace(&prompt, false).unwrap().logits.values
}

/// Trains an adapter of everything for some steps and saves it.
fn train(base: &Path, use_dora: bool, dir: &Path) {
    let plm = load(base, vec![], Precision::F32);
    let talk = conversation().assistant("Nothing but shapes.");
    let sample = plm
        .processor()
        .encode_for_training(&talk, &EncodeOptions::default(), 5000);
    let config = LoraConfig {
        rank: 4,
        alpha: 16.0,
        target_modules: TargetModules::Pattern("model.*(q_proj|down_proj|qkv|fc1|linear_2)".into()),
        use_dora,
        ..LoraConfig::default()
    };
    let model = prepare(plm.model().clone(), &Trainable::Lora(config.clone()), 3).unwrap();
    let steps = TrainerConfig {
        learning_rate: 1e-2,
        ..TrainerConfig::default()
    };
    let mut trainer = Trainer::new(model, steps);
    let batch = vec![Sample::of_answers(sample.unwrap())];
    for _ in 0..3 {
        trainer.step(&[&batch]).unwrap();
    }
    plm_train::save_adapter(trainer.model(), &config, "base", dir).unwrap();
}

fn merged(base: &Path, adapters: &[AdapterSource], layout: Layout, out: &Path) -> PerceptionLM {
    let options = ConvertOptions {
        layout,
        max_shard_bytes: None,
        precision: Precision::Auto,
        quantize: None,
        merge: adapters.to_vec(),
        progress: None,
    };
    convert(base, out, &options).unwrap();
    load(out, vec![], Precision::F32)
}

#[test]
fn beside_the_weights_and_merged_they_answer_alike() {
    let out = tempfile::tempdir().unwrap();
    // Of f32, so that merging rounds nothing.
    let (halves, base) = (out.path().join("halves"), out.path().join("base"));
    let original = fixtures().join("original");
    merged(&original, &[], Layout::HuggingFace, &halves);
    let source = load(&original, vec![], Precision::F32);
    plm_train::save_model(source.model(), Some(&halves), &base).unwrap();
    let plain = logits(&load(&base, vec![], Precision::F32));
    assert_eq!(plain, logits(&source));
    let mut adapters = Vec::new();
    for (name, use_dora) in [("lora", false), ("dora", true)] {
        let dir = out.path().join(name);
        train(&base, use_dora, &dir);
        adapters.push(AdapterSource::new(dir));
    }
    let both = adapters.clone();
    let mut half = adapters[0].clone();
    half.scale = 0.5;
    for (i, adapters) in [
        vec![adapters[0].clone()],
        vec![adapters[1].clone()],
        both,
        vec![half],
    ]
    .into_iter()
    .enumerate()
    {
        let beside = logits(&load(&base, adapters.clone(), Precision::F32));
        let changed = beside.iter().zip(&plain).map(|(a, b)| (a - b).abs());
        assert!(
            changed.fold(0.0, f32::max) > 0.01,
            "{adapters:?} changes nothing"
        );
        for (layout, name) in [(Layout::HuggingFace, "hf"), (Layout::Original, "original")] {
            let dir = out.path().join(format!("{name}{i}"));
            // Two adapters with a magnitude are merged one after the other, as PEFT does, which
            // is not what they do beside each other.
            let merged = merged(&base, &adapters, layout, &dir);
            if adapters.len() == 1 {
                assert_close(name, &logits(&merged), &beside, LOGIT_TOLERANCE);
            }
        }
    }

    // Beside weights in blocks, and merged before they are rounded.
    let options = LoadOptions {
        adapters: adapters.clone(),
        quantize: Some(Quantization::Q8),
        ..LoadOptions::default()
    };
    let rounded = PerceptionLM::from_dir(&base, &options).unwrap();
    let exact = logits(&load(&base, adapters, Precision::F32));
    let off = logits(&rounded)
        .iter()
        .zip(&exact)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(off > 0.0 && off < 0.5, "{off}");
}

#[test]
fn what_does_not_fit_is_named() {
    let out = tempfile::tempdir().unwrap();
    let base = fixtures().join("gigantic");
    let dir = out.path().join("adapter");
    train(&base, false, &dir);
    let error = |dir: &Path, base: &Path| {
        let options = LoadOptions {
            adapters: vec![AdapterSource::new(dir)],
            ..LoadOptions::default()
        };
        let error = PerceptionLM::from_dir(base, &options).unwrap_err();
        let merge = ConvertOptions {
            layout: Layout::HuggingFace,
            max_shard_bytes: None,
            precision: Precision::Auto,
            quantize: None,
            merge: vec![AdapterSource::new(dir)],
            progress: None,
        };
        let merging = convert(base, out.path().join("merged"), &merge).unwrap_err();
        assert_eq!(error.to_string(), merging.to_string());
        error
    };
    // A model of other sizes.
    let message = error(&dir, &tiny()).to_string();
    assert!(message.contains("in the model, and ["), "{message}");

    let config = dir.join("adapter_config.json");
    let text = fs::read(&config).unwrap();
    let edit = |key: &str, value: serde_json::Value| {
        let mut json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        json[key] = value;
        fs::write(&config, json.to_string()).unwrap();
    };
    for (key, value, part) in [
        ("peft_type", json!("IA3"), "peft_type `IA3`"),
        ("use_dora", json!(true), "disagree about a magnitude"),
        ("fan_in_fan_out", json!(true), "fan_in_fan_out"),
        ("alpha_pattern", json!({"(": 1.0}), "is no pattern"),
        ("lora_alpha", json!("big"), "not the expected JSON"),
    ] {
        edit(key, value);
        let message = error(&dir, &base).to_string();
        assert!(message.contains(part), "{message}");
    }
    // A scale of its own for some layers changes the answer.
    edit("alpha_pattern", json!({}));
    let plain = logits(&load(
        &base,
        vec![AdapterSource::new(&dir)],
        Precision::Auto,
    ));
    edit("alpha_pattern", json!({"mlp.down_proj": 1.0}));
    let other = logits(&load(
        &base,
        vec![AdapterSource::new(&dir)],
        Precision::Auto,
    ));
    assert_ne!(plain, other);
    edit("alpha_pattern", json!({}));

    fs::remove_file(dir.join("adapter_model.safetensors")).unwrap();
    assert!(matches!(error(&dir, &base), Error::MissingFile { .. }));
    let nowhere = out.path().join("nowhere");
    assert!(matches!(error(&nowhere, &base), Error::MissingFile { .. }));
}
