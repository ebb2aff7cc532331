//! Weights in blocks of 8 and 4 bits, and weights left in their files.

use std::path::Path;

use plm::{
    ConvertOptions, Error, Layout, LoadOptions, PerceptionLM, Precision, Quantization, convert,
};
use serde_json::json;

use crate::checkpoint_copy::Copy;
use crate::reference_data::*;

fn load(dir: &Path, quantize: Option<Quantization>) -> PerceptionLM {
    let options = LoadOptions {
        quantize,
        ..LoadOptions::default()
    };
    PerceptionLM::from_dir(dir, &options).unwrap()
}

/// Logits of the first prompt of a checkpoint's cases.
fn logits(plm: &PerceptionLM, cases: &Cases) -> Vec<f32> {
    let case = &cases.cases[0];
    let prompt = case.prompt(plm, case.messages.as_ref().unwrap(), &cases.media_root);
    plm.trace(&prompt, false).unwrap().logits.values
}

fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let difference: f64 = found.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
    let size: f64 = expected.iter().map(|&x| square(x)).sum();
    (difference / size).sqrt()
}

fn gigantic() -> (std::path::PathBuf, Cases) {
    let stem = fixtures().join("expected_gigantic");
    let cases = Cases::read(&stem, &fixtures().join("media"));
    (fixtures().join("gigantic"), cases)
}

#[test]
fn fewer_bits_are_fewer_bytes_and_near_the_logits() {
    let (dir, cases) = gigantic();
    let exact = load(&dir, None);
    let expected = logits(&exact, &cases);
    let mut bytes = exact.weight_bytes();
    // Random weights are the worst case: they have no structure that rounding would keep.
    for (format, bound) in [(Quantization::Q8, 0.03), (Quantization::Q4, 0.4)] {
        let rounded = load(&dir, Some(format));
        assert_eq!(rounded.format_name(), format.name());
        assert!(rounded.weight_bytes() < bytes);
        bytes = rounded.weight_bytes();
        let error = relative_error(&logits(&rounded, &cases), &expected);
        assert!(error > 0.0 && error < bound, "{format:?}: {error}");
    }
}

#[test]
fn a_rounded_checkpoint_loads_without_a_flag() {
    let (dir, cases) = gigantic();
    let out = tempfile::tempdir().unwrap();
    for (format, name) in [
        (Quantization::Q8, "q8"),
        (Quantization::Q4, "q4"),
        (Quantization::Nf4, "nf4"),
    ] {
        let options = ConvertOptions {
            layout: Layout::HuggingFace,
            max_shard_bytes: Some(100_000),
            precision: Precision::Auto,
            quantize: Some(format),
            merge: Vec::new(),
            progress: None,
        };
        let path = out.path().join(name);
        let converted = convert(&dir, &path, &options).unwrap();
        assert!(converted.weight_files.len() > 1);
        let stored = load(&path, None);
        let rounded = load(&dir, Some(format));
        assert_eq!(stored.format_name(), name);
        assert_eq!(logits(&stored, &cases), logits(&rounded, &cases));

        // What is rounded stays so, and has no words in Meta's layout.
        let again = convert(&path, out.path().join(format!("{name}-again")), &options).unwrap();
        assert_eq!(again.num_bytes, converted.num_bytes);
        let options = ConvertOptions {
            layout: Layout::Original,
            ..options
        };
        let error = convert(&path, out.path().join("original"), &options).unwrap_err();
        assert!(matches!(error, Error::Inexpressible { .. }), "{error}");
    }
}

#[test]
fn weights_of_other_quantisations_are_named() {
    let copy = Copy::tiny();
    copy.edit_json("config.json", |config| {
        config["quantization_config"] = json!({"quant_method": "bitsandbytes"});
    });
    copy.assert_error(&["config.json", "quantised by `bitsandbytes`"]);
}

#[test]
fn weights_in_their_files_answer_as_copied_ones() {
    let (dir, cases) = gigantic();
    let options = LoadOptions {
        copy_weights: true,
        ..LoadOptions::default()
    };
    let copied = PerceptionLM::from_dir(&dir, &options).unwrap();
    assert_eq!(logits(&copied, &cases), logits(&load(&dir, None), &cases));
}
