//! The checkpoint's own chat template, rendered.

use std::collections::BTreeMap;
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Serde, ValueKind};
use minijinja::{AutoEscape, Environment, ErrorKind, State, UndefinedBehavior, Value, context};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::files::ProcessorFiles;

mod source;

pub use source::{DEFAULT_CHAT_TEMPLATE, MAX_TEMPLATE_SOURCE_BYTES};

/// Steps that a template may take for one conversation.
pub const MAX_TEMPLATE_STEPS: u64 = 10_000_000;
/// Bytes that a template may write beyond eight times what the conversation holds.
pub const MAX_TEMPLATE_BYTES: usize = 1 << 20;

/// Deepest nesting, and most parts, of a value that a template writes.
const MAX_DEPTH: usize = 64;
const MAX_PARTS: usize = 1_000_000;
/// Stack on which a template is compiled.
const COMPILE_STACK_BYTES: usize = 128 << 20;
/// Widest field that a template may pad a text to.
const MAX_WIDTH: usize = 10_000;
const NAME: &str = "chat_template";

/// A conversation as a template sees it.
#[derive(Debug, Serialize)]
pub(crate) struct TemplateMessage {
    pub(crate) role: String,
    pub(crate) content: TemplateContent,
}

/// Text for a system message, parts for the others.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum TemplateContent {
    Text(String),
    Parts(Vec<TemplatePart>),
}

impl TemplateContent {
    fn texts(&self) -> impl Iterator<Item = &str> {
        let (text, parts) = match self {
            Self::Text(text) => (Some(text), &[][..]),
            Self::Parts(parts) => (None, &parts[..]),
        };
        let parts = parts.iter().filter_map(|part| match part {
            TemplatePart::Text { text } => Some(text),
            _ => None,
        });
        text.into_iter().chain(parts).map(String::as_str)
    }
}

/// What a template may know of one part of a message.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum TemplatePart {
    Text { text: String },
    Image,
    Video,
}

/// A compiled chat template.
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    file: String,
    /// Variables such as `bos_token`.
    tokens: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// Finds the template among the files, see [`source::find`].
    pub(crate) fn from_files(
        files: &ProcessorFiles<'_>,
        tokens: BTreeMap<String, String>,
    ) -> Result<Self> {
        let (source, file) = source::find(files)?;
        Self::new(source, file, tokens)
    }

    pub(crate) fn new(
        source: String,
        file: String,
        tokens: BTreeMap<String, String>,
    ) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax_error = |source| Error::TemplateSyntax {
            file: file.clone(),
            source,
        };
        // The reference compiles chat templates with these two on.
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(syntax_error)?);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(MAX_TEMPLATE_STEPS));
        environment.set_unknown_method_callback(call_method);
        environment.set_formatter(|out, state, value| {
            check_size(value)?;
            minijinja::escape_formatter(out, state, value)
        });
        environment.add_filter("trim", trim);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", raise_exception);
        on_a_large_stack(|| environment.add_template_owned(NAME, source.clone()))
            .map_err(syntax_error)?;
        Ok(Self {
            environment,
            source,
            file,
            tokens,
        })
    }

    /// The template's text.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn render(
        &self,
        messages: &[TemplateMessage],
        add_generation_prompt: bool,
    ) -> Result<String> {
        let failed = |source| {
            let file = self.file.clone();
            if is_raised(&source) {
                Error::TemplateRefusal { file, source }
            } else {
                Error::TemplateRender { file, source }
            }
        };
        let max_bytes = MAX_TEMPLATE_BYTES + 8 * text_bytes(messages);
        let mut output = BoundedOutput {
            bytes: Vec::new(),
            max_bytes,
            overflown: false,
        };
        let variables = context! {
            messages => Serde(messages),
            add_generation_prompt => add_generation_prompt,
            // As the reference, which has them for every template.
            tools => (),
            documents => (),
            ..Value::from(Serde(&self.tokens))
        };
        let template = self.environment.get_template(NAME).map_err(failed)?;
        let rendered = template.render_captured_to(variables, &mut output);
        if output.overflown {
            return Err(Error::TemplateTooLong {
                file: self.file.clone(),
                max_bytes,
            });
        }
        match rendered {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::OutOfFuel => {
                return Err(Error::TemplateLoops {
                    file: self.file.clone(),
                    max_steps: MAX_TEMPLATE_STEPS,
                });
            }
            Err(error) => return Err(failed(error)),
        }
        // The engine writes whole strings only.
        let text = String::from_utf8_lossy(&output.bytes).into_owned();
        if drops_all_texts(messages, &text) {
            return Err(Error::TemplateDropsTexts {
                file: self.file.clone(),
            });
        }
        Ok(text)
    }
}

/// Runs what may recurse once for every few bytes of [`MAX_TEMPLATE_SOURCE_BYTES`].
fn on_a_large_stack<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let mut run = Some(run);
    let mut result = None;
    std::thread::scope(|scope| {
        let once = || result = run.take().map(|run| run());
        let builder = std::thread::Builder::new().stack_size(COMPILE_STACK_BYTES);
        // Where no thread can be had, it runs here.
        if let Ok(thread) = builder.spawn_scoped(scope, once)
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
    });
    match (result, run) {
        (Some(result), _) => result,
        (None, Some(run)) => run(),
        (None, None) => unreachable!("what ran has a result"),
    }
}

