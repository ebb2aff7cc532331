//! Weights in NF4 against bitsandbytes'.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use half::bf16;
use plm::burn::module::Param;
use plm::burn::tensor::{Device, Tensor, TensorData};
use plm::{
    Conversation, ConvertOptions, Error, Layout, LoadOptions, Model, ParameterVisitor,
    PerceptionLM, Precision, Prompt, Quantization, convert,
};
use plm_kernels::{Matrix, Nf4, Nf4Rounding, Weights, dynamic_map, expand_row};
use plm_linear::{Adapter, Weight};
use plm_train::config::Part;
use plm_train::{
    Flow, LoraConfig, Sample, Trainable, Trainer, TrainerConfig, fine_tune, loss, prepare,
};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::checkpoint_copy::Copy;
use crate::reference_data::*;
use crate::training_runs::run_config;

/// Tensors of bitsandbytes by name, as bytes.
fn expected() -> HashMap<String, Vec<u8>> {
    let file = std::fs::read(fixtures().join("expected_nf4.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let tensors = tensors.iter();
    tensors
        .map(|(name, tensor)| (name.to_owned(), tensor.data().to_vec()))
        .collect()
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    let numbers = bytes.as_chunks().0.iter();
    numbers.map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

#[test]
fn scales_are_rounded_to_bitsandbytes_numbers() {
    assert_eq!(f32s(&expected()["map"]), dynamic_map());
}

#[test]
fn matrices_are_rounded_and_widened_as_in_bitsandbytes() {
    let expected = expected();
    for (rows, columns) in [(3, 64), (5, 100), (6, 48), (7, 33), (70, 256), (2, 5)] {
        let part = |name: &str| &expected[&format!("{rows}x{columns}.{name}")];
        let weight = part("weight").as_chunks().0.iter();
        let weight: Vec<bf16> = weight.map(|&bytes| bf16::from_le_bytes(bytes)).collect();
        let mut codes = vec![0; weight.len().div_ceil(2)];
        let mut rounding = Nf4Rounding::new(&mut codes);
        rounding.push(&Matrix::new(rows, columns, Weights::Bf16(&weight)));
        let scales = rounding.finish();
        assert_eq!(&codes, part("codes"), "{rows}x{columns}");
        // PyTorch takes the mean in f32, in an order of its own: the last place may differ, and with
        // it the last places of all that is lowered by it.
        let offset = f32s(part("offset"))[0];
        let places = scales.offset.to_bits().abs_diff(offset.to_bits());
        assert!(places <= 1, "{rows}x{columns}: {} {offset}", scales.offset);
        assert_eq!(&scales.absmax, part("absmax"), "{rows}x{columns}");
        let nested = f32s(part("nested_absmax"));
        for (found, expected) in scales.nested_absmax.iter().zip(&nested) {
            assert!((found - expected).abs() <= 2.0 * f32::EPSILON * offset);
        }
        // What bitsandbytes stores is what it widens, to the last bit.
        let nf4 = Nf4::new(&codes, &scales.absmax, &nested, dynamic_map(), offset);
        let matrix = Matrix::new(rows, columns, Weights::Nf4(nf4));
        let mut widened = vec![0.0; rows * columns];
        for (row, out) in widened.chunks_mut(columns).enumerate() {
            expand_row(&matrix, row, out);
        }
        assert_eq!(widened, f32s(part("dequantized")), "{rows}x{columns}");
    }
}

/// The fixture that transformers stored in NF4.
fn stored() -> Copy {
    let copy = Copy::tiny();
    for entry in fs::read_dir(copy.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains(".safetensors") {
            fs::remove_file(path).unwrap();
        }
    }
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixtures().join("tiny_nf4").join(name), copy.path(name)).unwrap();
    }
    copy
}

fn load(dir: &Path, quantize: Option<Quantization>) -> PerceptionLM {
    let options = LoadOptions {
        quantize,
        ..LoadOptions::default()
    };
    PerceptionLM::from_dir(dir, &options).unwrap()
}

/// Shapes and numbers by name.
type Tensors = HashMap<String, (Vec<usize>, Vec<f32>)>;

/// What transformers answered with the fixture.
fn answers() -> (Value, Tensors) {
    let stem = fixtures().join("expected_tiny_nf4");
    let json = fs::read(stem.with_extension("json")).unwrap();
    let tensors = read_f32_tensors(&stem.with_extension("safetensors"));
    (serde_json::from_slice(&json).unwrap(), tensors)
}

/// A prompt of the tokens that transformers was given.
fn prompt(plm: &PerceptionLM, answers: &Value) -> Prompt {
    let mut prompt = plm.encode(&Conversation::ask("", [])).unwrap();
    prompt.token_ids = ids(&answers["token_ids"]);
    prompt
}

#[test]
fn a_checkpoint_of_bitsandbytes_answers_as_in_transformers() {
    let plm = load(stored().dir.path(), None);
    assert_eq!(plm.format_name(), "nf4");
    let (json, tensors) = answers();
    let prompt = prompt(&plm, &json);
    let found = plm.trace(&prompt, false).unwrap().logits.values;
    let (shape, expected) = &tensors["logits"];
    let expected = &expected[expected.len() - shape[1]..];
    assert_close("logits", &found, expected, LOGIT_TOLERANCE);
}

/// Puts adapters into a model: `part` gives the numbers of a layer's, by its name and theirs.
fn set_adapters(model: &mut Model, part: impl Fn(&str, &str, [usize; 2]) -> Vec<f32>) {
    for (name, linear) in model.linears() {
        let Some(adapter) = linear.adapters.pop() else {
            continue;
        };
        let [a, b] =
            [("lora_A", &adapter.lora_a), ("lora_B", &adapter.lora_b)].map(|(kind, old)| {
                let data = TensorData::new(part(&name, kind, old.dims()), old.dims());
                Tensor::<2>::from_data(data, &Device::flex().autodiff()).require_grad()
            });
        linear.adapters.push(Adapter::new(a, b, adapter.scale()));
    }
}

fn lora(model: Model) -> Model {
    prepare(model, &Trainable::Lora(LoraConfig::default()), 0).unwrap()
}

#[test]
fn a_step_of_adapters_beside_nf4_is_that_of_peft_and_bitsandbytes() {
    let plm = load(stored().dir.path(), None);
    let (json, tensors) = answers();
    let sample = Sample::of_all_text(prompt(&plm, &json));
    let mut model = lora(plm.model().clone());
    set_adapters(&mut model, |layer, kind, _| {
        let module = layer.strip_suffix(".weight").unwrap();
        tensors[&format!("adapter.{module}.{kind}.weight")]
            .1
            .clone()
    });
    let mut trainer = Trainer::new(model, TrainerConfig::default());
    let report = trainer.step(&[&[sample]]).unwrap();
    for (found, name) in [(report.loss, "loss"), (report.grad_norm, "grad_norm")] {
        let expected = json[name].as_f64().unwrap();
        let off = (found - expected).abs() / expected;
        assert!(off < 1e-4, "{name}: {found}, not {expected}");
    }
}

/// The gradients of a model's adapters, by their names, and the loss.
fn gradients(model: &Model, sample: &Sample) -> (f64, Vec<(String, Vec<f32>)>) {
    struct Collect(plm::burn::tensor::Gradients, Vec<(String, Vec<f32>)>);
    impl ParameterVisitor for Collect {
        fn visit<const D: usize>(&mut self, name: &str, parameter: &Param<Tensor<D>>) {
            if name.contains(".adapters.") {
                let gradient = parameter.val().grad(&self.0).unwrap().into_data();
                self.1.push((name.into(), gradient.try_into_vec().unwrap()));
            }
        }
    }
    let (loss, _) = loss(model, std::slice::from_ref(sample), 0).unwrap();
    let mut collect = Collect(loss.clone().backward(), Vec::new());
    model.visit_parameters(&mut collect);
    (loss.into_scalar::<f64>(), collect.1)
}

#[test]
fn adapters_beside_nf4_learn_as_beside_the_widened_weights() {
    let (json, _) = answers();
    for dir in [fixtures().join("gigantic"), tiny()] {
        let plm = load(&dir, Some(Quantization::Nf4));
        let sample = Sample::of_all_text(prompt(&plm, &json));
        let mut widened = plm.model().clone();
        let mut count = 0;
        for (_, linear) in widened.linears() {
            let (device, [d_output, _]) = (linear.weight.device(), linear.weight.dims());
            if linear.weight.format_name() == "nf4" {
                let rows: Vec<u32> = (0..d_output as u32).collect();
                let rows = linear.weight.rows(&rows, &device);
                linear.weight = Weight::Float(Param::from_tensor(rows));
                count += 1;
            }
        }
        assert_eq!(count, 14, "the linear layers of two decoder layers");
        let [found, expected, exact] = [
            plm.model().clone(),
            widened,
            load(&dir, None).model().clone(),
        ]
        .map(|model| {
            let mut model = lora(model);
            set_adapters(&mut model, |layer, kind, dims| {
                let phase = (layer.len() + kind.len()) as f32;
                let numbers = 0..dims[0] * dims[1];
                numbers
                    .map(|i| (i as f32 * 1.3 + phase).sin() * 0.05)
                    .collect()
            });
            gradients(&model, &sample)
        });
        assert!((found.0 - expected.0).abs() < 1e-4 * expected.0);
        let off = |a: &[f32], b: &[f32]| {
            let squares: f32 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
            (squares / b.iter().map(|b| b * b).sum::<f32>()).sqrt()
        };
        for (i, (name, gradient)) in found.1.iter().enumerate() {
            assert_eq!(name, &expected.1[i].0);
            let error = off(gradient, &expected.1[i].1);
            assert!(error < 1e-4, "{name}: {error}");
            // It is the rounded weights that these are the gradients of.
            assert!(off(gradient, &exact.1[i].1) > 1e-2, "{name}");
        }
    }
}

#[test]
fn a_run_trains_adapters_beside_nf4() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = run_config(dir.path(), &fixtures().join("gigantic"), Part::Lora);
    config.quantize = Some("nf4".into());
    config.steps = Some(3);
    let outcome = fine_tune(&config, false, |_| Flow::Continue).unwrap();
    let lines = fs::read_to_string(dir.path().join("run/metrics.jsonl")).unwrap();
    let loss = |lines: &str| {
        let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        first["loss"].as_f64().unwrap()
    };
    // Not the loss of the weights as they are.
    config.quantize = None;
    fs::remove_dir_all(dir.path().join("run")).unwrap();
    fine_tune(&config, false, |_| Flow::Continue).unwrap();
    let exact = fs::read_to_string(dir.path().join("run/metrics.jsonl")).unwrap();
    assert!((loss(&lines) - loss(&exact)).abs() > 1e-3);
    assert_eq!(outcome.step, 3);
}

