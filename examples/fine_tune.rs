//! Trains an adapter on one picture, and asks about it before and after.
//!
//! ```sh
//! cargo run --release --example fine_tune                                # embedded model
//! cargo run --release --example fine_tune -- Perception-LM-1B kitchen.jpg "A white kitchen."
//! ```

use std::error::Error;

use plm::{
    AdapterSource, Conversation, Decoding, EncodeOptions, Image, LoadOptions, Message,
    PerceptionLM, Role, VisionInputType,
};
use plm_train::{LoraConfig, Sample, Trainable, Trainer, TrainerConfig, prepare, save_adapter};

const QUESTION: &str = "What is in the picture?";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let model = args.next().unwrap_or_else(|| "plm/embedded".into());
    let picture = args.next();
    let picture = picture.unwrap_or_else(|| "tests/fixtures/media/shapes.png".into());
    let answer = args.next().unwrap_or_else(|| "Three shapes.".into());

    let plm = PerceptionLM::from_dir(&model, &LoadOptions::default())?;
    // The same system text, here none, in training and in use.
    let ask = Conversation::new().system("").message(Message::new(
        Role::User,
        [Image::open(&picture)?.into(), QUESTION.into()],
    ));
    let options = EncodeOptions {
        vision_input_type: Some(VisionInputType::Vanilla),
        ..EncodeOptions::default()
    };
    let decoding = Decoding {
        max_new_tokens: 12,
        ..Decoding::default()
    };
    let say = |plm: &PerceptionLM| -> Result<String, plm::Error> {
        let prompt = plm.encode_with(&ask, &options)?;
        Ok(plm.generate_prompt(&prompt, &decoding)?.text)
    };
    println!("{QUESTION} Before: {:?}", say(&plm)?);

    let lesson = ask.clone().assistant(answer);
    let lesson = plm
        .processor()
        .encode_for_training(&lesson, &options, 2048)?;
    let batch = [Sample::of_answers(lesson)];
    let lora = LoraConfig::default();
    let model_in_training = prepare(plm.model().clone(), &Trainable::Lora(lora.clone()), 0)?;
    let config = TrainerConfig {
        learning_rate: 5e-3,
        ..TrainerConfig::default()
    };
    let mut trainer = Trainer::new(model_in_training, config);
    for _ in 0..60 {
        let report = trainer.step(&[&batch])?;
        if report.step % 10 == 0 {
            println!("step {}: loss {:.3}", report.step, report.loss);
        }
    }

    let dir = tempfile::tempdir()?;
    let adapter = dir.path().join("adapter");
    save_adapter(trainer.model(), &lora, &model, &adapter)?;
    let with_adapter = LoadOptions {
        adapters: vec![AdapterSource::new(adapter)],
        ..LoadOptions::default()
    };
    let plm = PerceptionLM::from_dir(&model, &with_adapter)?;
    println!("{QUESTION} After: {:?}", say(&plm)?);
    Ok(())
}