/// Whether messages hold texts, but what was written holds none of them.
fn drops_all_texts(messages: &[TemplateMessage], written: &str) -> bool {
    let mut texts = messages
        .iter()
        .flat_map(|message| message.content.texts())
        .map(|text| text.trim_matches(is_python_space))
        .filter(|text| !text.is_empty())
        .peekable();
    texts.peek().is_some() && !texts.any(|text| written.contains(text))
}

/// Refuses values that nest so deep, or have so many parts, that writing them would not end well.
fn check_size(value: &Value) -> std::result::Result<(), minijinja::Error> {
    fn parts(value: &Value, depth: usize, left: &mut usize) -> bool {
        *left = left.saturating_sub(1);
        if depth == 0 || *left == 0 {
            return false;
        }
        let mut all = |value: &Value| parts(value, depth - 1, left);
        match value.kind() {
            ValueKind::Map => {
                let mut keys = value.try_iter().into_iter().flatten();
                keys.all(|key| value.get_item(&key).is_ok_and(|item| all(&item)))
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let mut items = value.try_iter().into_iter().flatten();
                items.all(|item| all(&item))
            }
            // A namespace is an object without a kind of its own, and may hold itself.
            ValueKind::Plain => false,
            _ => true,
        }
    }
    if parts(value, MAX_DEPTH, &mut MAX_PARTS.clone()) {
        return Ok(());
    }
    Err(minijinja::Error::new(
        ErrorKind::InvalidOperation,
        "a value nests too deep or is too large to be written",
    ))
}

fn text_bytes(messages: &[TemplateMessage]) -> usize {
    let bytes_of = |content: &TemplateContent| match content {
        TemplateContent::Text(text) => text.len(),
        TemplateContent::Parts(parts) => parts
            .iter()
            .map(|part| match part {
                TemplatePart::Text { text } => text.len(),
                TemplatePart::Image | TemplatePart::Video => 64,
            })
            .sum(),
    };
    messages
        .iter()
        .map(|message| 128 + message.role.len() + bytes_of(&message.content))
        .sum()
}

/// Stops a template that writes without end.
struct BoundedOutput {
    bytes: Vec<u8>,
    max_bytes: usize,
    overflown: bool,
}

impl io::Write for BoundedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.max_bytes {
            self.overflown = true;
            return Err(io::Error::other("the output is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What Python's `str.strip` takes for white space; Rust's set lacks the four separators.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\x1C'..='\x1F').contains(&c)
}

/// Jinja's `trim`, which is Python's `str.strip`.
fn trim(text: &str, chars: Option<&str>) -> String {
    match chars {
        None => text.trim_matches(is_python_space).to_owned(),
        Some(chars) => text.trim_matches(|c| chars.contains(c)).to_owned(),
    }
}

/// Python's methods on strings, lists and objects.
fn call_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> std::result::Result<Value, minijinja::Error> {
    if let (Some(text), []) = (value.as_str(), args) {
        match method {
            "strip" => return Ok(text.trim_matches(is_python_space).into()),
            "lstrip" => return Ok(text.trim_start_matches(is_python_space).into()),
            "rstrip" => return Ok(text.trim_end_matches(is_python_space).into()),
            _ => {}
        }
    }
    if let (Some(text), "format") = (value.as_str(), method) {
        check_widths(text)?;
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
}

/// Refuses a format that pads a text to more than [`MAX_WIDTH`] characters.
fn check_widths(format: &str) -> std::result::Result<(), minijinja::Error> {
    let mut numbers = format.split(|c: char| !c.is_ascii_digit());
    if numbers.any(|digits| {
        digits
            .parse()
            .map_or(!digits.is_empty(), |n: usize| n > MAX_WIDTH)
    }) {
        return Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            format!("a format may not pad to more than {MAX_WIDTH} characters"),
        ));
    }
    Ok(())
}

fn raise_exception(message: &str) -> std::result::Result<Value, minijinja::Error> {
    let raised = Raised(message.to_owned());
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message.to_owned()).with_source(raised))
}

/// Tells what a template raised from what went wrong in it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn is_raised(error: &minijinja::Error) -> bool {
    let first: Option<&(dyn std::error::Error + 'static)> = Some(error);
    std::iter::successors(first, |error| error.source()).any(|error| error.is::<Raised>())
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=...)`.
fn to_json(
    value: &Value,
    indent: Rest<usize>,
    options: Kwargs,
) -> std::result::Result<String, minijinja::Error> {
    let failed = |error: serde_json::Error| {
        minijinja::Error::new(ErrorKind::InvalidOperation, "cannot write as JSON")
            .with_source(error)
    };
    check_size(value)?;
    let indent = match indent.first() {
        Some(indent) => Some(*indent),
        None => options.get::<Option<usize>>("indent")?,
    };
    let mut json = Vec::new();
    match indent {
        Some(indent) => {
            let spaces = " ".repeat(indent.min(16));
            let style = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            value
                .serialize(&mut serde_json::Serializer::with_formatter(
                    &mut json, style,
                ))
                .map_err(failed)?;
        }
        None => value
            .serialize(&mut serde_json::Serializer::with_formatter(
                &mut json,
                PythonSpacing,
            ))
            .map_err(failed)?,
    }
    Ok(String::from_utf8_lossy(&json).into_owned())
}

/// `[1, 2]` and `{"a": 1}`, with the spaces that Python writes.
struct PythonSpacing;

impl serde_json::ser::Formatter for PythonSpacing {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

#[cfg(test)]
mod tests;
