use std::io::{self, BufRead, ErrorKind, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use plm::{Content, Decoding, PerceptionLM, Session};

use crate::args::ChatArgs;
use crate::conversations::open_media;
use crate::error::Error;
use crate::output;
use crate::request::{ModelRequest, decoding, encoding};

const HELP: &str = "/image PATH    show a picture with the next question\n\
                    /video PATH    show a video with the next question\n\
                    /system TEXT   replace the system text\n\
                    /reset         forget all turns and pictures\n\
                    /help          show this\n\
                    /quit          end; so does the end of the input";

/// Longest line that is read.
const MAX_LINE_BYTES: u64 = 16 << 20;

pub(crate) fn run(args: ChatArgs) -> Result<(), Error> {
    let decoding = decoding(args.decoding)?;
    if decoding.num_beams > 1 {
        return Err(Error::usage(
            "chat streams its answers, which --num-beams above 1 does not allow",
        ));
    }
    let model = ModelRequest::check(args.run, encoding(&args.tiles, args.parse_special))?;

    let media_root = args.media_root.unwrap_or_default();
    let paths = |given: &[PathBuf]| -> Vec<PathBuf> {
        given.iter().map(|path| media_root.join(path)).collect()
    };
    let media = open_media(&paths(&args.image), &paths(&args.video))?;
    let plm = model.load()?;
    model.source.note_embedded_model();
    let mut chat = Chat {
        session: new_session(&plm, args.system.as_deref()),
        plm: &plm,
        system: args.system,
        media_root,
        media,
        decoding,
    };
    let interactive = io::stdin().is_terminal();
    if interactive {
        output::note("type a question, or /help");
    }
    let mut input = io::stdin().lock();
    let mut failed = 0;
    loop {
        if interactive {
            prompt();
        }
        let line = read_line(&mut input).map_err(unreadable)?;
        if line.is_empty() {
            break;
        }
        match chat.take(&line) {
            Ok(Next::GoOn) => {}
            Ok(Next::End) => break,
            Err(error @ Error::Output(_)) => return Err(error),
            Err(error) => {
                output::complain(&error);
                failed += 1;
            }
        }
    }
    // Whoever types has seen the errors; a program sees the exit code.
    match failed {
        0 => Ok(()),
        _ if interactive => Ok(()),
        count => Err(Error::ChatLines { count }),
    }
}

/// Reads a line with its end, which must come within [`MAX_LINE_BYTES`]; nothing at the end of the
/// input.
fn read_line(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    input.take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    if line.len() as u64 == MAX_LINE_BYTES && !line.ends_with(b"\n") {
        return Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("a line is longer than {} MiB", MAX_LINE_BYTES >> 20),
        ));
    }
    Ok(line)
}

/// Asks for a line; on standard error, so that standard output holds answers alone.
fn prompt() {
    let mut stderr = io::stderr();
    let _ = write!(stderr, "> ").and_then(|()| stderr.flush());
}

fn unreadable(source: io::Error) -> Error {
    Error::Read {
        name: "standard input".into(),
        source,
    }
}

fn new_session<'a>(plm: &'a PerceptionLM, system: Option<&str>) -> Session<'a> {
    match system {
        Some(text) => plm.session().with_system(text),
        None => plm.session(),
    }
}

/// Whether the chat goes on after a line.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Nothing,
    Question(&'a str),
    Image(PathBuf),
    Video(PathBuf),
    System(&'a str),
    Reset,
    Help,
    Quit,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Result<Self, Error> {
        let line = line.trim();
        if line.is_empty() {
            return Ok(Self::Nothing);
        }
        if !line.starts_with('/') {
            return Ok(Self::Question(line));
        }
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match (command, rest) {
            ("/image", "") => Err(Error::usage("/image needs the path of a picture")),
            ("/image", path) => Ok(Self::Image(path.into())),
            ("/video", "") => Err(Error::usage("/video needs the path of a video")),
            ("/video", path) => Ok(Self::Video(path.into())),
            ("/system", "") => Err(Error::usage("/system needs a text")),
            ("/system", text) => Ok(Self::System(text)),
            ("/reset", "") => Ok(Self::Reset),
            ("/help", "") => Ok(Self::Help),
            ("/quit", "") => Ok(Self::Quit),
            _ => Err(Error::usage(format!(
                "`{line}` is no command of the chat; /help lists them"
            ))),
        }
    }
}

struct Chat<'a> {
    plm: &'a PerceptionLM,
    session: Session<'a>,
    system: Option<String>,
    /// Where relative paths of pictures and videos start.
    media_root: PathBuf,
    /// Pictures and videos for the next question.
    media: Vec<Content>,
    decoding: Decoding,
}

