//! Checkpoints in Meta's layout, and what they are converted to and from.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use plm::burn::tensor::DType;
use plm::{
    Conversation, ConvertOptions, Converted, Decoding, EncodeOptions, Error, Image, Layout,
    LoadOptions, PerceptionLM, Precision, Rules, Weights, convert,
};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::checkpoint_copy::Copy;
use crate::reference_data::*;

/// All tensors as shape and bits of f32, which holds every f16 and bf16 exactly.
fn tensors(dir: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u32>)> {
    let weights = Weights::open(dir).unwrap();
    let read = |name: &str| {
        let data = weights.read(name, DType::F32).unwrap();
        let values = data.try_to_vec::<f32>().unwrap();
        let shape = weights.shape(name).unwrap().to_vec();
        (shape, values.iter().map(|x| x.to_bits()).collect())
    };
    weights
        .names()
        .map(|name| (name.to_owned(), read(name)))
        .collect()
}

fn dtypes(dir: &Path) -> BTreeMap<String, Option<DType>> {
    let weights = Weights::open(dir).unwrap();
    weights
        .names()
        .map(|name| (name.to_owned(), weights.dtype(name)))
        .collect()
}

fn convert_to(from: &Path, to: &Path, layout: Layout, max_shard_bytes: Option<u64>) -> Converted {
    let options = ConvertOptions {
        layout,
        max_shard_bytes,
        precision: Precision::Auto,
        quantize: None,
        merge: Vec::new(),
        progress: None,
    };
    convert(from, to, &options).unwrap()
}

fn meta_fixture() -> PathBuf {
    fixtures().join("original")
}

#[test]
fn metas_tensors_are_hugging_faces() {
    let file = fs::read(fixtures().join("expected_original.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&file).unwrap();
    let found = tensors(&meta_fixture());
    let mut names = expected.names();
    names.sort_unstable();
    assert_eq!(found.keys().collect::<Vec<_>>(), names);
    for (name, (shape, bits)) in found {
        let tensor = expected.tensor(&name).unwrap();
        assert_eq!(shape, tensor.shape(), "{name}");
        let values = tensor.data().as_chunks::<2>().0.iter();
        let values: Vec<u32> = values
            .map(|&bytes| half::bf16::from_le_bytes(bytes).to_f32().to_bits())
            .collect();
        assert!(bits == values, "{name}");
    }
}

#[test]
fn a_checkpoint_in_metas_layout_answers() {
    let plm = PerceptionLM::from_dir(meta_fixture(), &LoadOptions::default()).unwrap();
    assert_eq!(plm.config().vision.heads, 4);
    let picture = Image::open(fixtures().join("media/shapes.png")).unwrap();
    let ask = Conversation::ask("What is this?", [picture.into()]);
    let decoding = Decoding {
        max_new_tokens: 4,
        ..Decoding::default()
    };
    let answer = plm.generate(&ask, &decoding).unwrap();

    // A folder that holds both layouts in the hub's way, and one with Meta's alone.
    let dir = tempfile::tempdir().unwrap();
    Copy::of(&meta_fixture()).move_to(&dir.path().join("original"));
    let again = PerceptionLM::from_dir(dir.path(), &LoadOptions::default()).unwrap();
    let again = again.generate(&ask, &decoding).unwrap();
    assert_eq!(again.token_ids, answer.token_ids);
}

#[test]
fn there_and_back_every_bit_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let first = convert_to(
        &meta_fixture(),
        &path("hf"),
        Layout::HuggingFace,
        Some(40_000),
    );
    assert!(first.weight_files.len() > 2, "{first:?}");
    let second = convert_to(&path("hf"), &path("meta"), Layout::Original, None);
    assert_eq!(second.weight_files, ["consolidated.pth"]);
    let parts = convert_to(
        &path("meta"),
        &path("parts"),
        Layout::Original,
        Some(40_000),
    );
    assert_eq!(parts.weight_files[1], "consolidated.01.pth");
    let third = convert_to(&path("parts"), &path("hf2"), Layout::HuggingFace, None);
    assert_eq!(third.weight_files, ["model.safetensors"]);
    assert_eq!(
        (first.num_tensors, first.num_bytes),
        (third.num_tensors, third.num_bytes)
    );

    let expected = tensors(&meta_fixture());
    for name in ["hf", "meta", "parts", "hf2"] {
        assert!(tensors(&path(name)) == expected, "{name}");
        assert_eq!(dtypes(&path(name)), dtypes(&meta_fixture()), "{name}");
    }
    for file in ["config.json", "tokenizer.json", "preprocessor_config.json"] {
        let read = |folder: &str| fs::read_to_string(path(folder).join(file)).unwrap();
        assert_eq!(read("hf"), read("hf2"), "{file}");
    }
    PerceptionLM::from_dir(path("hf"), &LoadOptions::default()).unwrap();
}

#[test]
fn what_metas_layout_cannot_say_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = ConvertOptions {
        layout: Layout::Original,
        max_shard_bytes: None,
        precision: Precision::Auto,
        quantize: None,
        merge: Vec::new(),
        progress: None,
    };
    let error = convert(tiny(), dir.path().join("meta"), &options).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("cannot be said in Meta's tokenizer.model"),
        "{message}"
    );

    let copy = Copy::tiny();
    let options = ConvertOptions {
        layout: Layout::HuggingFace,
        ..options
    };
    let error = convert(copy.dir.path(), copy.dir.path(), &options).unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn damaged_files_are_named() {
    let part = "consolidated.00.pth";
    let whole = fs::read(meta_fixture().join(part)).unwrap();
    for (bytes, expected) in [
        (whole[..whole.len() - 1000].to_vec(), "damaged or cut short"),
        (whole[..1].to_vec(), "no zip archive"),
        (
            b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.".to_vec(),
            "no zip archive",
        ),
    ] {
        let copy = Copy::of(&meta_fixture());
        fs::write(copy.path(part), bytes).unwrap();
        copy.assert_error(&[part, expected]);
    }
    let copy = Copy::of(&meta_fixture());
    fs::remove_file(copy.path("consolidated.01.pth")).unwrap();
    copy.assert_error(&[
        "missing",
        "model.language_model.layers.1.mlp.gate_proj.weight",
    ]);
    fs::remove_file(copy.path(part)).unwrap();
    copy.assert_error(&["consolidated.pth", "lacks this file"]);
    let copy = Copy::of(&meta_fixture());
    fs::remove_file(copy.path("tokenizer.model")).unwrap();
    copy.assert_error(&["tokenizer.model", "lacks this file"]);
    let copy = Copy::of(&meta_fixture());
    copy.edit_json("params.json", |params| {
        params["model"]["n_heads"] = 5.into()
    });
    copy.assert_error(&["params.json"]);
}

