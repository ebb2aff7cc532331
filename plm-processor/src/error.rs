//! The one error type of this crate.

use std::io;
use std::path::PathBuf;

use crate::conversation::Fault;
use crate::regions::RegionFault;
use crate::video::VideoFault;

/// What can go wrong between a conversation and its prompt.
///
/// Every message names the file, field, token or message at fault, includes its cause, and says
/// what to do where that is not obvious. [`std::error::Error::source`] gives the cause as a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// A picture file is longer than the limits allow.
    #[error(
        "{name} is longer than {max_bytes} bytes; raise `DecodeLimits::max_bytes` if it is to be trusted"
    )]
    ImageFileTooLong {
        /// The picture.
        name: String,
        /// The limit.
        max_bytes: u64,
    },

    /// The first bytes of a picture belong to no known format.
    #[error("{name} is in no known picture format; supported are {supported}")]
    UnknownImageFormat {
        /// The picture.
        name: String,
        /// Names of the formats that can be read.
        supported: &'static str,
    },

    /// A picture is damaged, cut short, or uses a part of its format that cannot be read.
    #[error("cannot decode {name} as {format}: {source}")]
    DecodeImage {
        /// The picture.
        name: String,
        /// The format that its first bytes announce.
        format: &'static str,
        /// What the decoder said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A picture announces more pixels than the limits allow; nothing was allocated for it.
    #[error(
        "{name} is {width}x{height} pixels, more than the limits allow ({max_side} a side, {max_pixels} in all); scale it down, or raise `DecodeLimits`"
    )]
    ImageTooLarge {
        /// The picture.
        name: String,
        /// Announced width.
        width: u32,
        /// Announced height.
        height: u32,
        /// The limit for one side.
        max_side: u32,
        /// The limit for the area.
        max_pixels: u64,
    },

    /// A pixel buffer does not have the length that its size asks for.
    #[error(
        "a {width}x{height} RGB picture needs {expected} bytes and at least one pixel, but the buffer holds {actual}"
    )]
    PixelBuffer {
        /// Given width.
        width: u32,
        /// Given height.
        height: u32,
        /// `width * height * 3`.
        expected: u64,
        /// Length of the buffer.
        actual: usize,
    },

    /// A picture could not be written as a PNG file.
    #[error("cannot write a {width}x{height} picture as PNG: {source}")]
    EncodeImage {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// What the encoder said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The resampler refused a picture.
    #[error("cannot resize from {from_width}x{from_height} to {to_width}x{to_height}: {source}")]
    Resize {
        /// Width before.
        from_width: u32,
        /// Height before.
        from_height: u32,
        /// Width asked for.
        to_width: u32,
        /// Height asked for.
        to_height: u32,
        /// What the resampler said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A file of the checkpoint is not the JSON it should be.
    #[error("{file} cannot be understood: {source}")]
    Json {
        /// The file.
        file: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },

    /// A required file of the checkpoint is absent.
    #[error("{file} is missing; the checkpoint is not complete")]
    MissingFile {
        /// The file.
        file: String,
    },

    /// A required field of a configuration file is absent.
    #[error("{file} has no `{field}`")]
    MissingField {
        /// The file.
        file: String,
        /// The field.
        field: &'static str,
    },

    /// A configuration value makes no sense or is beyond what this crate handles.
    #[error("`{field}` is {value} in {file}, but must be {expected}")]
    InvalidConfig {
        /// The file, or "the options".
        file: String,
        /// The field.
        field: &'static str,
        /// The value found.
        value: String,
        /// What it must be.
        expected: String,
    },

    /// A name that is neither `thumb+tile` nor `vanilla`.
    #[error("unknown vision input type `{value}`; it is `thumb+tile` or `vanilla`")]
    UnknownVisionInputType {
        /// The name found.
        value: String,
    },

    /// A name that is neither `huggingface` nor `meta`.
    #[error("unknown processing rules `{value}`; they are `huggingface` or `meta`")]
    UnknownRules {
        /// The name found.
        value: String,
    },

    /// The texts of a sample with several pictures have another number of tags than pictures.
    #[error("the texts have {found} `<image>` for {expected} pictures; give each picture one")]
    TagMismatch {
        /// Pictures and videos.
        expected: usize,
        /// Tags in what is not an answer.
        found: usize,
    },

    /// Not even the first turn of a training sample fits.
    #[error(
        "the first turn has {num_tokens} tokens, but a sample may have {max_tokens}; use fewer tiles or a shorter text"
    )]
    SampleTooLong {
        /// Tokens of the first turn.
        num_tokens: usize,
        /// The limit.
        max_tokens: usize,
    },

    /// `tokenizer.json` cannot be used.
    #[error("{file} is not a usable tokenizer: {source}")]
    Tokenizer {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A `tokenizer.json` says what Meta's `tokenizer.model` has no words for.
    #[error("{file} cannot be said in Meta's tokenizer.model: {source}")]
    NoTokenizerModel {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// Some text could not be encoded.
    #[error("the tokenizer cannot encode the text: {source}")]
    Encode {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The texts use up every character by which special tokens could be kept out of them.
    #[error(
        "the texts hold all of Unicode's noncharacters and private planes; remove some, or parse special tokens"
    )]
    NoStandIn,

    /// A text is too long for any model.
    #[error("a text has {length} bytes, more than {max_length}; shorten it")]
    TextTooLong {
        /// Bytes of the text.
        length: usize,
        /// [`MAX_TEXT_BYTES`](crate::MAX_TEXT_BYTES).
        max_length: usize,
    },

    /// A run of white space is too long for the tokenizer's pattern.
    #[error(
        "the text has a run of {length} white space characters; the tokenizer takes at most {max_length}, shorten it"
    )]
    WhitespaceRun {
        /// Characters in the run.
        length: usize,
        /// [`MAX_WHITESPACE_RUN`](crate::MAX_WHITESPACE_RUN).
        max_length: usize,
    },

    /// A token that the processor needs is not in the vocabulary.
    #[error("{file} has no special token `{token}`, which the {purpose} needs")]
    UnknownToken {
        /// The tokenizer file.
        file: String,
        /// The token.
        token: String,
        /// What it is for.
        purpose: &'static str,
    },

    /// A token id beyond the vocabulary.
    #[error("token id {id} is not in the vocabulary of {vocab_size} tokens")]
    TokenId {
        /// The id.
        id: u32,
        /// Tokens in the vocabulary.
        vocab_size: usize,
    },

    /// The chat template is not valid Jinja.
    #[error("the chat template of {file} does not compile: {source}")]
    TemplateSyntax {
        /// Where the template comes from.
        file: String,
        /// Where and why.
        #[source]
        source: minijinja::Error,
    },

    /// The chat template raised an exception of its own over the conversation.
    #[error("the chat template of {file} refuses the conversation: {source}")]
    TemplateRefusal {
        /// Where the template comes from.
        file: String,
        /// Where and why.
        #[source]
        source: minijinja::Error,
    },

    /// The chat template asks for something that cannot be done, which no template should.
    #[error("the chat template of {file} fails: {source}")]
    TemplateRender {
        /// Where the template comes from.
        file: String,
        /// Where and why.
        #[source]
        source: minijinja::Error,
    },

    /// The chat template did not come to an end within its budget of steps.
    #[error(
        "the chat template of {file} needs more than {max_steps} steps; it loops, or the conversation is too long"
    )]
    TemplateLoops {
        /// Where the template comes from.
        file: String,
        /// The budget.
        max_steps: u64,
    },

    /// The chat template writes far more than the conversation holds.
    #[error("the chat template of {file} writes more than {max_bytes} bytes for this conversation")]
    TemplateTooLong {
        /// Where the template comes from.
        file: String,
        /// The limit.
        max_bytes: usize,
    },

    /// The chat template writes none of the conversation's texts.
    #[error(
        "the chat template of {file} drops every text of the conversation; it is damaged, or made for another model"
    )]
    TemplateDropsTexts {
        /// Where the template comes from.
        file: String,
    },

    /// A conversation without system text and messages.
    #[error("the conversation is empty; add a message")]
    EmptyConversation,

    /// A video that cannot be read, or whose frames cannot be chosen.
    #[error("{name}: {fault}")]
    Video {
        /// The video.
        name: String,
        /// What is wrong with it.
        fault: VideoFault,
    },

    /// A box or frames of a region that make no sense.
    #[error("{fault}")]
    Region {
        /// What is wrong.
        fault: RegionFault,
    },

    /// The rendered prompt holds another number of placeholders than the conversation has media.
    #[error(
        "the prompt has {found} `{token}` for {expected} {kind}(s); remove `{token}` from the texts, or do not parse special tokens"
    )]
    PlaceholderMismatch {
        /// The placeholder token.
        token: String,
        /// "image" or "video".
        kind: &'static str,
        /// Media in the conversation.
        expected: usize,
        /// Placeholders in the prompt.
        found: usize,
    },

    /// A conversation in JSON has a mistake.
    #[error("{place}: {fault}")]
    Conversation {
        /// For example `messages[1].content[0]`.
        place: String,
        /// The mistake.
        fault: Fault,
    },

    /// A picture named in a conversation cannot be opened.
    #[error("{place}: {source}")]
    Media {
        /// For example `messages[1].content[0]`.
        place: String,
        /// Why.
        #[source]
        source: Box<Error>,
    },
}

/// Shorthand used throughout the crate.
pub type Result<T> = std::result::Result<T, Error>;

impl From<RegionFault> for Error {
    fn from(fault: RegionFault) -> Self {
        Self::Region { fault }
    }
}
