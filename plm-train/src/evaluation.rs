use burn::module::Module;
use plm::{Checkpoint, Content, Conversation, Decoding, LoadOptions, Message, PerceptionLM, Role};
use serde::Serialize;

use crate::config::PAD_ID;
use crate::data::Reader;
use crate::gradients::read;
use crate::rows::RowFile;
use crate::{Error, Trainer, loss};

/// Tokens of an answer that is given for an evaluation.
const ANSWER_TOKENS: usize = 64;

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Steps that were made before.
    pub step: usize,
    /// Mean cross-entropy of all labels.
    pub loss: f64,
    /// Questions, the answers that the file has, and the model's.
    pub answers: Vec<[String; 3]>,
}

/// The loss on the first samples of a file, and answers to some of their questions.
pub(crate) fn evaluate(
    trainer: &Trainer,
    reader: &Reader,
    file: &RowFile,
    step: usize,
) -> Result<Evaluation, Error> {
    // Without gradients, by the kernels that answer.
    let model = trainer.model().valid();
    let device = model.language_model.embed_tokens.weight.device();
    let checkpoint = Checkpoint::from_dir(&reader.config.model)?;
    let plm = PerceptionLM::with_model(checkpoint, model, device, &LoadOptions::default());
    let eval = &reader.config.eval;
    let (mut sum, mut count) = (0.0, 0);
    for index in 0..eval.samples.min(file.len()) {
        let (sample, _) = reader.sample(file, index)?;
        let (loss, labels) = loss(plm.model(), &[sample], PAD_ID)?;
        sum += read(loss)? * labels as f64;
        count += labels;
    }
    let mut answers = Vec::new();
    for index in 0..eval.answers.min(file.len()) {
        let whole = file.conversation(index, reader.config.frame_rule())?;
        let Some(at) = whole
            .messages
            .iter()
            .position(|message| message.role == Role::Assistant)
        else {
            continue;
        };
        let question = Conversation {
            messages: whole.messages[..at].to_vec(),
            ..whole.clone()
        };
        let options = reader.options(whole.media().count())?;
        let prompt = plm.encode_with(&question, &options)?;
        let decoding = Decoding {
            max_new_tokens: ANSWER_TOKENS,
            ..Decoding::default()
        };
        let answer = plm.generate_prompt(&prompt, &decoding)?;
        let text = |at: usize| text_of(&whole.messages[at]);
        answers.push([text(at - 1), text(at), answer.text]);
    }
    Ok(Evaluation {
        step,
        loss: sum / f64::from(count.max(1) as u32),
        answers,
    })
}

/// The words of a message.
pub(crate) fn text_of(message: &Message) -> String {
    let parts = message.content.iter().filter_map(|content| match content {
        Content::Text(text) => Some(text.as_str()),
        Content::Image(_) | Content::Video(_) => None,
    });
    parts.collect()
}
