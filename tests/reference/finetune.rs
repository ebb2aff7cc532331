//! Training steps against PyTorch's, with AdamW, on the larger set of reference results.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use plm::burn::module::{Module, Param};
use plm::burn::tensor::{Device, Tensor, TensorData};
use plm::{
    AdapterSource, Conversation, DeviceChoice, EncodeOptions, Image, LoadOptions, Model,
    ParameterVisitor, PerceptionLM, Precision, VisionInputType,
};
use plm_linear::{Adapter, Weight};
use plm_train::{
    LoraConfig, Sample, Trainable, Trainer, TrainerConfig, prepare, save_adapter, save_model,
};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::reference_data::*;

/// What the reference trained on, and what came of it.
struct Golden {
    dir: PathBuf,
    json: Value,
    tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
    integers: HashMap<String, Vec<Vec<i64>>>,
    plm: PerceptionLM,
}

impl Golden {
    fn read() -> Option<Self> {
        let root = golden()?;
        let dir = root.join("finetune");
        let json = serde_json::from_slice(&fs::read(dir.join("finetune.json")).unwrap()).unwrap();
        let file = fs::read(dir.join("finetune.safetensors")).unwrap();
        let integers = SafeTensors::deserialize(&file).unwrap();
        let integers = integers
            .iter()
            .filter(|(_, tensor)| tensor.dtype() == safetensors::Dtype::I64)
            .map(|(name, tensor)| {
                let values = tensor.data().as_chunks::<8>().0.iter();
                let values: Vec<i64> = values.map(|&bytes| i64::from_le_bytes(bytes)).collect();
                let rows = values.chunks(tensor.shape()[1]).map(<[i64]>::to_vec);
                (name.to_owned(), rows.collect())
            })
            .collect();
        let options = LoadOptions {
            device: device(),
            precision: Precision::F32,
            ..LoadOptions::default()
        };
        Some(Self {
            tensors: read_f32_tensors(&dir.join("finetune.safetensors")),
            plm: PerceptionLM::from_dir(root.join("models/tinyL"), &options).unwrap(),
            dir,
            json,
            integers,
        })
    }

    fn conversation(&self, i: usize) -> Conversation {
        let text = |key: &str| self.json[key][i].as_str().unwrap();
        let media = self.dir.parent().unwrap().join("media");
        let picture = Image::open(media.join(text("images"))).unwrap();
        Conversation::ask(text("prompts"), [picture.into()]).assistant(text("responses"))
    }

    /// The batch under one of the label rules.
    fn batch(&self, rule: &str) -> Vec<Sample> {
        let options = EncodeOptions {
            vision_input_type: Some(VisionInputType::Vanilla),
            ..EncodeOptions::default()
        };
        let length = self.integers["input_ids"][0].len();
        let batch = (0..2).map(|i| {
            let processor = self.plm.processor();
            let prompt = processor
                .encode_for_training(&self.conversation(i), &options, 1000)
                .unwrap();
            let sample = match rule {
                "labels_meta" => Sample::of_answers(prompt),
                _ => Sample::of_all_text(prompt.prompt),
            };
            let pads = length - sample.prompt.len();
            let mut labels = sample.labels.clone();
            if rule == "labels_seed_pad_counted" {
                labels.extend(vec![Some(PAD); pads]);
            }
            Sample { labels, ..sample }
        });
        batch.collect()
    }
}

/// `<|end_of_text|>` of tinyL.
const PAD: u32 = 1025;

fn config() -> TrainerConfig {
    TrainerConfig {
        learning_rate: 1e-3,
        pad_id: PAD,
        ..TrainerConfig::default()
    }
}

fn close(found: f64, expected: f64, relative: f64) -> bool {
    (found - expected).abs() <= relative * expected.abs()
}

/// Makes steps and compares losses and the norm of the first gradient; returns the model after the
/// third step.
fn check(golden: &Golden, run: &str, model: Model) -> Model {
    let expected = &golden.json["runs"][run];
    let batch = golden.batch(expected["labels"].as_str().unwrap());
    let mut checkpointing = config();
    checkpointing.activation_checkpointing = true;
    let mut checkpointing = Trainer::new(model.clone(), checkpointing);
    let mut trainer = Trainer::new(model, config());
    let mut after_three = None;
    for (i, loss) in expected["losses_step0_to_3"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        if i == 3 {
            after_three = Some(trainer.model().clone());
        }
        let report = trainer.step(&[&batch]).unwrap();
        let same = checkpointing.step(&[&batch]).unwrap();
        assert!(
            close(same.loss, report.loss, 1e-6) && close(same.grad_norm, report.grad_norm, 1e-6)
        );
        let loss = loss.as_f64().unwrap();
        assert!(
            close(report.loss, loss, 1e-4),
            "{run}, step {i}: {report:?}, not {loss}"
        );
        if i == 0 {
            let norm = expected["grad_norm_total_step0"].as_f64().unwrap();
            assert!(
                close(report.grad_norm, norm, 1e-3),
                "{run}: {report:?}, not {norm}"
            );
        }
    }
    after_three.unwrap()
}

