//! Meta's dialogue format: who speaks, what, and where the media stand in it.

use crate::conversation::{Content, Conversation, Role};
use crate::error::{Error, Result};

/// Stands for an image in the texts of Meta's data.
const IMAGE_TAG: &str = "<image>";
const VIDEO_TAG: &str = "<video>";

/// The system text where a conversation has none.
const SYSTEM: &str = "You are a helpful language and vision assistant. You are able to understand the visual content that the user provides, and assist the user with a variety of tasks using natural language.";

/// How a text's tags and its message's media come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// For an answer: the media take the places of the tags `<image>` if a message has as many of
    /// them as tiles; otherwise the tags go, and the media stand before the text.
    Answering,
    /// For training: several pictures take the places of the tags; a single medium stands before
    /// the first text, whose tags go.
    Training,
}

/// A stretch of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// A special token of the format, by name.
    Special(&'static str),
    /// Text, in which names of special tokens may stand.
    Text(String),
    /// The tokens of the medium of this number.
    Medium(usize),
}

/// A conversation in segments, cut into the parts of its speakers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dialog {
    /// Segments of each part, and whether it is an answer. The system text belongs to the first.
    pub(crate) parts: Vec<(Vec<Segment>, bool)>,
}

const BEGIN: Segment = Segment::Special("<|begin_of_text|>");
const END: Segment = Segment::Special("<|end_of_text|>");
const END_OF_TURN: Segment = Segment::Special("<|eot_id|>");

impl Dialog {
    /// Writes a conversation; `tiles` says of every medium, images and videos in the order of the
    /// conversation, how many tiles it has.
    ///
    /// # Errors
    /// [`Error::TagMismatch`] when several pictures are trained on that the texts do not have as
    /// many tags for.
    pub(crate) fn write(
        conversation: &Conversation,
        tiles: &[usize],
        placement: Placement,
    ) -> Result<Self> {
        let mut media = 0..tiles.len();
        let in_place = placement == Placement::Training && tiles.len() > 1;
        let questions = conversation
            .messages
            .iter()
            .filter(|m| m.role != Role::Assistant);
        let tags = questions.map(|m| text_of(&m.content).matches(IMAGE_TAG).count());
        let found: usize = tags.sum();
        if in_place && found != tiles.len() {
            return Err(Error::TagMismatch {
                expected: tiles.len(),
                found,
            });
        }
        let mut parts: Vec<(Vec<Segment>, bool)> = Vec::new();
        let mut opening = vec![BEGIN];
        let system = conversation.system.as_deref().unwrap_or(SYSTEM);
        turn(&mut opening, "system", [Segment::Text(system.to_owned())]);
        for message in &conversation.messages {
            let is_answer = message.role == Role::Assistant;
            let text = text_of(&message.content);
            let own = message
                .content
                .iter()
                .filter(|c| !matches!(c, Content::Text(_)));
            let own = own.count();
            let body = if in_place {
                match is_answer {
                    true => vec![Segment::Text(text)],
                    false => fill_tags(&text, &mut media),
                }
            } else {
                let numbers: Vec<usize> = media.by_ref().take(own).collect();
                place(text, &numbers, tiles, placement)
            };
            let mut segments = std::mem::take(&mut opening);
            turn(&mut segments, message.role.as_str(), body);
            parts.push((segments, is_answer));
        }
        if !opening.is_empty() {
            parts.push((opening, false));
        }
        Ok(Self { parts })
    }

    /// Adds the header of an answer to come.
    pub(crate) fn open_answer(&mut self) {
        self.parts.push((header("assistant"), true));
    }

    /// Ends the text after the last answer.
    pub(crate) fn end(&mut self) {
        if let Some((segments, true)) = self.parts.last_mut() {
            segments.push(END);
        }
    }
}

/// A speaker's whole turn.
fn turn(segments: &mut Vec<Segment>, role: &str, body: impl IntoIterator<Item = Segment>) {
    segments.extend(header(role));
    segments.extend(body);
    segments.push(END_OF_TURN);
}

fn header(role: &str) -> Vec<Segment> {
    vec![
        Segment::Special("<|start_header_id|>"),
        Segment::Text(role.to_owned()),
        Segment::Special("<|end_header_id|>"),
        Segment::Text("\n\n".to_owned()),
    ]
}

