//! Conversations in the reference's JSON form.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Content, Conversation, Message, Role};
use crate::error::{Error, Result};
use crate::image::{DecodeLimits, Image};
use crate::video::Video;

/// A mistake in a conversation's JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The text is not JSON at all.
    #[error("not valid JSON: {message}")]
    Syntax {
        /// Where and why.
        message: String,
    },
    /// Something has another JSON type than it must.
    #[error("{found} found, but this must be {expected}")]
    WrongType {
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A field is absent.
    #[error("`{field}` is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A part's type is not known.
    #[error("unknown type `{found}`; it is `text`, `image` or `video`")]
    UnknownType {
        /// The type found.
        found: String,
    },
    /// A picture is given by its address on the network.
    #[error(
        "`{url}` is an address, and pictures are not fetched; download the picture and give its `path`"
    )]
    Url {
        /// The address.
        url: String,
    },
    /// A picture's bytes stand in the JSON itself.
    #[error(
        "`{field}` holds a picture's bytes, which are not read from JSON; write them to a file and give its `path`"
    )]
    InlinePicture {
        /// The field that holds them.
        field: &'static str,
    },
    /// A system message holds something that is not text.
    #[error("a system message takes text alone, not `{found}`")]
    SystemMedia {
        /// The type found.
        found: String,
    },
}

impl Conversation {
    /// Reads a list of messages in the reference's form, from text.
    ///
    /// # Errors
    /// As [`Conversation::from_json`].
    pub fn from_json_str(json: &str, media_root: impl AsRef<Path>) -> Result<Self> {
        let value: Value = serde_json::from_str(json).map_err(|error| {
            at(
                "messages",
                Fault::Syntax {
                    message: error.to_string(),
                },
            )
        })?;
        Self::from_json(&value, media_root)
    }

    /// Reads a list of messages in the reference's form.
    ///
    /// `[{"role": "user", "content": [{"type": "image", "path": "a.png"}, {"type": "text", "text":
    /// "What is this?"}]}]`. A picture's path may also stand under `image` or `url`, as the reference
    /// allows; nothing is fetched, and no bytes are taken from the JSON. Relative paths are taken
    /// from `media_root`. A first message of role
    /// `system` becomes [`Conversation::system`]; its texts are joined. A video is given by
    /// the `path` of a file or of a folder of pictures, or as `{"type": "video", "frames": ["1.png",
    /// "2.png"]}`.
    ///
    /// `content` may be a plain string, which counts as one text. The reference accepts that too,
    /// but its template then drops the text without a word.
    ///
    /// # Errors
    /// [`Error::Conversation`] and [`Error::Media`], both naming the place.
    pub fn from_json(json: &Value, media_root: impl AsRef<Path>) -> Result<Self> {
        Self::from_json_with(json, media_root, &DecodeLimits::default())
    }

    /// Reads a list of messages in the reference's form, its pictures within the given limits.
    ///
    /// # Errors
    /// As [`Conversation::from_json`].
    pub fn from_json_with(
        json: &Value,
        media_root: impl AsRef<Path>,
        limits: &DecodeLimits,
    ) -> Result<Self> {
        let reader = Reader {
            media_root: media_root.as_ref(),
            limits,
        };
        let messages = json
            .as_array()
            .ok_or_else(|| at("messages", wrong_type("a list of messages", json)))?;
        let mut conversation = Conversation::new();
        for (index, message) in messages.iter().enumerate() {
            let place = format!("messages[{index}]");
            let fields = message
                .as_object()
                .ok_or_else(|| at(&place, wrong_type("an object", message)))?;
            let role = text_field(fields, "role", &place)?;
            let content = fields
                .get("content")
                .ok_or_else(|| at(&place, Fault::Missing { field: "content" }))?;
            if index == 0 && role == "system" {
                conversation.system = Some(system_text(content, &place)?);
            } else {
                let content = reader.content(content, &place)?;
                conversation.messages.push(Message {
                    role: Role::from(role),
                    content,
                });
            }
        }
        Ok(conversation)
    }
}

struct Reader<'a> {
    media_root: &'a Path,
    limits: &'a DecodeLimits,
}

