//! Samples in Meta's JSONL: one a line, with a picture, several, a video, or text alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use plm::regions::{BoxFormat, PixelBox, frame_boxes_from_json};
use plm::{Content, Conversation, FrameRule, FrameSampling, Image, Message, Role, Video};
use serde::Deserialize;
use serde_json::Value;

use crate::{Error, RowError};

/// A line of the file.
#[derive(Deserialize)]
struct Row {
    image: Option<Paths>,
    video: Option<PathBuf>,
    conversations: Option<Vec<Turn>>,
    /// A caption, where there is no conversation.
    text: Option<String>,
    /// Boxes `x, y, width, height` in pixels, which texts name as `<|bbox0|>`.
    bbox: Option<Vec<[f64; 4]>>,
    width: Option<u32>,
    height: Option<u32>,
    start_time: Option<f64>,
    end_time: Option<f64>,
    /// Boxes that are drawn on frames of the video.
    bbox_map: Option<Value>,
    /// What kind of question it is, for evaluations.
    category: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Paths {
    One(PathBuf),
    Several(Vec<PathBuf>),
}

#[derive(Deserialize)]
struct Turn {
    from: String,
    value: String,
}

/// A file of samples, of which the places of the lines are known.
pub(crate) struct RowFile {
    pub(crate) path: PathBuf,
    root: PathBuf,
    /// Line numbers from 1, and where the lines stand.
    lines: Vec<(usize, Range<u64>)>,
}

impl RowFile {
    /// Finds the lines of a file; media are in `root`, or in the file's folder.
    pub(crate) fn open(path: &Path, root: Option<&Path>) -> Result<Self, Error> {
        let error = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let mut reader = BufReader::new(File::open(path).map_err(error)?);
        let (mut lines, mut at, mut number) = (Vec::new(), 0, 0);
        let mut line = Vec::new();
        loop {
            line.clear();
            let size = reader.read_until(b'\n', &mut line).map_err(error)? as u64;
            if size == 0 {
                break;
            }
            number += 1;
            if !line.iter().all(u8::is_ascii_whitespace) {
                lines.push((number, at..at + size));
            }
            at += size;
        }
        if lines.is_empty() {
            return Err(Error::Config {
                what: format!("{}: the file has no samples", path.display()),
            });
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        Ok(Self {
            path: path.to_owned(),
            root: root.unwrap_or(folder).to_owned(),
            lines,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The conversation of a sample, with its media.
    pub(crate) fn conversation(
        &self,
        index: usize,
        rule: FrameRule,
    ) -> Result<Conversation, RowError> {
        let row = self.read(index).map_err(|what| self.error(index, what))?;
        let conversation = row.conversation(&self.root, rule);
        conversation.map_err(|what| self.error(index, what))
    }

    /// The line that a sample stands in, from 1.
    pub(crate) fn line(&self, index: usize) -> usize {
        self.lines[index].0
    }

    /// The kind of question that a sample says it asks.
    pub(crate) fn category(&self, index: usize) -> Result<Option<String>, RowError> {
        let row = self.read(index).map_err(|what| self.error(index, what))?;
        Ok(row.category)
    }

    /// The error of a sample.
    pub(crate) fn error(&self, index: usize, what: String) -> RowError {
        RowError {
            path: self.path.clone(),
            line: self.line(index),
            what,
        }
    }

    fn read(&self, index: usize) -> Result<Row, String> {
        let range = &self.lines[index].1;
        let read = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(range.start))?;
            let mut line = vec![0; (range.end - range.start) as usize];
            file.read_exact(&mut line)?;
            Ok::<_, std::io::Error>(line)
        };
        let line = read().map_err(|error| error.to_string())?;
        serde_json::from_slice(&line).map_err(|error| error.to_string())
    }
}

impl Row {
    fn conversation(self, root: &Path, rule: FrameRule) -> Result<Conversation, String> {
        let mut media = Vec::new();
        match (&self.image, &self.video) {
            (Some(_), Some(_)) => return Err("it has both `image` and `video`".into()),
            (Some(image), None) => {
                let paths = match image {
                    Paths::One(path) => std::slice::from_ref(path),
                    Paths::Several(paths) => paths,
                };
                for path in paths {
                    let image = Image::open(root.join(path)).map_err(explain)?;
                    media.push(Content::from(image));
                }
            }
            (None, Some(video)) => media.push(self.video(&root.join(video), rule)?.into()),
            (None, None) => {}
        }
        let turns = match (&self.conversations, &self.text) {
            (Some(turns), _) if !turns.is_empty() => turns.iter().map(read_turn).collect(),
            (None, Some(text)) => Ok(vec![(Role::User, ""), (Role::Assistant, text.as_str())]),
            _ => Err("it has neither `conversations` nor `text`".to_owned()),
        }?;
        let mut conversation = Conversation::new();
        for (role, text) in turns {
            let text = self.with_boxes(text)?;
            if role.as_str() == SYSTEM {
                conversation = conversation.system(text);
                continue;
            }
            let mut content = Vec::new();
            if role == Role::User {
                content.append(&mut media);
            }
            content.push(Content::from(text));
            conversation = conversation.message(Message::new(role, content));
        }
        if !media.is_empty() {
            return Err("no human turn shows its media".into());
        }
        Ok(conversation)
    }

    fn video(&self, path: &Path, rule: FrameRule) -> Result<Video, String> {
        let video = Video::open(path).map_err(explain)?;
        let video = video.with_sampling(FrameSampling {
            rule,
            start_s: self.start_time,
            end_s: self.end_time,
            allow_fewer: true,
        });
        let boxes = self.bbox_map.as_ref().map(frame_boxes_from_json);
        let boxes: BTreeMap<usize, PixelBox> =
            boxes.transpose().map_err(explain)?.unwrap_or_default();
        Ok(video.with_boxes(boxes))
    }

    /// The text with boxes in the places of their names.
    fn with_boxes(&self, text: &str) -> Result<String, String> {
        let Some(boxes) = &self.bbox else {
            return Ok(text.to_owned());
        };
        let (Some(width), Some(height)) = (self.width, self.height) else {
            return Err("it has `bbox` without `width` and `height`".into());
        };
        let boxes = boxes.iter().map(|&numbers| PixelBox::from_xywh(numbers));
        let boxes: Vec<PixelBox> = boxes.collect::<Result<_, _>>().map_err(explain)?;
        let filled = BoxFormat::default().fill(text, &boxes, (width, height));
        filled.map_err(explain)
    }
}

const SYSTEM: &str = "system";

fn read_turn(turn: &Turn) -> Result<(Role, &str), String> {
    let role = match turn.from.as_str() {
        "human" | "user" => Role::User,
        "assistant" | "gpt" => Role::Assistant,
        "system" => Role::from(SYSTEM),
        other => return Err(format!("a turn is from `{other}`, not human or assistant")),
    };
    Ok((role, &turn.value))
}

/// An error and its causes in one line.
pub(crate) fn explain(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