fn text_of(content: &[Content]) -> String {
    let texts = content.iter().filter_map(|content| match content {
        Content::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// A message's text and media, by the rule for an answer or for training on one medium.
fn place(text: String, numbers: &[usize], tiles: &[usize], placement: Placement) -> Vec<Segment> {
    if numbers.is_empty() {
        return vec![Segment::Text(text)];
    }
    let num_tiles: usize = numbers.iter().map(|&number| tiles[number]).sum();
    // As many tags as tiles; a medium of several tiles cannot be torn apart.
    let fits = num_tiles == numbers.len() && text.matches(IMAGE_TAG).count() == num_tiles;
    if placement == Placement::Answering && fits {
        return fill_tags(&text, &mut numbers.iter().copied());
    }
    let mut text = text;
    for tag in [IMAGE_TAG, VIDEO_TAG] {
        for form in [format!("{tag}\n"), format!("\n{tag}"), tag.to_owned()] {
            text = text.replace(&form, "");
        }
    }
    let media = numbers.iter().map(|&number| Segment::Medium(number));
    media.chain([Segment::Text(text)]).collect()
}

/// Puts media in the places of the tags, as far as they go.
fn fill_tags(text: &str, media: &mut dyn Iterator<Item = usize>) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(IMAGE_TAG) {
        let Some(number) = media.next() else { break };
        segments.push(Segment::Text(rest[..at].to_owned()));
        segments.push(Segment::Medium(number));
        rest = &rest[at + IMAGE_TAG.len()..];
    }
    segments.push(Segment::Text(rest.to_owned()));
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;

    fn picture() -> Content {
        Image::from_rgb8(1, 1, vec![0; 3]).unwrap().into()
    }

    /// The part in which the user speaks, media as `{n}`.
    fn user(text: &str, tiles: &[usize], placement: Placement) -> Result<String> {
        let media: Vec<Content> = tiles.iter().map(|_| picture()).collect();
        let conversation = Conversation::ask(text, media).system("s");
        let dialog = Dialog::write(&conversation, tiles, placement)?;
        let text = dialog.parts[0].0.iter().map(|segment| match segment {
            Segment::Special(_) => "|".to_owned(),
            Segment::Text(text) => text.clone(),
            Segment::Medium(number) => format!("{{{number}}}"),
        });
        let text: String = text.collect();
        let (_, body) = text.split_once("|user|\n\n").unwrap();
        Ok(body.strip_suffix('|').unwrap().to_owned())
    }

    #[test]
    fn media_take_the_places_of_as_many_tags_when_answering() {
        let answering = |text, tiles: &[usize]| user(text, tiles, Placement::Answering).unwrap();
        assert_eq!(answering("<image>\nWhat? ", &[1]), "{0}\nWhat? ");
        assert_eq!(answering("a <image> b <image>", &[1, 1]), "a {0} b {1}");
        assert_eq!(answering("<image>\nWhat?", &[5]), "{0}What?");
        assert_eq!(answering("a\n<image><video>\nb", &[1, 1]), "{0}{1}ab");
        assert_eq!(answering(" What? ", &[3]), "{0} What? ");
        assert_eq!(answering("an <image> tag", &[]), "an <image> tag");
    }

    #[test]
    fn one_medium_stands_first_in_training_and_several_by_tag() {
        let training = |text, tiles: &[usize]| user(text, tiles, Placement::Training);
        assert_eq!(training("<image>\nWhat?", &[1]).unwrap(), "{0}What?");
        assert_eq!(
            training("a <image> b <image> c", &[1, 1]).unwrap(),
            "a {0} b {1} c"
        );
        for text in ["a <image> b", "<image><image><image>"] {
            let message = training(text, &[1, 1]).unwrap_err().to_string();
            assert!(message.contains("2 pictures"), "{message}");
        }
    }

    #[test]
    fn parts_are_the_speakers_and_the_last_answer_ends_the_text() {
        let conversation = Conversation::ask("q", [])
            .assistant("a")
            .user("r")
            .assistant("b");
        let mut dialog = Dialog::write(&conversation, &[], Placement::Training).unwrap();
        dialog.end();
        let answers: Vec<bool> = dialog.parts.iter().map(|(_, answer)| *answer).collect();
        assert_eq!(answers, [false, true, false, true]);
        assert_eq!(dialog.parts[0].0[0], BEGIN);
        assert_eq!(dialog.parts[3].0.last(), Some(&END));
        assert_eq!(dialog.parts[1].0.last(), Some(&END_OF_TURN));
    }
}
