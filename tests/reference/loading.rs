//! Damaged, lying and absurd checkpoints: each is a typed error that names the culprit.

use std::fs;
use std::path::Path;

use plm::{Checkpoint, Config, Error, LoadOptions, PerceptionLM, Precision, Weights};
use serde_json::{Value, json};

use crate::checkpoint_copy::Copy;
use crate::reference_data::fixtures;

const WEIGHTS: &str = "model.safetensors";

#[test]
fn copies_load() {
    Copy::tiny().load().unwrap();
    Copy::sharded().load().unwrap();
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = PerceptionLM::from_dir("no/such/folder", &LoadOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no/such/folder: there is no such folder; give the folder of a checkpoint"
    );
}

#[test]
fn each_needed_file_is_named_when_it_is_missing() {
    for name in ["config.json", "tokenizer.json", WEIGHTS] {
        let copy = Copy::tiny();
        fs::remove_file(copy.path(name)).unwrap();
        copy.assert_error(&[name, "lacks this file"]);
    }
}

#[test]
fn every_missing_unused_and_misshapen_tensor_is_listed_at_once() {
    let copy = Copy::tiny();
    copy.edit_header(WEIGHTS, |header| {
        let header = header.as_object_mut().unwrap();
        let moved = header.remove("model.language_model.norm.weight").unwrap();
        header.insert("stranger.weight".into(), moved);
        let key = "model.multi_modal_projector.linear_1.weight";
        let shape = header[key]["shape"].as_array().unwrap().clone();
        let flat = shape.iter().map(|x| x.as_u64().unwrap()).product::<u64>();
        header[key]["shape"] = json!([flat]);
    });
    copy.assert_error(&[
        "missing model.language_model.norm.weight",
        "not part of the model stranger.weight",
        "misshapen model.multi_modal_projector.linear_1.weight is [4096], not [64, 64]",
    ]);
}

#[test]
fn tensors_of_another_type_are_listed() {
    let copy = Copy::tiny();
    copy.edit_header(WEIGHTS, |header| {
        header["model.language_model.norm.weight"]["dtype"] = json!("I16");
    });
    copy.assert_error(&["not f32, f16 or bf16 model.language_model.norm.weight (I16)"]);
}

#[test]
fn derived_frequencies_are_tolerated() {
    let copy = Copy::tiny();
    copy.edit_header(WEIGHTS, |header| {
        let header = header.as_object_mut().unwrap();
        let ends = header
            .values()
            .filter_map(|t| t["data_offsets"][1].as_u64());
        let end = ends.max().unwrap();
        header.insert(
            "model.language_model.rotary_emb.inv_freq".into(),
            json!({"dtype": "F32", "shape": [0], "data_offsets": [end, end]}),
        );
    });
    copy.load().unwrap();
}

#[test]
fn truncated_weights_are_told_from_others() {
    let whole = fs::metadata(Copy::tiny().path(WEIGHTS)).unwrap().len() as usize;
    for length in [0, 7, 8, 100, whole / 2, whole - 1] {
        let copy = Copy::tiny();
        let bytes = fs::read(copy.path(WEIGHTS)).unwrap();
        fs::write(copy.path(WEIGHTS), &bytes[..length]).unwrap();
        copy.assert_error(&[WEIGHTS]);
    }
    let copy = Copy::tiny();
    let mut bytes = fs::read(copy.path(WEIGHTS)).unwrap();
    bytes.push(0);
    fs::write(copy.path(WEIGHTS), bytes).unwrap();
    copy.assert_error(&["its header describes", "the file has"]);
}

#[test]
fn lying_headers_are_refused() {
    for length in [u64::MAX, u64::MAX - 8, 1 << 40, 200 << 20] {
        let copy = Copy::tiny();
        let mut bytes = fs::read(copy.path(WEIGHTS)).unwrap();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        fs::write(copy.path(WEIGHTS), bytes).unwrap();
        copy.assert_error(&[WEIGHTS, "its header claims"]);
    }
    let copy = Copy::tiny();
    let mut bytes = fs::read(copy.path(WEIGHTS)).unwrap();
    bytes[9] = 0xff;
    fs::write(copy.path(WEIGHTS), bytes).unwrap();
    copy.assert_error(&[WEIGHTS, "its header is damaged"]);

    // Overlapping, reversed, far and overflowing tensors.
    let key = "model.language_model.norm.weight";
    for offsets in [
        json!([0, 128]),
        json!([128, 0]),
        json!([1_u64 << 40, 1_u64 << 41]),
    ] {
        let copy = Copy::tiny();
        copy.edit_header(WEIGHTS, |header| header[key]["data_offsets"] = offsets);
        copy.assert_error(&[WEIGHTS, "its header is damaged"]);
    }
    let copy = Copy::tiny();
    copy.edit_header(WEIGHTS, |header| {
        header[key]["shape"] = json!([u64::MAX, u64::MAX]);
    });
    copy.assert_error(&[WEIGHTS, "its header is damaged"]);
}

