use std::io::{self, Write};

use serde::Serialize;

use crate::error::{Error, one_line};

/// Writes a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Error> {
    let mut line = serde_json::to_vec(value).map_err(io::Error::from)?;
    line.push(b'\n');
    write(&line)
}

/// Writes a text and a line break.
pub(crate) fn line(text: &str) -> Result<(), Error> {
    write(format!("{text}\n").as_bytes())
}

/// Writes a part of a text; it is seen at once.
pub(crate) fn piece(text: &str) -> Result<(), Error> {
    write(text.as_bytes())
}

fn write(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}

/// Tells of an error in one line on standard error.
pub(crate) fn complain(error: &Error) {
    note(&format!("error: {}", one_line(error)));
}

/// Tells something in one line on standard error.
pub(crate) fn note(text: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(io::stderr(), "{text}");
}