impl Chat<'_> {
    fn take(&mut self, line: &[u8]) -> Result<Next, Error> {
        let line = std::str::from_utf8(line)
            .map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        match Line::parse(line)? {
            Line::Nothing => {}
            Line::Question(text) => self.ask(text)?,
            Line::Image(path) => self.media.extend(open_media(&[self.at(&path)], &[])?),
            Line::Video(path) => self.media.extend(open_media(&[], &[self.at(&path)])?),
            Line::System(text) => {
                self.system = Some(text.to_owned());
                let session = std::mem::replace(&mut self.session, self.plm.session());
                self.session = session.with_system(text);
            }
            Line::Reset => {
                self.media.clear();
                self.session = new_session(self.plm, self.system.as_deref());
            }
            Line::Help => output::note(HELP),
            Line::Quit => return Ok(Next::End),
        }
        Ok(Next::GoOn)
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.media_root.join(path)
    }

    /// Streams the answer to a question; after an error the question and its media are gone.
    fn ask(&mut self, text: &str) -> Result<(), Error> {
        let mut content = std::mem::take(&mut self.media);
        content.push(Content::from(text));
        let stream = self.session.stream(content, &self.decoding)?;
        let told = relay(stream, output::piece);
        if !matches!(told, Err(Error::Output(_))) {
            output::line("")?;
        }
        told
    }
}

/// Shows pieces up to the first error.
fn relay(
    pieces: impl Iterator<Item = Result<String, plm::Error>>,
    mut show: impl FnMut(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    for piece in pieces {
        show(&piece?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_questions_unless_they_begin_with_a_slash() {
        let parse = |line| Line::parse(line).unwrap();
        assert_eq!(parse(" \r\n"), Line::Nothing);
        assert_eq!(parse("Why 1/2?\n"), Line::Question("Why 1/2?"));
        assert_eq!(
            parse("/image my cat.png\n"),
            Line::Image("my cat.png".into())
        );
        assert_eq!(parse("/video a.mp4"), Line::Video("a.mp4".into()));
        assert_eq!(parse("/system  Be brief. \n"), Line::System("Be brief."));
        assert_eq!(parse("/reset"), Line::Reset);
        assert_eq!(parse("/help"), Line::Help);
        assert_eq!(parse("/quit\r\n"), Line::Quit);
    }

    #[test]
    fn lines_have_an_end() {
        let mut input = &b"one\ntwo"[..];
        let mut next = || read_line(&mut input).unwrap();
        assert_eq!([next(), next(), next()], [&b"one\n"[..], b"two", b""]);
        let error = read_line(&mut io::BufReader::new(io::repeat(b'a'))).unwrap_err();
        assert_eq!(error.to_string(), "a line is longer than 16 MiB");
    }

    #[test]
    fn nothing_is_asked_of_a_stream_after_its_error() {
        let mut asked = 0;
        let pieces = std::iter::from_fn(|| {
            asked += 1;
            Some(match asked {
                1 => Ok("a".to_owned()),
                _ => Err(plm::Error::Prompt { what: "no".into() }),
            })
        });
        let mut shown = String::new();
        let told = relay(pieces, |piece| {
            shown += piece;
            Ok(())
        });
        assert!(matches!(told, Err(Error::Model(_))));
        assert_eq!((asked, shown.as_str()), (2, "a"));
    }

    #[test]
    fn mistaken_commands_are_told() {
        for line in [
            "/image",
            "/video ",
            "/system \n",
            "/imagex.png",
            "/quit now",
            "/",
        ] {
            assert!(Line::parse(line).is_err(), "{line}");
        }
    }
}
