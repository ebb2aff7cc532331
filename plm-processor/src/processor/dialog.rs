//! Prompts in Meta's dialogue format, which no template writes.

use super::{Part, Processor};
use crate::conversation::{Content, Conversation};
use crate::error::{Error, Result};
use crate::files::TOKENIZER;
use crate::medium::{Cut, Medium};
use crate::meta::{Dialog, Placement, Segment};
use crate::prompt::{EncodeOptions, Prompt, TrainingPrompt};
use crate::tokenizer::SpecialTokens;

impl Processor {
    /// Encodes a conversation to train on, in Meta's dialogue format.
    ///
    /// Every speaker's turn is tokenised on its own. Of several pictures each takes the place of a
    /// tag `<image>` in what is not an answer; a single one stands before its message's text.
    /// Turns that would make more than `max_tokens - 1` tokens are left out from there on.
    /// [`EncodeOptions::rules`] decide how pictures are resized, as in [`Processor::encode`].
    ///
    /// # Errors
    /// As [`Processor::encode`], [`Error::TagMismatch`], and [`Error::SampleTooLong`] when the
    /// first turn does not fit.
    pub fn encode_for_training(
        &self,
        conversation: &Conversation,
        options: &EncodeOptions,
        max_tokens: usize,
    ) -> Result<TrainingPrompt> {
        let cut = self.cut(conversation, options)?;
        let mut turns = self.dialog(conversation, options, cut, Placement::Training)?;
        let mut sample = TrainingPrompt {
            prompt: Prompt {
                token_ids: Vec::new(),
                media: Vec::new(),
            },
            answers: Vec::new(),
            turns_left_out: turns.len(),
        };
        for (parts, is_answer) in turns.drain(..) {
            let start = sample.prompt.len();
            let num_tokens: usize = parts.iter().map(Part::num_tokens).sum();
            if start + num_tokens + 1 > max_tokens {
                if start == 0 {
                    return Err(Error::SampleTooLong {
                        num_tokens,
                        max_tokens,
                    });
                }
                break;
            }
            for part in parts {
                self.append(&mut sample.prompt, part, cut)?;
            }
            if is_answer {
                sample.answers.push(start..sample.prompt.len());
            }
            sample.turns_left_out -= 1;
        }
        Ok(sample)
    }

    /// The turns of a conversation in Meta's dialogue format, and which of them are answers.
    pub(super) fn dialog<'c>(
        &self,
        conversation: &'c Conversation,
        options: &EncodeOptions,
        cut: Cut,
        placement: Placement,
    ) -> Result<Vec<(Vec<Part<'c>>, bool)>> {
        if conversation.system.is_none() && conversation.messages.is_empty() {
            return Err(Error::EmptyConversation);
        }
        let sampling = self.sampling(options);
        let mut media = Vec::new();
        for content in conversation.media() {
            let medium = match content {
                Content::Image(image) => Medium::Image(image),
                Content::Video(video) => Medium::Video(video, video.positions(&sampling)?),
                Content::Text(_) => continue,
            };
            let size = medium.size(&self.config, cut);
            media.push(Some((medium, size)));
        }
        let tiles = media.iter().flatten().map(|(_, size)| size.num_tiles);
        let mut dialog = Dialog::write(conversation, &tiles.collect::<Vec<_>>(), placement)?;
        match placement {
            Placement::Answering if options.add_generation_prompt => dialog.open_answer(),
            Placement::Answering => {}
            Placement::Training => dialog.end(),
        }
        let mut turns = Vec::new();
        for (segments, is_answer) in dialog.parts {
            let mut parts = Vec::new();
            let mut text = String::new();
            for segment in segments {
                if let Segment::Text(more) = &segment {
                    text.push_str(more);
                    continue;
                }
                self.push_text(&mut parts, &std::mem::take(&mut text), options)?;
                match segment {
                    Segment::Special(name) => parts.push(Part::Token(self.special(name)?)),
                    Segment::Medium(number) => {
                        let medium = media.get_mut(number).and_then(Option::take);
                        parts.extend(medium.map(|(m, size)| Part::Medium(self.image.id, m, size)));
                    }
                    Segment::Text(_) => {}
                }
            }
            self.push_text(&mut parts, &text, options)?;
            turns.push((parts, is_answer));
        }
        Ok(turns)
    }

    fn push_text(
        &self,
        parts: &mut Vec<Part<'_>>,
        text: &str,
        options: &EncodeOptions,
    ) -> Result<()> {
        let special = match options.parse_special {
            true => SpecialTokens::Parse,
            false => SpecialTokens::AsText,
        };
        let ids = self.tokenizer.encode(text, special)?;
        self.check_count(&self.image, &ids, 0)?;
        parts.extend(ids.into_iter().map(Part::Token));
        Ok(())
    }

    fn special(&self, name: &str) -> Result<u32> {
        let id = self.tokenizer.token_id(name);
        id.ok_or_else(|| Error::UnknownToken {
            file: TOKENIZER.to_owned(),
            token: name.to_owned(),
            purpose: "dialogue format of Meta",
        })
    }
}