impl Reader<'_> {
    fn content(&self, content: &Value, place: &str) -> Result<Vec<Content>> {
        parts(content, place)?
            .map(|(place, part)| match part {
                Part::Text(text) => Ok(Content::Text(text.to_owned())),
                Part::Fields("text", fields) => Ok(Content::Text(
                    text_field(fields, "text", &place)?.to_owned(),
                )),
                Part::Fields("image", fields) => self.image(fields, &place).map(Content::Image),
                Part::Fields("video", fields) => self.video(fields, &place).map(Content::Video),
                Part::Fields(found, _) => Err(at(
                    &place,
                    Fault::UnknownType {
                        found: found.to_owned(),
                    },
                )),
            })
            .collect()
    }

    fn image(&self, fields: &Map<String, Value>, place: &str) -> Result<Image> {
        let given = ["path", "image", "url", "base64"]
            .into_iter()
            .find(|field| fields.contains_key(*field));
        match given {
            Some(field @ "base64") => Err(at(place, Fault::InlinePicture { field })),
            given => {
                let field = given.unwrap_or("path");
                self.open(text_field(fields, field, place)?, field, place)
            }
        }
    }

    fn video(&self, fields: &Map<String, Value>, place: &str) -> Result<Video> {
        let Some(frames) = fields.get("frames") else {
            let given = ["path", "video", "url"].into_iter();
            let field = given.into_iter().find(|field| fields.contains_key(*field));
            let field = field.unwrap_or("path");
            let path = self.local(text_field(fields, field, place)?, field, place)?;
            return Video::open_with(path, self.limits).map_err(|error| media_error(place, error));
        };
        let place = format!("{place}.frames");
        let paths = frames
            .as_array()
            .ok_or_else(|| at(&place, wrong_type("a list of paths", frames)))?;
        let frames = paths.iter().enumerate().map(|(index, path)| {
            let place = format!("{place}[{index}]");
            let path = path
                .as_str()
                .ok_or_else(|| at(&place, wrong_type("a path", path)))?;
            self.open(path, "frames", &place)
        });
        Ok(Video::from_frames(frames.collect::<Result<_>>()?))
    }

    fn open(&self, path: &str, field: &'static str, place: &str) -> Result<Image> {
        let path = self.local(path, field, place)?;
        Image::open_with(path, self.limits).map_err(|error| media_error(place, error))
    }

    /// The path of a file on this machine.
    fn local(&self, path: &str, field: &'static str, place: &str) -> Result<PathBuf> {
        if starts_with_scheme(path, "http://") || starts_with_scheme(path, "https://") {
            let url = path.to_owned();
            return Err(at(place, Fault::Url { url }));
        }
        if starts_with_scheme(path, "data:") {
            return Err(at(place, Fault::InlinePicture { field }));
        }
        Ok(self.media_root.join(path))
    }
}

/// Whether a text begins with a scheme, which may be written in capitals too.
fn starts_with_scheme(text: &str, scheme: &str) -> bool {
    text.get(..scheme.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// One piece of a message before its media are opened.
enum Part<'a> {
    Text(&'a str),
    Fields(&'a str, &'a Map<String, Value>),
}

/// The parts of a message with their places; a plain string is one part.
fn parts<'a>(
    content: &'a Value,
    place: &str,
) -> Result<impl Iterator<Item = (String, Part<'a>)> + use<'a>> {
    let place = format!("{place}.content");
    let parts = match content {
        Value::String(text) => vec![(place, Part::Text(text))],
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, part)| {
                let place = format!("{place}[{index}]");
                if let Value::String(text) = part {
                    return Ok((place, Part::Text(text)));
                }
                let fields = part
                    .as_object()
                    .ok_or_else(|| at(&place, wrong_type("an object", part)))?;
                let kind = text_field(fields, "type", &place)?;
                Ok((place, Part::Fields(kind, fields)))
            })
            .collect::<Result<_>>()?,
        other => return Err(at(&place, wrong_type("a string or a list", other))),
    };
    Ok(parts.into_iter())
}

fn system_text(content: &Value, place: &str) -> Result<String> {
    parts(content, place)?
        .map(|(place, part)| match part {
            Part::Text(text) => Ok(text),
            Part::Fields("text", fields) => text_field(fields, "text", &place),
            Part::Fields(found, _) => Err(at(
                &place,
                Fault::SystemMedia {
                    found: found.to_owned(),
                },
            )),
        })
        .collect()
}

fn text_field<'a>(
    fields: &'a Map<String, Value>,
    field: &'static str,
    place: &str,
) -> Result<&'a str> {
    let value = fields
        .get(field)
        .ok_or_else(|| at(place, Fault::Missing { field }))?;
    value
        .as_str()
        .ok_or_else(|| at(&format!("{place}.{field}"), wrong_type("a string", value)))
}

fn media_error(place: &str, error: Error) -> Error {
    Error::Media {
        place: place.to_owned(),
        source: Box::new(error),
    }
}

fn at(place: &str, fault: Fault) -> Error {
    Error::Conversation {
        place: place.to_owned(),
        fault,
    }
}

fn wrong_type(expected: &'static str, found: &Value) -> Fault {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Fault::WrongType { expected, found }
}

#[cfg(test)]
mod tests;