#[test]
fn shards_and_their_index_must_agree() {
    const INDEX: &str = "model.safetensors.index.json";
    let copy = Copy::sharded();
    fs::remove_file(copy.path("model-00002-of-00003.safetensors")).unwrap();
    copy.assert_error(&["model-00002-of-00003.safetensors", "lacks this file"]);

    let copy = Copy::sharded();
    copy.edit_json(INDEX, |index| {
        index["weight_map"]["lm_head.weight"] = json!("model-00004-of-00003.safetensors");
    });
    copy.assert_error(&["model-00004-of-00003.safetensors", "lacks this file"]);

    let copy = Copy::sharded();
    copy.edit_json(INDEX, |index| {
        index["weight_map"]["lm_head.weight"] = json!("../secret.safetensors");
    });
    copy.assert_error(&[
        INDEX,
        "../secret.safetensors",
        "outside the checkpoint's folder",
    ]);

    let copy = Copy::sharded();
    copy.edit_json(INDEX, |index| {
        let map = index["weight_map"].as_object_mut().unwrap();
        map.insert(
            "no.such.tensor".into(),
            json!("model-00001-of-00003.safetensors"),
        );
    });
    copy.assert_error(&[INDEX, "`no.such.tensor` is not in"]);

    let copy = Copy::sharded();
    fs::copy(
        copy.path("model-00001-of-00003.safetensors"),
        copy.path("model-00002-of-00003.safetensors"),
    )
    .unwrap();
    copy.assert_error(&["stands in another shard too"]);

    let copy = Copy::sharded();
    fs::write(copy.path(INDEX), "{\"weight_map\": []}").unwrap();
    copy.assert_error(&[INDEX, "not the expected JSON"]);
}

#[test]
fn absurd_configs_are_refused_before_anything_is_allocated() {
    let too_large = [
        ("text_config", "hidden_size"),
        ("text_config", "vocab_size"),
        ("text_config", "num_hidden_layers"),
        ("text_config", "intermediate_size"),
        ("text_config", "max_position_embeddings"),
    ];
    for (section, key) in too_large {
        for value in [json!(0), json!(1_u64 << 62), json!(2_000_000_000)] {
            let copy = Copy::tiny();
            copy.edit_json("config.json", |config| config[section][key] = value);
            copy.assert_error(&["config.json", key]);
        }
    }
    for (key, value) in [
        ("embed_dim", json!(1_u64 << 62)),
        ("depth", json!(1_000_000_000)),
        ("num_heads", json!(0)),
        ("img_size", json!([1_u64 << 60, 1_u64 << 60])),
        ("patch_size", json!(0)),
        ("mlp_ratio", json!(1e300)),
    ] {
        let copy = Copy::tiny();
        copy.edit_json("config.json", |config| {
            config["vision_config"]["model_args"][key] = value;
        });
        copy.assert_error(&["config.json", key]);
    }
}

#[test]
fn configs_of_other_models_are_named() {
    type Edit = fn(&mut Value);
    let edits: [(Edit, &str); 7] = [
        (
            |c| c["model_type"] = json!("llava"),
            "model_type is `llava`",
        ),
        (
            |c| c["vision_config"]["architecture"] = json!("vit_base"),
            "vision_config.architecture is `vit_base`; known are",
        ),
        (
            |c| c["text_config"]["hidden_act"] = json!("gelu"),
            "hidden_act is `gelu`",
        ),
        (
            |c| c["vision_use_cls_token"] = json!(false),
            "vision_use_cls_token is false, but",
        ),
        (
            |c| c["projector_pooling_ratio"] = json!(0),
            "projector_pooling_ratio is 0",
        ),
        (
            |c| c["text_config"]["rope_scaling"] = json!({"rope_type": "yarn", "factor": 2.0}),
            "rope_type is `yarn`",
        ),
        (
            |c| c["image_token_id"] = json!(3),
            "image token id is 3 here, but",
        ),
    ];
    for (edit, message) in edits {
        let copy = Copy::tiny();
        copy.edit_json("config.json", edit);
        copy.assert_error(&["config.json", message]);
    }
    let copy = Copy::tiny();
    fs::write(copy.path("config.json"), "{\"text_config\": {}").unwrap();
    copy.assert_error(&["config.json", "not the expected JSON"]);
}

