//! The checksum that an entity tag is, and whether contents have it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// How much is read at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// A checksum in lower-case hexadecimal digits.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    /// Of the contents; the hub announces it for large files.
    Sha256(String),
    /// Of the contents as a git object, as the hub announces it for small files, or of the contents
    /// alone, as some mirrors do.
    Sha1(String),
}

impl Checksum {
    /// The checksum that `etag` is; `linked` if it came in the hub's own header, for
    /// the `ETag` of other hosts may have as many digits.
    pub(super) fn of_etag(etag: &str, linked: bool) -> Option<Self> {
        let digits = etag.to_ascii_lowercase();
        match digits.len() {
            _ if !digits.bytes().all(|b| b.is_ascii_hexdigit()) => None,
            64 if linked => Some(Self::Sha256(digits)),
            40 => Some(Self::Sha1(digits)),
            _ => None,
        }
    }

    /// The digits that the hub announced.
    pub(super) fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::Sha1(digits) => digits,
        }
    }

    /// Whether the whole of `contents` has this checksum.
    pub(super) fn holds(&self, contents: &mut File) -> io::Result<bool> {
        match self {
            Self::Sha256(digits) => Ok(sum(Sha256::new(), contents)? == *digits),
            Self::Sha1(digits) => {
                let header = format!("blob {}\0", contents.metadata()?.len());
                Ok(sum(Sha1::new().chain_update(header), contents)? == *digits
                    || sum(Sha1::new(), contents)? == *digits)
            }
        }
    }
}

fn sum(mut sum: impl Digest, contents: &mut File) -> io::Result<String> {
    contents.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match contents.read(&mut buffer)? {
            0 => break,
            read => sum.update(&buffer[..read]),
        }
    }
    let digits = sum.finalize();
    Ok(digits.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn hello() -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello\n").unwrap();
        file
    }

    #[test]
    fn a_small_file_has_the_name_that_git_gives_it() {
        // Printed by `echo hello | git hash-object --stdin` and by `echo hello | sha1sum`.
        for tag in [
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "F572D396FAE9206628714FB2CE00F72E94F2258F",
        ] {
            let checksum = Checksum::of_etag(tag, false).unwrap();
            assert!(checksum.holds(&mut hello()).unwrap(), "{tag}");
        }
        let other = Checksum::of_etag(&"0".repeat(40), false).unwrap();
        assert!(!other.holds(&mut hello()).unwrap());
    }

    #[test]
    fn only_a_tag_that_is_a_checksum_is_one() {
        let (sha1, sha256) = ("a".repeat(40), "a".repeat(64));
        assert_eq!(
            Checksum::of_etag(&sha256, true),
            Some(Checksum::Sha256(sha256.clone()))
        );
        assert_eq!(Checksum::of_etag(&sha256, false), None);
        for linked in [false, true] {
            assert_eq!(
                Checksum::of_etag(&sha1, linked),
                Some(Checksum::Sha1(sha1.clone()))
            );
        }
        assert_eq!(Checksum::of_etag(&"g".repeat(40), false), None);
        assert_eq!(Checksum::of_etag("5f3-6100", false), None);
    }
}
