//! Fetching the contents of one file, from where an earlier attempt stopped.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::answer::RemoteFile;
use super::cache::{self, RepoCache};
use super::checksum::Checksum;
use super::client::{Client, Contents};
use super::error::HubError;

/// How much is read between two writes.
const BUFFER_BYTES: usize = 256 << 10;
/// How much arrives between two reports.
const REPORT_BYTES: u64 = 1 << 20;

/// Told the bytes that are there and the bytes of the whole file.
type Report<'a> = &'a dyn Fn(u64, Option<u64>);

/// Brings `file` of `commit` into the cache, unless its contents are there already.
pub(super) fn fetch(
    client: &Client,
    cache: &RepoCache,
    commit: &str,
    file: &str,
    remote: &RemoteFile,
    report: Report<'_>,
) -> Result<(), HubError> {
    let blob = cache.blob(&remote.etag);
    if is_whole(&blob, remote.size) {
        return cache.link(commit, file, &remote.etag);
    }
    cache::make_parent(&blob)?;
    let _lock = cache.lock(&remote.etag)?;
    // Another process may have brought it while this one waited for the lock.
    if cache.has(commit, file) {
        return Ok(());
    }
    if is_whole(&blob, remote.size) {
        return cache.link(commit, file, &remote.etag);
    }
    let part = cache.incomplete(&remote.etag);
    Transfer {
        client,
        commit,
        file,
        remote,
        part: &part,
        report,
    }
    .run()?;
    fs::rename(&part, &blob).map_err(|source| HubError::io("write", &blob, source))?;
    cache.link_new(commit, file, &remote.etag)
}

fn is_whole(blob: &Path, size: Option<u64>) -> bool {
    fs::metadata(blob)
        .is_ok_and(|data| data.is_file() && size.is_none_or(|size| size == data.len()))
}

struct Transfer<'a> {
    client: &'a Client,
    commit: &'a str,
    file: &'a str,
    remote: &'a RemoteFile,
    part: &'a Path,
    report: Report<'a>,
}

impl Transfer<'_> {
    /// Completes the part and checks it.
    fn run(&self) -> Result<(), HubError> {
        let mut part = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(self.part)
            .map_err(|source| self.io(source))?;
        let resumed = self.complete(&mut part)?;
        if let Some(checksum) = &self.remote.checksum {
            self.check(checksum, &mut part, resumed)?;
        }
        part.sync_all().map_err(|source| self.io(source))
    }

    /// Fetches what is missing; true if some of it was there before.
    fn complete(&self, part: &mut File) -> Result<bool, HubError> {
        let mut have = part
            .seek(SeekFrom::End(0))
            .map_err(|source| self.io(source))?;
        if self.remote.size.is_some_and(|size| have > size) {
            self.restart(part)?;
            have = 0;
        }
        if self.remote.size == Some(have) {
            (self.report)(have, self.remote.size);
            return Ok(have > 0);
        }
        let contents = match self.client.get(self.commit, self.file, have)? {
            Some(contents) => contents,
            None => {
                self.restart(part)?;
                self.client.get(self.commit, self.file, 0)?.ok_or_else(|| {
                    self.client
                        .bad_response(self.commit, self.file, "it has no first byte")
                })?
            }
        };
        let resumed = contents.start > 0;
        if !resumed {
            self.restart(part)?;
        }
        self.receive(contents, part)?;
        Ok(resumed)
    }

    fn receive(&self, mut contents: Contents, part: &mut File) -> Result<(), HubError> {
        let mut have = contents.start;
        let expected = self.remote.size.or(contents.size);
        let mismatch = |received, expected| HubError::SizeMismatch {
            repo: self.client.repo().to_owned(),
            file: self.file.to_owned(),
            received,
            expected,
        };
        if let (Some(announced), Some(sent)) = (expected, contents.size)
            && announced != sent
        {
            return Err(mismatch(sent, announced));
        }
        (self.report)(have, expected);
        let mut reported = have;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = match contents.reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.cut_off(have, expected, error)),
            };
            part.write_all(&buffer[..read])
                .map_err(|source| self.io(source))?;
            have += read as u64;
            if let Some(expected) = expected.filter(|expected| have > *expected) {
                self.restart(part)?;
                return Err(mismatch(have, expected));
            }
            if have - reported >= REPORT_BYTES {
                reported = have;
                (self.report)(have, expected);
            }
        }
        if expected.is_some_and(|expected| have < expected) {
            return Err(self.cut_off(have, expected, io::ErrorKind::UnexpectedEof.into()));
        }
        if have != reported || have == 0 {
            (self.report)(have, expected);
        }
        Ok(())
    }

    /// The error for contents that ended early; what arrived stays for the next attempt.
    fn cut_off(&self, received: u64, expected: Option<u64>, error: io::Error) -> HubError {
        match expected {
            Some(expected) if error.kind() == io::ErrorKind::UnexpectedEof => HubError::Truncated {
                repo: self.client.repo().to_owned(),
                file: self.file.to_owned(),
                received,
                expected,
            },
            _ => self.client.broken(self.commit, self.file, error),
        }
    }

    /// Checks the whole part, and fetches it once more if what an earlier attempt left may be to
    /// blame.
    fn check(&self, checksum: &Checksum, part: &mut File, resumed: bool) -> Result<(), HubError> {
        let mut holds = checksum.holds(part).map_err(|source| self.io(source))?;
        if !holds && resumed {
            self.restart(part)?;
            self.complete(part)?;
            holds = checksum.holds(part).map_err(|source| self.io(source))?;
        }
        if holds {
            return Ok(());
        }
        self.restart(part)?;
        Err(HubError::Corrupt {
            repo: self.client.repo().to_owned(),
            file: self.file.to_owned(),
            expected: checksum.digits().to_owned(),
        })
    }

    fn restart(&self, part: &mut File) -> Result<(), HubError> {
        part.set_len(0)
            .and_then(|()| part.seek(SeekFrom::Start(0)))
            .map(drop)
            .map_err(|source| self.io(source))
    }

    fn io(&self, source: io::Error) -> HubError {
        HubError::io("write", self.part, source)
    }
}