#[test]
fn both_generations_of_keys_mean_the_same() {
    let copy = Copy::tiny();
    let old = Checkpoint::from_dir(copy.dir.path()).unwrap().config;
    copy.edit_json("config.json", |config| {
        let text = config["text_config"].as_object_mut().unwrap();
        let mut rope = text.remove("rope_scaling").unwrap();
        rope["rope_theta"] = text.remove("rope_theta").unwrap();
        text.insert("rope_parameters".into(), rope);
        let tied = text.remove("tie_word_embeddings").unwrap();
        config["tie_word_embeddings"] = tied;
    });
    let new = Checkpoint::from_dir(copy.dir.path()).unwrap().config;
    assert_eq!(old, new);
}

#[test]
fn keys_may_be_null_absent_or_doubled_as_in_the_reference() {
    let copy = Copy::tiny();
    let before = Checkpoint::from_dir(copy.dir.path()).unwrap().config;
    copy.edit_json("config.json", |config| {
        let text = &mut config["text_config"];
        text["attention_bias"] = Value::Null;
        text["mlp_bias"] = Value::Null;
        text["rope_scaling"]["type"] = json!("llama3");
        // The older key wins where both stand.
        text["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 500000.0});
        config["tie_word_embeddings"] = Value::Null;
    });
    let after = Checkpoint::from_dir(copy.dir.path()).unwrap().config;
    assert_eq!(before, after);
    copy.edit_json("config.json", |config| {
        let text = config["text_config"].as_object_mut().unwrap();
        text.remove("max_position_embeddings");
        text["rope_scaling"] = json!({});
    });
    let after = Checkpoint::from_dir(copy.dir.path()).unwrap().config;
    assert_eq!(after.text.max_positions, 2048);
    assert_eq!(after.text.rope.scaling, None);
}

#[test]
fn arguments_that_are_null_or_spelled_out_change_nothing() {
    let copy = Copy::tiny();
    let before = Checkpoint::from_dir(copy.dir.path()).unwrap().config;
    copy.edit_json("config.json", |config| {
        let args = &mut config["vision_config"]["model_args"];
        for name in ["mlp_ratio", "class_token", "num_kv_heads", "norm_layer"] {
            args[name] = Value::Null;
        }
        args["qkv_bias"] = json!(true);
        args["attn_type"] = json!("rope");
        config["text_config"]["hidden_act"] = json!("swish");
    });
    let after = Checkpoint::from_dir(copy.dir.path()).unwrap().config;
    assert_eq!(before, after);

    // The language encoders have layer scale unless told otherwise, and null tells nothing.
    copy.edit_json("config.json", |config| {
        let vision = &mut config["vision_config"];
        vision["architecture"] = json!("vit_pe_lang_large_patch14_448");
        vision["model_args"]["init_values"] = Value::Null;
    });
    let lang = Checkpoint::from_dir(copy.dir.path()).unwrap().config;
    assert!(lang.vision.layer_scale);
    copy.edit_json("config.json", |config| {
        config["vision_config"]["model_args"]["attn_type"] = json!("eva");
    });
    copy.assert_error(&["model_args.attn_type is \"eva\"; only \"rope\" is supported"]);
}

#[test]
fn stop_ids_of_the_top_level_win() {
    let copy = Copy::tiny();
    fs::remove_file(copy.path("generation_config.json")).unwrap();
    copy.edit_json("config.json", |config| config["eos_token_id"] = json!(7));
    let checkpoint = Checkpoint::from_dir(copy.dir.path()).unwrap();
    assert_eq!(checkpoint.stop_ids, [7]);
}

#[test]
fn an_output_projection_in_the_file_decides_about_tying() {
    const OUTPUT: &str = "lm_head.weight";
    const EMBEDDING: &str = "model.language_model.embed_tokens.weight";
    let score = |copy: &Copy| {
        let plm = copy.load().unwrap();
        let prompt = plm.encode(&plm::Conversation::ask("Hi", [])).unwrap();
        let score = plm.score(&prompt, "x").unwrap().log_likelihood;
        (plm.config().text.tie_word_embeddings, score)
    };
    let copy = Copy::tiny();
    let before = score(&copy);
    let data = Weights::open(copy.dir.path())
        .unwrap()
        .read(EMBEDDING, burn::tensor::DType::BF16)
        .unwrap();
    let shape = data.shape().as_slice().to_vec();

    copy.append_tensor(WEIGHTS, OUTPUT, &shape, data.as_bytes());
    assert_eq!(score(&copy), before, "an equal one is passed over");

    let copy = Copy::tiny();
    copy.append_tensor(WEIGHTS, OUTPUT, &shape, &vec![0; data.as_bytes().len()]);
    let vocab_size = shape[0] as f64;
    let (tied, uniform) = score(&copy);
    assert!(!tied, "another one is used");
    assert!((uniform + vocab_size.ln()).abs() < 1e-5, "{uniform}");

    let copy = Copy::tiny();
    copy.edit_header(WEIGHTS, |header| {
        let tensors = header.as_object_mut().unwrap();
        let embedding = tensors.remove(EMBEDDING).unwrap();
        tensors.insert(OUTPUT.into(), embedding);
    });
    assert_eq!(score(&copy), before, "one without embedding is both");
}

#[test]
fn weights_that_are_not_numbers_end_an_answer_with_one_error() {
    use plm::{Conversation, Decoding};

    let copy = Copy::tiny();
    let bytes = fs::read(copy.path(WEIGHTS)).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let offsets = &header["model.language_model.norm.weight"]["data_offsets"];
    let start = 8 + length + offsets[0].as_u64().unwrap() as usize;
    let mut damaged = bytes;
    damaged[start..start + 2].copy_from_slice(&0x7fc0_u16.to_le_bytes());
    fs::write(copy.path(WEIGHTS), damaged).unwrap();

    let plm = copy.load().unwrap();
    let ask = Conversation::ask("Hi", []);
    let mut stream = plm.stream(&ask, &Decoding::default()).unwrap();
    let error = stream.next().unwrap().unwrap_err();
    assert!(error.to_string().contains("weights are damaged"), "{error}");
    assert!(stream.next().is_none());

    let mut session = plm.session();
    let failed = session.ask(vec!["Hi".into()], &Decoding::default());
    assert!(failed.is_err() && session.conversation().messages.is_empty());
    let beams = Decoding {
        num_beams: 2,
        ..Decoding::default()
    };
    assert!(plm.generate(&ask, &beams).is_err());
    assert!(plm.score(&plm.encode(&ask).unwrap(), "x").is_err());
}

#[test]
fn names_of_settings_are_checked() {
    let error = "f8".parse::<Precision>().unwrap_err();
    assert!(error.to_string().contains("none of auto, f32, bf16, f16"));
    let error = "tpu".parse::<plm::DeviceChoice>().unwrap_err();
    assert!(error.to_string().contains("device `tpu`"));
}

#[test]
fn long_work_reports_its_progress() {
    use std::sync::{Arc, Mutex};

    use plm::{Conversation, Decoding, Image, Progress};

    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let options = LoadOptions {
        progress: Some(Arc::new(move |progress| {
            sink.lock().unwrap().push(progress)
        })),
        ..LoadOptions::default()
    };
    let plm = PerceptionLM::from_dir(fixtures().join("gigantic"), &options).unwrap();
    let loaded = std::mem::take(&mut *seen.lock().unwrap());
    let bytes = loaded.iter().map(|progress| match progress {
        Progress::Loading { bytes, total_bytes } => (*bytes, *total_bytes),
        other => panic!("{other:?} while loading"),
    });
    let bytes: Vec<(u64, u64)> = bytes.collect();
    assert!(bytes.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let (last, total) = bytes[bytes.len() - 1];
    assert_eq!(last, total);

    let picture = Image::open(fixtures().join("media/shapes.png")).unwrap();
    let ask = Conversation::ask("word ".repeat(40), [picture.into()]);
    let answer = plm.generate(&ask, &Decoding::default()).unwrap();
    let total_tiles = answer.usage.media_tiles[0];
    let total_tokens = answer.usage.prompt_tokens;
    let seen = seen.lock().unwrap();
    assert!(seen.contains(&Progress::Encoding {
        tiles: total_tiles,
        total_tiles
    }));
    assert_eq!(
        seen.last(),
        Some(&Progress::Reading {
            tokens: total_tokens,
            total_tokens
        })
    );
}

#[test]
fn configs_need_no_weights() {
    let copy = Copy::tiny();
    fs::remove_file(copy.path(WEIGHTS)).unwrap();
    let checkpoint = Checkpoint::from_dir(copy.dir.path()).unwrap();
    assert!(checkpoint.config.num_parameters() > 100_000);
    assert!(matches!(
        Config::from_json(b"[]", Path::new("config.json")),
        Err(Error::Json { .. })
    ));
}