#[test]
fn what_is_written_is_what_transformers_would_have_written() {
    let out = tempfile::tempdir().unwrap();
    let options = ConvertOptions {
        layout: Layout::HuggingFace,
        max_shard_bytes: None,
        precision: Precision::Auto,
        quantize: Some(Quantization::Nf4),
        merge: Vec::new(),
        progress: None,
    };
    let dir = out.path().join("nf4");
    convert(tiny(), &dir, &options).unwrap();
    let read = |dir: &Path| fs::read(dir.join("model.safetensors")).unwrap();
    let [found, expected] = [read(&dir), read(&fixtures().join("tiny_nf4"))];
    let [found, expected] = [&found, &expected].map(|file| SafeTensors::deserialize(file).unwrap());
    let state = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let mut count = 0;
    for (name, tensor) in found
        .iter()
        .filter(|(name, _)| name.contains("proj.weight"))
    {
        if !name.contains("language_model") {
            continue;
        }
        count += 1;
        let expected = expected.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), expected.dtype(), "{name}");
        if name.contains("quant_state") {
            let (found, expected) = (state(tensor.data()), state(expected.data()));
            assert_eq!(found["shape"], expected["shape"]);
            assert_eq!(found["blocksize"], expected["blocksize"]);
            let [found, expected] =
                [found, expected].map(|state| state["nested_offset"].as_f64().unwrap());
            assert!((found - expected).abs() < 1e-6 * expected);
        } else {
            assert_eq!(tensor.shape(), expected.shape(), "{name}");
            // Scales that are about as near to two numbers take the other on a CPU, at times.
            let differing = tensor.data().iter().zip(expected.data());
            let differing = differing.filter(|(a, b)| a != b).count();
            assert!(
                differing == 0 || name.contains("absmax"),
                "{name}: {differing}"
            );
            assert!(differing <= 4, "{name}: {differing}");
        }
    }
    assert_eq!(count, 14 * 6);
    let config: Value =
        serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
    assert_eq!(
        config["quantization_config"]["quant_method"],
        "bitsandbytes"
    );
}