#[test]
fn golden_samples_and_labels_are_the_references() {
    let Some(golden) = Golden::read() else { return };
    for rule in ["labels_meta", "labels_seed", "labels_seed_pad_counted"] {
        for (i, sample) in golden.batch(rule).into_iter().enumerate() {
            let padded = |mut ids: Vec<i64>, fill: i64| {
                ids.resize(golden.integers["input_ids"][i].len(), fill);
                ids
            };
            let ids = sample
                .prompt
                .token_ids
                .iter()
                .map(|&id| i64::from(id))
                .collect();
            assert_eq!(padded(ids, i64::from(PAD)), golden.integers["input_ids"][i]);
            let labels = sample
                .labels
                .iter()
                .map(|label| label.map_or(-100, i64::from));
            assert_eq!(
                padded(labels.collect(), -100),
                golden.integers[rule][i],
                "{rule}"
            );
        }
    }
}

#[test]
fn golden_steps_of_the_whole_model_are_the_references() {
    let Some(golden) = Golden::read() else { return };
    for run in ["full_meta", "full_seed", "full_seed_pad_counted"] {
        let model = prepare(golden.plm.model().clone(), &Trainable::FrozenVision, 0).unwrap();
        let model = check(&golden, run, model);
        if run != "full_meta" {
            continue;
        }
        struct Compare<'a>(&'a HashMap<String, (Vec<usize>, Vec<f32>)>, usize);
        impl ParameterVisitor for Compare<'_> {
            fn visit<const D: usize>(&mut self, name: &str, parameter: &Param<Tensor<D>>) {
                let Some((_, expected)) = self.0.get(&format!("after3/full_meta/{name}")) else {
                    return;
                };
                // Of a matrix, the reference kept a corner of 8 by 8.
                let found = match D {
                    2 => parameter.val().slice([0..8, 0..8]),
                    _ => parameter.val().narrow(0, 0, 64),
                };
                let found: Vec<f32> = found.into_data().try_into_vec().unwrap();
                for (found, expected) in found.iter().zip(expected) {
                    assert!(
                        (found - expected).abs() < 1e-4,
                        "{name}: {found}, not {expected}"
                    );
                }
                self.1 += 1;
            }
        }
        let mut compare = Compare(&golden.tensors, 0);
        model.visit_parameters(&mut compare);
        assert_eq!(compare.1, 8);
    }
}

#[test]
fn golden_steps_of_the_projector_are_the_references() {
    let Some(golden) = Golden::read() else { return };
    let model = prepare(golden.plm.model().clone(), &Trainable::Projector, 0).unwrap();
    check(&golden, "projector_only_meta", model);
}

/// Puts the reference's first numbers into new adapters.
fn set_adapters(golden: &Golden, model: &mut Model, parts: &str, magnitudes: &str) {
    let tensor = |init: &str, module: &str, part: &str| {
        let (shape, values) = golden
            .tensors
            .get(&format!("{init}/init/{module}.{part}.weight"))
            .unwrap_or_else(|| panic!("{init} {module} {part}"));
        let data = TensorData::new(values.clone(), shape.clone());
        (data, golden.plm.device().clone().autodiff())
    };
    for (name, linear) in model.linears() {
        let Some(adapter) = linear.adapters.pop() else {
            continue;
        };
        let module = name.strip_suffix(".weight").unwrap();
        let [a, b] = ["lora_A", "lora_B"].map(|part| {
            let (data, device) = tensor(parts, module, part);
            Tensor::<2>::from_data(data, &device).require_grad()
        });
        let mut set = Adapter::new(a, b, adapter.scale());
        if adapter.magnitude.is_some() {
            let (data, device) = tensor(magnitudes, module, "lora_magnitude_vector");
            let magnitude = Tensor::<1>::from_data(data, &device).require_grad();
            let norms = adapter.norms(&linear.weight).into_data();
            norms.assert_approx_eq::<f32>(
                &magnitude.clone().into_data(),
                plm::burn::tensor::Tolerance::absolute(1e-5),
            );
            set = set.with_magnitude(magnitude);
        }
        linear.adapters.push(set);
    }
}