#[test]
fn every_changed_byte_of_a_pickle_is_survived() {
    let part = "consolidated.01.pth";
    let whole = fs::read(meta_fixture().join(part)).unwrap();
    let at = whole.windows(8).position(|w| w == b"data.pkl").unwrap();
    let copy = Copy::of(&meta_fixture());
    for i in (at..at + 2500).step_by(7) {
        let mut damaged = whole.clone();
        damaged[i] ^= 0x55;
        fs::write(copy.path(part), damaged).unwrap();
        if let Ok(weights) = Weights::open(copy.dir.path()) {
            for name in weights.names().map(str::to_owned).collect::<Vec<_>>() {
                let _ = weights.read(&name, DType::F32);
            }
        }
    }
}

#[test]
fn golden_original_is_tiny_l_bit_for_bit() {
    let Some(golden) = golden() else { return };
    let [hugging_face, meta] =
        ["tinyL", "tinyL_original"].map(|name| golden.join("models").join(name));
    assert!(tensors(&hugging_face) == tensors(&meta));

    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    convert_to(
        &hugging_face,
        &path("meta"),
        Layout::Original,
        Some(1 << 20),
    );
    convert_to(
        &path("meta"),
        &path("hf"),
        Layout::HuggingFace,
        Some(1 << 20),
    );
    assert!(tensors(&path("meta")) == tensors(&hugging_face));
    assert!(tensors(&path("hf")) == tensors(&hugging_face));
    let read = |folder: &Path| fs::read(folder.join("tokenizer.model")).unwrap();
    assert!(read(&path("meta")) == read(&meta));

    let load = |dir: &Path| PerceptionLM::from_dir(dir, &LoadOptions::default()).unwrap();
    let (first, second) = (load(&hugging_face), load(&meta));
    assert_eq!(first.config(), second.config());
    assert_eq!(first.processor().config(), second.processor().config());
}

/// Meta's own model, tokenizer and transforms on their own files.
#[test]
fn golden_original_answers_like_metas_code() {
    let Some(golden) = golden() else { return };
    let options = LoadOptions {
        precision: Precision::F32,
        encoding: EncodeOptions {
            rules: Rules::Meta,
            ..EncodeOptions::default()
        },
        ..LoadOptions::default()
    };
    let plm = PerceptionLM::from_dir(golden.join("models/tinyL_original"), &options).unwrap();
    let table = fs::read(golden.join("meta.json")).unwrap();
    let table: Value = serde_json::from_slice(&table).unwrap();
    let logits = read_f32_tensors(&golden.join("meta.safetensors"));
    for (index, row) in table["generation"].as_array().unwrap().iter().enumerate() {
        let text = |name: &str| row[name].as_str().unwrap();
        let picture = Image::open(golden.join("media").join(text("image"))).unwrap();
        let ask = Conversation::ask(text("question"), [picture.into()]);
        let encoding = EncodeOptions {
            vision_input_type: Some(text("vision_input_type").parse().unwrap()),
            ..options.encoding.clone()
        };
        let prompt = plm.processor().encode(&ask, &encoding).unwrap();
        let found = plm.trace(&prompt, false).unwrap().logits.values;
        let (_, expected) = &logits[&format!("{index}/last_logits")];
        let what = format!("{}: last logits", text("image"));
        let worst = assert_close(&what, &found, expected, LOGIT_TOLERANCE);
        eprintln!("{what}: largest difference {worst:.2e}");
        let expected: Vec<u32> = serde_json::from_value(row["greedy_ids"].clone()).unwrap();
        let decoding = Decoding {
            max_new_tokens: expected.len(),
            ..Decoding::default()
        };
        let answer = plm.generate_prompt(&prompt, &decoding).unwrap();
        assert_eq!(answer.token_ids, expected, "{what}");
    }
}

#[test]
fn golden_halves_and_shards_go_there_and_back() {
    let Some(golden) = golden() else { return };
    for variant in ["tinyG", "tinyO"] {
        let from = golden.join("models").join(variant);
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        convert_to(&from, &path("meta"), Layout::Original, None);
        convert_to(&path("meta"), &path("hf"), Layout::HuggingFace, None);
        assert!(tensors(&path("hf")) == tensors(&from), "{variant}");
        assert_eq!(dtypes(&path("hf")), dtypes(&from), "{variant}");
        let load = |dir: &Path| PerceptionLM::from_dir(dir, &LoadOptions::default()).unwrap();
        let (first, second) = (load(&from), load(&path("hf")));
        assert_eq!(first.config(), second.config());
        assert_eq!(first.processor().config(), second.processor().config());
    }
}
