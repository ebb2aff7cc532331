//! Activation checkpointing. One test in a process of its own: dropout draws from one generator of
//! the process.

use std::path::{Path, PathBuf};

use plm::burn::module::Param;
use plm::burn::tensor::{Device, Tensor};
use plm::{Conversation, Image, LoadOptions, Model, PerceptionLM, Precision};
use plm_linear::Weight;
use plm_train::{Error, LoraConfig, Sample, Trainable, Trainer, TrainerConfig, prepare};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

/// A picture and a longer text.
fn batch(plm: &PerceptionLM) -> Vec<Sample> {
    let picture = Image::open(fixtures().join("media/shapes.png")).unwrap();
    let conversations = [
        Conversation::ask("What?", [picture.into()]).assistant("Shapes."),
        Conversation::ask("What is it that you see here?", []).assistant("Nothing at all."),
    ];
    let sample = |conversation| {
        let options = Default::default();
        let processor = plm.processor();
        let prompt = processor.encode_for_training(conversation, &options, 1000);
        Sample::of_answers(prompt.unwrap())
    };
    conversations.iter().map(sample).collect()
}

fn trainer(model: Model, activation_checkpointing: bool) -> Trainer {
    let config = TrainerConfig {
        // With so large a denominator, a step subtracts the gradient itself.
        learning_rate: 1e6,
        epsilon: 1e6,
        weight_decay: 0.0,
        activation_checkpointing,
        ..TrainerConfig::default()
    };
    Trainer::new(model, config)
}

#[test]
fn gradients_are_the_same_but_for_dropout_and_with_it_are_those_of_the_loss() {
    let options = LoadOptions {
        precision: Precision::F32,
        ..LoadOptions::default()
    };
    let plm = PerceptionLM::from_dir(fixtures().join("gigantic"), &options).unwrap();
    let batch = batch(&plm);
    let parts = [
        Trainable::All,
        Trainable::FrozenVision,
        Trainable::Projector,
        Trainable::FrozenDecoder,
        Trainable::Lora(LoraConfig::default()),
    ];
    for part in parts {
        let model = prepare(plm.model().clone(), &part, 0).unwrap();
        let [plain, checkpointed] = [false, true].map(|checkpointing| {
            let report = trainer(model.clone(), checkpointing).step(&[&batch, &batch[1..]]);
            let report = report.unwrap();
            (report.loss, report.grad_norm)
        });
        assert_eq!(plain, checkpointed, "{part:?}");
    }
    for activation_checkpointing in [false, true] {
        check_dropout(&plm, &batch, activation_checkpointing);
    }
    let several = TrainerConfig {
        activation_checkpointing: true,
        other_devices: vec![Device::flex()],
        ..TrainerConfig::default()
    };
    let refused = Trainer::new(plm.model().clone(), several).step(&[&batch]);
    assert!(matches!(refused, Err(Error::Config { .. })));
}

/// Goes along the gradient of adapters, and sees the loss change as their norm says.
fn check_dropout(plm: &PerceptionLM, batch: &[Sample], checkpointing: bool) {
    let lora = LoraConfig {
        dropout: 0.5,
        ..LoraConfig::default()
    };
    let model = prepare(plm.model().clone(), &Trainable::Lora(lora), 0).unwrap();
    let loss = |model: &Model| {
        let report = trainer(model.clone(), checkpointing)
            .step(&[batch])
            .unwrap();
        (report.loss, report.grad_norm)
    };
    let mut trainer = trainer(model.clone(), checkpointing);
    trainer.step(&[batch]).unwrap();
    let along = |times: f64| {
        let mut moved = model.clone();
        let mut after = trainer.model().clone();
        for ((_, linear), (_, after)) in moved.linears().into_iter().zip(after.linears()) {
            for (adapter, after) in linear.adapters.iter_mut().zip(&after.adapters) {
                for (weight, after) in [
                    (&mut adapter.lora_a, &after.lora_a),
                    (&mut adapter.lora_b, &after.lora_b),
                ] {
                    let [before, after] = [&*weight, after].map(numbers);
                    let there = before.clone() + (after - before) * times;
                    let there = there.autodiff().require_grad();
                    *weight = Weight::Float(Param::from_tensor(there));
                }
            }
        }
        moved
    };
    let (_, norm) = loss(&model);
    let step = 1e-2 / norm;
    let rise = loss(&along(-step)).0 - loss(&along(step)).0;
    let slope = rise / (2.0 * step);
    assert!(
        norm > 0.0 && (slope / norm.powi(2) - 1.0).abs() < 0.02,
        "{checkpointing}: {slope} {norm}"
    );
    assert_eq!(loss(&model), loss(&model));
}

fn numbers(weight: &Weight) -> Tensor<2> {
    let Weight::Float(weight) = weight else {
        panic!("adapters are of floats");
    };
    weight.val().without_autodiff()
}