fn adapted(golden: &Golden, use_dora: bool, parts: &str) -> (Model, LoraConfig) {
    let config = LoraConfig {
        use_dora,
        ..LoraConfig::default()
    };
    let trainable = Trainable::Lora(config.clone());
    let mut model = prepare(golden.plm.model().clone(), &trainable, 0).unwrap();
    set_adapters(golden, &mut model, parts, "dora_r8");
    (model, config)
}

/// Steps of adapters that begin as the reference's did: with zeros, of which what was made is saved and
/// compared too, and with random numbers.
fn check_adapters(use_dora: bool, run: &str, saved: &str) {
    let Some(golden) = Golden::read() else { return };
    let (model, config) = adapted(&golden, use_dora, run);
    let model = check(&golden, run, model);
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().join("adapter");
    save_adapter(&model, &config, "models/tinyL", &dir).unwrap();
    let read = |dir: &Path| read_f32_tensors(&dir.join("adapter_model.safetensors"));
    let (found, expected) = (read(&dir), read(&golden.dir.join(saved)));
    assert_eq!(found.len(), expected.len());
    for (name, (shape, values)) in &expected {
        let (found_shape, found) = &found[name];
        assert_eq!(found_shape, shape, "{name}");
        for (found, expected) in found.iter().zip(values) {
            assert!(
                (found - expected).abs() < 1e-4,
                "{name}: {found}, not {expected}"
            );
        }
    }

    let (model, _) = adapted(&golden, use_dora, "lora_r8_b_random");
    check(&golden, &format!("{run}_b_random"), model);
}

#[test]
fn golden_steps_of_lora_are_the_references() {
    check_adapters(false, "lora_r8", "peft_lora_adapter_after3");
}

#[test]
fn golden_steps_of_dora_are_the_references() {
    check_adapters(true, "dora_r8", "peft_dora_adapter_after3");
}

#[test]
fn golden_adapters_answer_as_in_peft() {
    let Some(golden) = Golden::read() else { return };
    let options = LoadOptions {
        precision: Precision::F32,
        adapters: vec![AdapterSource::new(
            golden.dir.join("peft_lora_adapter_after3"),
        )],
        ..LoadOptions::default()
    };
    let root = golden.dir.parent().unwrap();
    let plm = PerceptionLM::from_dir(root.join("models/tinyL"), &options).unwrap();
    let prompt = golden.batch("labels_meta").remove(0).prompt;
    let logits = plm.trace(&prompt, false).unwrap().logits.values;
    let (_, expected) = &golden.tensors["lora_r8/after3_logits_b0_last"];
    assert_close(
        "logits with the adapter",
        &logits,
        expected,
        LOGIT_TOLERANCE,
    );
}

#[test]
fn a_saved_model_is_the_trained_one() {
    let dir = fixtures().join("gigantic");
    let options = LoadOptions {
        precision: Precision::F32,
        ..LoadOptions::default()
    };
    let plm = PerceptionLM::from_dir(&dir, &options).unwrap();
    let talk = Conversation::ask("What is this?", []).assistant("A test.");
    let encode = EncodeOptions::default();
    let sample = plm.processor().encode_for_training(&talk, &encode, 500);
    let sample = Sample::of_answers(sample.unwrap());
    for trainable in [Trainable::All, Trainable::FrozenDecoder] {
        let model = prepare(plm.model().clone(), &trainable, 0).unwrap();
        let picture = Image::open(fixtures().join("media/shapes.png")).unwrap();
        let talk = Conversation::ask("What is this?", [picture.into()]).assistant("A test.");
        let with_picture = plm.processor().encode_for_training(&talk, &encode, 5000);
        let batch = vec![Sample::of_answers(with_picture.unwrap()), sample.clone()];
        let mut trainer = Trainer::new(
            model,
            TrainerConfig {
                pad_id: 0,
                ..config()
            },
        );
        let first = trainer.step(&[&batch]).unwrap();
        let second = trainer.step(&[&batch]).unwrap();
        assert!(second.loss < first.loss, "{first:?} {second:?}");

        let out = tempfile::tempdir().unwrap();
        let saved = out.path().join("model");
        save_model(trainer.model(), None, &saved).unwrap();
        let expected = read_f32_tensors(&saved.join("model.safetensors"));
        let whole = plm.model().checkpoint_tensors();
        assert_eq!(expected.len(), whole.len());
        struct Changed<'a>(&'a HashMap<String, (Vec<usize>, Vec<f32>)>, Vec<String>);
        impl ParameterVisitor for Changed<'_> {
            fn visit<const D: usize>(&mut self, name: &str, parameter: &Param<Tensor<D>>) {
                let before: Vec<f32> = parameter.val().into_data().try_into_vec().unwrap();
                if before != self.0[name].1 {
                    self.1.push(name.to_owned());
                }
            }
        }
        let mut changed = Changed(&expected, Vec::new());
        plm.model().visit_parameters(&mut changed);
        let decoder = changed.1.iter().any(|name| name.contains("language_model"));
        assert_eq!(decoder, trainable == Trainable::All);
        let tower = changed
            .1
            .iter()
            .filter(|name| name.contains("vision_tower"));
        let all = whole
            .iter()
            .filter(|(name, _)| name.contains("vision_tower"));
        assert_eq!(tower.count(), all.count());
    }
}

