//! What is said, by whom, with which pictures.

use std::fmt;

use crate::image::Image;
use crate::video::Video;

mod json;

pub use json::Fault;

/// A system text and the messages that follow it.
///
/// Inside a message all images come first in the prompt, then all videos, then all texts, because
/// the template of the released checkpoints says so.
///
/// ```
/// use plm_processor::{Content, Conversation, Image, Message, Role};
///
/// let picture = Image::from_rgb8(2, 2, vec![90; 12])?;
/// let conversation = Conversation::new()
///     .system("Answer in one word.")
///     .user_with("Which colour is this?", [picture.clone().into()])
///     .assistant("Grey.")
///     .message(Message::new(Role::User, [Content::from("And this?"), picture.into()]));
/// assert_eq!(conversation.images().count(), 2);
/// # Ok::<(), plm_processor::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// Replaces the system text of the chat template.
    pub system: Option<String>,
    /// The turns in order.
    pub messages: Vec<Message>,
}

impl Conversation {
    /// An empty conversation.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One question about some media; `[]` asks without any.
    pub fn ask(text: impl Into<String>, media: impl IntoIterator<Item = Content>) -> Self {
        Self::new().user_with(text, media)
    }

    /// Sets the system text.
    #[must_use]
    pub fn system(mut self, text: impl Into<String>) -> Self {
        self.system = Some(text.into());
        self
    }

    /// Adds a user's message of text alone.
    #[must_use]
    pub fn user(self, text: impl Into<String>) -> Self {
        self.user_with(text, [])
    }

    /// Adds a user's message: media, then text.
    #[must_use]
    pub fn user_with(
        self,
        text: impl Into<String>,
        media: impl IntoIterator<Item = Content>,
    ) -> Self {
        let content = media.into_iter().chain([Content::Text(text.into())]);
        self.message(Message::new(Role::User, content))
    }

    /// Adds an answer.
    #[must_use]
    pub fn assistant(self, text: impl Into<String>) -> Self {
        self.message(Message::new(Role::Assistant, [Content::Text(text.into())]))
    }

    /// Adds a message.
    #[must_use]
    pub fn message(mut self, message: Message) -> Self {
        self.messages.push(message);
        self
    }

    /// The images in prompt order.
    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.contents().filter_map(|content| match content {
            Content::Image(image) => Some(image),
            _ => None,
        })
    }

    /// The videos in prompt order.
    pub fn videos(&self) -> impl Iterator<Item = &Video> {
        self.contents().filter_map(|content| match content {
            Content::Video(video) => Some(video),
            _ => None,
        })
    }

    /// Images and videos as they stand.
    pub fn media(&self) -> impl Iterator<Item = &Content> {
        self.contents()
            .filter(|content| !matches!(content, Content::Text(_)))
    }

    fn contents(&self) -> impl Iterator<Item = &Content> {
        self.messages.iter().flat_map(|message| &message.content)
    }
}

impl From<&str> for Conversation {
    /// One question without media.
    fn from(text: &str) -> Self {
        Self::new().user(text)
    }
}

impl From<Message> for Conversation {
    fn from(message: Message) -> Self {
        Self::new().message(message)
    }
}

impl FromIterator<Message> for Conversation {
    fn from_iter<I: IntoIterator<Item = Message>>(messages: I) -> Self {
        Self {
            system: None,
            messages: messages.into_iter().collect(),
        }
    }
}

/// One turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said and shown.
    pub content: Vec<Content>,
}

impl Message {
    /// Puts a message together.
    pub fn new(role: Role, content: impl IntoIterator<Item = Content>) -> Self {
        Self {
            role,
            content: content.into_iter().collect(),
        }
    }
}

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Who asks.
    User,
    /// Who answers.
    Assistant,
    /// A role that only the chat template knows.
    Other(String),
}

impl Role {
    /// The name that the chat template reads.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for Role {
    fn from(name: &str) -> Self {
        match name {
            "user" => Self::User,
            "assistant" => Self::Assistant,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Something said.
    Text(String),
    /// A picture shown.
    Image(Image),
    /// A video shown.
    Video(Video),
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Image> for Content {
    fn from(image: Image) -> Self {
        Self::Image(image)
    }
}

impl From<Video> for Content {
    fn from(video: Video) -> Self {
        Self::Video(video)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_shows_its_media_before_its_text() {
        let image = Image::from_rgb8(1, 1, vec![0; 3]).unwrap();
        let asked = Conversation::ask("What?", [image.clone().into()]);
        assert_eq!(
            asked.messages[0].content,
            [Content::Image(image), Content::from("What?")]
        );
        assert_eq!(Conversation::ask("What?", []), Conversation::from("What?"));
    }

    #[test]
    fn roles_keep_their_names() {
        for name in ["user", "assistant", "tool"] {
            assert_eq!(Role::from(name).to_string(), name);
        }
    }
}
