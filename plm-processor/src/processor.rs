//! Everything together: a conversation in, a prompt out.

use std::path::Path;

use crate::config::ProcessorConfig;
use crate::conversation::{Content, Conversation, Role};
use crate::error::{Error, Result};
use crate::files::{ProcessorFiles, TOKENIZER};
use crate::guard::Guard;
use crate::medium::{Cut, Medium};
use crate::meta::{Placement, Rules};
use crate::named_tokens::named_tokens;
use crate::prompt::{EncodeOptions, Media, MediaKind, MediaSize, Prompt, PromptSize};
use crate::template::{ChatTemplate, TemplateContent, TemplateMessage, TemplatePart};
use crate::tiles::VisionInputType;
use crate::tokenizer::{Piece, SpecialTokens, Tokenizer};
use crate::video::{FrameRule, FrameSampling, META_MAX_FRAMES};

mod dialog;

/// The processor of a checkpoint: its settings, chat template and tokenizer.
pub struct Processor {
    config: ProcessorConfig,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    image: Placeholder,
    video: Placeholder,
    /// What the tokenizer puts before a text stays away where the text begins with this.
    bos_token: String,
}

/// The token that stands for a medium until it is expanded.
struct Placeholder {
    kind: MediaKind,
    token: String,
    id: u32,
}

impl Processor {
    /// Reads the processor files of a checkpoint's folder.
    ///
    /// # Errors
    /// [`Error::Read`], and those of [`Processor::from_files`].
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self> {
        Self::from_files(&ProcessorFiles::read(dir)?)
    }