#[test]
fn adapters_beside_half_weights_learn() {
    let options = LoadOptions {
        device: device(),
        ..LoadOptions::default()
    };
    let plm = PerceptionLM::from_dir(tiny(), &options).unwrap();
    assert_eq!(plm.format_name(), "bf16");
    let talk = Conversation::ask("What is this?", []).assistant("A test.");
    let sample = plm
        .processor()
        .encode_for_training(&talk, &EncodeOptions::default(), 500);
    let batch = vec![Sample::of_answers(sample.unwrap())];
    let config_of_lora = LoraConfig {
        dropout: 0.1,
        use_dora: true,
        ..LoraConfig::default()
    };
    let lora = Trainable::Lora(config_of_lora.clone());
    let mut trainer = Trainer::new(prepare(plm.model().clone(), &lora, 7).unwrap(), config());
    let losses: Vec<f64> = (0..10)
        .map(|_| trainer.step(&[&batch]).unwrap().loss)
        .collect();
    assert!(losses[9] < losses[0], "{losses:?}");
    // What is trained already goes on; what is not the same, or would be lost, is refused.
    let again = |trainable| prepare(trainer.model().clone().valid(), &trainable, 7);
    again(Trainable::Lora(config_of_lora.clone())).unwrap();
    let other = LoraConfig {
        rank: 3,
        ..config_of_lora
    };
    for trainable in [Trainable::Lora(other), Trainable::Projector] {
        let message = again(trainable).unwrap_err().to_string();
        assert!(message.contains("has an adapter"), "{message}");
    }
    let whole = prepare(plm.model().clone(), &Trainable::All, 0);
    let message = whole.unwrap_err().to_string();
    assert!(message.contains("only weights of f32"), "{message}");
    let weights = |model: &Model| match &model.language_model.layers[0].mlp.up_proj.weight {
        Weight::Float(weight) => weight.val().into_data(),
        Weight::Blocks(_) | Weight::Nf4(_) => unreachable!("the checkpoint is of bf16"),
    };
    weights(trainer.model()).assert_eq(&weights(plm.model()), true);
}

/// Batches that are computed beside each other on several devices make the step that they make one
/// after the other on one.
#[test]
fn devices_share_the_batches_of_a_step() {
    let options = LoadOptions {
        device: DeviceChoice::Flex,
        precision: Precision::F32,
        ..LoadOptions::default()
    };
    let plm = PerceptionLM::from_dir(fixtures().join("gigantic"), &options).unwrap();
    let sample = |answer: &str| {
        let picture = Image::open(fixtures().join("media/shapes.png")).unwrap();
        let talk = Conversation::ask("What is this?", [picture.into()]).assistant(answer);
        let encode = EncodeOptions::default();
        let prompt = plm.processor().encode_for_training(&talk, &encode, 5000);
        vec![Sample::of_answers(prompt.unwrap())]
    };
    let batches = ["A test.", "Shapes of several colours.", "No."].map(sample);
    let batches: Vec<&[Sample]> = batches.iter().map(Vec::as_slice).collect();
    let reports = |other_devices: Vec<Device>| {
        let model = prepare(plm.model().clone(), &Trainable::All, 0).unwrap();
        let config = TrainerConfig {
            pad_id: 0,
            other_devices,
            ..config()
        };
        let mut trainer = Trainer::new(model, config);
        [(); 2].map(|()| trainer.step(&batches).unwrap())
    };
    let alone = reports(Vec::new());
    let shared = reports(vec![device().resolve().unwrap()]);
    let relative = match device() {
        DeviceChoice::Flex => 1e-6,
        _ => 1e-3,
    };
    for (alone, shared) in alone.iter().zip(&shared) {
        assert!(
            close(shared.loss, alone.loss, relative),
            "{alone:?} {shared:?}"
        );
        assert!(
            close(shared.grad_norm, alone.grad_norm, relative),
            "{alone:?} {shared:?}"
        );
    }
    assert!(alone[1].loss < alone[0].loss);
}