#[test]
fn damaged_checkpoints_in_nf4_are_named() {
    let copy = stored();
    copy.edit_json("config.json", |config| {
        config["quantization_config"]["bnb_4bit_use_double_quant"] = false.into();
    });
    copy.assert_error(&["config.json", "quantised by `bitsandbytes`", "double"]);
    let name = "model.language_model.layers.0.mlp.up_proj.weight";
    for (part, change, message) in [
        (".absmax", "F8_E4M3", "not f32, f16 or bf16"),
        (".quant_state.bitsandbytes__nf4", "missing", "missing"),
    ] {
        let copy = stored();
        copy.edit_header("model.safetensors", |header| {
            let header = header.as_object_mut().unwrap();
            let mut tensor = header.remove(&format!("{name}{part}")).unwrap();
            if change == "missing" {
                header.insert("other".into(), tensor);
            } else {
                tensor["dtype"] = change.into();
                header.insert(format!("{name}{part}"), tensor);
            }
        });
        copy.assert_error(&[message, name, part]);
    }
    // The numbers of the JSON are another matrix's.
    let copy = stored();
    let path = copy.path("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.contains("[32, 64]"));
    let at = |part: &[u8]| bytes.windows(part.len()).position(|found| found == part);
    let at = at(b"[32, 64]").unwrap();
    let mut bytes = bytes.clone();
    bytes[at..at + 8].copy_from_slice(b"[64, 32]");
    fs::write(&path, bytes).unwrap();
    let error = PerceptionLM::from_dir(copy.dir.path(), &LoadOptions::default()).unwrap_err();
    assert!(matches!(error, Error::WeightFile { .. }), "{error}");
    assert!(error.to_string().contains("matrix [32, 64]"), "{error}");
}