    /// Builds a processor from files held in memory.
    ///
    /// # Errors
    /// [`Error::MissingFile`], [`Error::Json`], [`Error::MissingField`], [`Error::InvalidConfig`],
    /// [`Error::UnknownVisionInputType`], [`Error::Tokenizer`], [`Error::UnknownToken`] and
    /// [`Error::TemplateSyntax`].
    pub fn from_files(files: &ProcessorFiles<'_>) -> Result<Self> {
        let config = ProcessorConfig::from_files(files)?;
        let tokenizer_file = files.name_of(TOKENIZER);
        let tokenizer = Tokenizer::from_bytes(&files.tokenizer, &tokenizer_file)?;
        let tokens = named_tokens(files)?;
        let placeholder = |kind: MediaKind, name: &str, purpose| {
            let token = tokens[name].clone();
            match tokenizer.token_id(&token) {
                Some(id) if tokenizer.is_special(id) => Ok(Placeholder { kind, token, id }),
                _ => Err(Error::UnknownToken {
                    file: tokenizer_file.clone(),
                    token,
                    purpose,
                }),
            }
        };
        let image = placeholder(MediaKind::Image, "image_token", "image placeholder")?;
        let video = placeholder(MediaKind::Video, "video_token", "video placeholder")?;
        let bos_token = tokens["bos_token"].clone();
        let template = ChatTemplate::from_files(files, tokens)?;
        Ok(Self {
            config,
            tokenizer,
            template,
            image,
            video,
            bos_token,
        })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &ProcessorConfig {
        &self.config
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The id that stands for an image.
    #[must_use]
    pub fn image_token_id(&self) -> u32 {
        self.image.id
    }

    /// The id that stands for a video.
    #[must_use]
    pub fn video_token_id(&self) -> u32 {
        self.video.id
    }

    /// The text of generated ids, without special tokens.
    ///
    /// # Errors
    /// [`Error::TokenId`] for an id that is not in the vocabulary.
    pub fn text(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer.decode(ids, true)
    }

    /// The conversation as the chat template writes it, one placeholder a medium.
    ///
    /// # Errors
    /// [`Error::EmptyConversation`] and the template's errors.
    pub fn render(&self, conversation: &Conversation, options: &EncodeOptions) -> Result<String> {
        self.render_with(conversation, options, |text| text.to_owned())
    }

    /// Encodes a conversation: ids, and the tiles of its media.
    ///
    /// # Errors
    /// [`Error::EmptyConversation`], [`Error::Video`], [`Error::PlaceholderMismatch`],
    /// [`Error::InvalidConfig`] for the options, and the errors of template, tokenizer and resize.
    pub fn encode(&self, conversation: &Conversation, options: &EncodeOptions) -> Result<Prompt> {
        let cut = self.cut(conversation, options)?;
        let mut prompt = Prompt {
            token_ids: Vec::new(),
            media: Vec::new(),
        };
        for part in self.layout(conversation, options, cut)? {
            self.append(&mut prompt, part, cut)?;
        }
        Ok(prompt)
    }

    /// Adds a token, or a medium's tokens and tiles.
    fn append(&self, prompt: &mut Prompt, part: Part<'_>, cut: Cut) -> Result<()> {
        match part {
            Part::Token(id) => prompt.token_ids.push(id),
            Part::Medium(id, medium, size) => {
                let start = prompt.token_ids.len();
                prompt.token_ids.resize(start + size.num_tokens, id);
                prompt.media.push(Media {
                    kind: size.kind,
                    tiles: medium.tiles(&self.config, cut)?,
                    frames: medium.into_frames(),
                    normalization: match size.kind {
                        MediaKind::Image => self.config.image_normalization,
                        MediaKind::Video => self.config.video_normalization,
                    },
                    positions: start..prompt.token_ids.len(),
                    size_wh: size.size_wh,
                });
            }
        }
        Ok(())
    }

    /// Counts what [`Processor::encode`] would give, exactly, without resizing anything.
    ///
    /// # Errors
    /// As [`Processor::encode`].
    pub fn measure(
        &self,
        conversation: &Conversation,
        options: &EncodeOptions,
    ) -> Result<PromptSize> {
        let cut = self.cut(conversation, options)?;
        let mut size = PromptSize {
            prompt_tokens: 0,
            text_tokens: 0,
            media: Vec::new(),
        };
        for part in self.layout(conversation, options, cut)? {
            match part {
                Part::Token(_) => size.text_tokens += 1,
                Part::Medium(_, _, medium) => size.media.push(medium),
            }
        }
        let media_tokens: usize = size.media.iter().map(|medium| medium.num_tokens).sum();
        size.prompt_tokens = size.text_tokens + media_tokens;
        Ok(size)
    }

    fn cut(&self, conversation: &Conversation, options: &EncodeOptions) -> Result<Cut> {
        if let Some(max_num_tiles) = options.max_num_tiles {
            self.config
                .check_max_num_tiles("the options", max_num_tiles)?;
        }
        let vision_input_type = match options.rules {
            // Meta's code tiles a picture only when it is the only one.
            Rules::Meta if conversation.images().nth(1).is_some() => VisionInputType::Vanilla,
            _ => options
                .vision_input_type
                .unwrap_or(self.config.vision_input_type),
        };
        Ok(Cut {
            vision_input_type,
            max_num_tiles: options.max_num_tiles.unwrap_or(self.config.max_num_tiles),
            rules: options.rules,
        })
    }

    /// Which frames of a video are shown, unless the video itself says so.
    fn sampling(&self, options: &EncodeOptions) -> FrameSampling {
        options.frame_sampling.unwrap_or(match options.rules {
            Rules::HuggingFace => self.config.frame_sampling,
            Rules::Meta => FrameSampling {
                rule: FrameRule::Meta {
                    max_frames: META_MAX_FRAMES,
                },
                ..self.config.frame_sampling
            },
        })
    }

    /// Tokens of the prompt, each placeholder joined with its medium.
    fn layout<'c>(
        &self,
        conversation: &'c Conversation,
        options: &EncodeOptions,
        cut: Cut,
    ) -> Result<Vec<Part<'c>>> {
        if options.rules == Rules::Meta {
            let turns = self.dialog(conversation, options, cut, Placement::Answering)?;
            return Ok(turns.into_iter().flat_map(|(parts, _)| parts).collect());
        }
        let ids = self.unexpanded(conversation, options)?;
        let sampling = self.sampling(options);
        let mut images = conversation.images().map(Medium::Image);
        let mut videos = conversation.videos().map(|video| {
            let frames = video.positions(&sampling)?;
            Ok::<_, Error>(Medium::Video(video, frames))
        });
        self.check_count(&self.image, &ids, conversation.images().count())?;
        self.check_count(&self.video, &ids, conversation.videos().count())?;
        ids.into_iter()
            .map(|id| {
                let medium = match id {
                    id if id == self.image.id => images.next(),
                    id if id == self.video.id => videos.next().transpose()?,
                    _ => None,
                };
                Ok(match medium {
                    Some(medium) => {
                        let size = medium.size(&self.config, cut);
                        Part::Medium(id, medium, size)
                    }
                    None => Part::Token(id),
                })
            })
            .collect()
    }

    fn check_count(&self, placeholder: &Placeholder, ids: &[u32], expected: usize) -> Result<()> {
        let found = ids.iter().filter(|id| **id == placeholder.id).count();
        if found == expected {
            return Ok(());
        }
        Err(Error::PlaceholderMismatch {
            token: placeholder.token.clone(),
            kind: placeholder.kind.as_str(),
            expected,
            found,
        })
    }

    /// The rendered prompt as ids, one placeholder a medium.
    fn unexpanded(&self, conversation: &Conversation, options: &EncodeOptions) -> Result<Vec<u32>> {
        if options.parse_special {
            let text = self.render(conversation, options)?;
            let mut ids = self.prefix_of(&text);
            ids.extend(self.tokenizer.encode(&text, SpecialTokens::Parse)?);
            return Ok(ids);
        }
        let special: Vec<&str> = self.tokenizer.special_tokens().collect();
        let taken = texts(conversation).chain([self.template.source()]);
        let guard = Guard::new(special.into_iter(), taken).ok_or(Error::NoStandIn)?;
        let sealed = self.render_with(conversation, options, |text| guard.seal(text))?;
        let mut ids = self.prefix_of(&sealed);
        for piece in self.tokenizer.split_special(&sealed) {
            match piece {
                Piece::Token(id) => ids.push(id),
                Piece::Text(text) => ids.extend(
                    self.tokenizer
                        .encode(&guard.unseal(text), SpecialTokens::AsText)?,
                ),
            }
        }
        Ok(ids)
    }

    /// A template that writes the beginning-of-text token itself must not get a second one.
    fn prefix_of(&self, text: &str) -> Vec<u32> {
        if text.starts_with(&self.bos_token) {
            Vec::new()
        } else {
            self.tokenizer.prefix().to_vec()
        }
    }

    fn render_with(
        &self,
        conversation: &Conversation,
        options: &EncodeOptions,
        text_of: impl Fn(&str) -> String,
    ) -> Result<String> {
        if conversation.system.is_none() && conversation.messages.is_empty() {
            return Err(Error::EmptyConversation);
        }
        let system = conversation.system.iter().map(|text| TemplateMessage {
            role: "system".to_owned(),
            content: TemplateContent::Text(text_of(text)),
        });
        let messages = conversation.messages.iter().map(|message| {
            let parts = message.content.iter().map(|content| match content {
                Content::Text(text) => TemplatePart::Text {
                    text: text_of(text),
                },
                Content::Image(_) => TemplatePart::Image,
                Content::Video(_) => TemplatePart::Video,
            });
            TemplateMessage {
                // A template tells the known roles by their names.
                role: match &message.role {
                    Role::Other(name) => text_of(name),
                    known => known.as_str().to_owned(),
                },
                content: TemplateContent::Parts(parts.collect()),
            }
        });
        let messages: Vec<TemplateMessage> = system.chain(messages).collect();
        self.template
            .render(&messages, options.add_generation_prompt)
    }
}

impl std::fmt::Debug for Processor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processor")
            .field("config", &self.config)
            .field("tokenizer", &self.tokenizer)
            .finish_non_exhaustive()
    }
}

/// A token of the prompt, or a placeholder with what it stands for.
enum Part<'c> {
    Token(u32),
    Medium(u32, Medium<'c>, MediaSize),
}

impl Part<'_> {
    fn num_tokens(&self) -> usize {
        match self {
            Self::Token(_) => 1,
            Self::Medium(_, _, size) => size.num_tokens,
        }
    }
}

/// Every text of a conversation that its author chose.
fn texts(conversation: &Conversation) -> impl Iterator<Item = &str> {
    let messages = conversation.messages.iter().flat_map(|message| {
        let content = message.content.iter().filter_map(|content| match content {
            Content::Text(text) => Some(text.as_str()),
            _ => None,
        });
        content.chain([message.role.as_str()])
    });
    conversation.system.as_deref().into_iter().chain(messages)
}
