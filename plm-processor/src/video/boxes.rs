//! Boxes of an MP4 or QuickTime file, and the numbers in them.
//!
//! Every size that a file claims is checked against the bytes that are there.

use super::container::ContainerFault;
use super::kind::Kind;

/// A box: its name and what it holds.
pub(super) type Named<'a> = (Kind, &'a [u8]);

/// The boxes that stand side by side in some bytes.
pub(super) fn boxes(bytes: &[u8]) -> impl Iterator<Item = Result<Named<'_>, ContainerFault>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        // QuickTime ends lists with four zero bytes.
        if rest.len() < 8 {
            return None;
        }
        let next = next_box(&mut rest);
        if next.is_err() {
            rest = &[];
        }
        Some(next)
    })
}

fn next_box<'a>(rest: &mut &'a [u8]) -> Result<Named<'a>, ContainerFault> {
    let whole = *rest;
    let mut fields = Fields::new(*b"    ", whole);
    let size = u64::from(fields.u32()?);
    let kind = fields.kind()?;
    fields.of = kind;
    let size = match size {
        // The box reaches to the end.
        0 => whole.len() as u64,
        1 => fields.u64()?,
        size => size,
    };
    let header = whole.len() - fields.left.len();
    let end = usize::try_from(size).unwrap_or(usize::MAX);
    let body = whole.get(header..end).ok_or(ContainerFault::cut(kind))?;
    *rest = &whole[end..];
    Ok((kind, body))
}

/// The first box of a name, if there is one.
pub(super) fn find(bytes: &[u8], kind: Kind) -> Result<Option<&[u8]>, ContainerFault> {
    for found in boxes(bytes) {
        let (found, body) = found?;
        if found == kind {
            return Ok(Some(body));
        }
    }
    Ok(None)
}

/// The first box of a name, which must be there.
pub(super) fn need(bytes: &[u8], kind: Kind) -> Result<&[u8], ContainerFault> {
    find(bytes, kind)?.ok_or_else(|| ContainerFault::Missing { kind: name(kind) })
}

/// A name for messages.
pub(super) fn name(kind: Kind) -> String {
    kind.escape_ascii().to_string()
}

/// Big-endian numbers of a box, one after another.
pub(super) struct Fields<'a> {
    of: Kind,
    left: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(of: Kind, bytes: &'a [u8]) -> Self {
        Self { of, left: bytes }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ContainerFault> {
        let (taken, left) = self
            .left
            .split_first_chunk()
            .ok_or(ContainerFault::cut(self.of))?;
        self.left = left;
        Ok(*taken)
    }

    pub(super) fn skip(&mut self, count: usize) -> Result<(), ContainerFault> {
        self.left = self.left.get(count..).ok_or(ContainerFault::cut(self.of))?;
        Ok(())
    }

    pub(super) fn u32(&mut self) -> Result<u32, ContainerFault> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, ContainerFault> {
        self.take().map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, ContainerFault> {
        self.take().map(u64::from_be_bytes)
    }

    pub(super) fn kind(&mut self) -> Result<Kind, ContainerFault> {
        self.take()
    }

    /// The version of a box with a version, and its flags.
    pub(super) fn version_and_flags(&mut self) -> Result<(u8, u32), ContainerFault> {
        let word = self.u32()?;
        Ok(((word >> 24) as u8, word & 0x00FF_FFFF))
    }

    /// What is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.left
    }
}

/// The entries of a table of `WORDS` 32-bit numbers each, behind version, flags and a count.
pub(super) fn table<const WORDS: usize>(
    kind: Kind,
    body: &[u8],
) -> Result<impl Iterator<Item = [u32; WORDS]> + '_, ContainerFault> {
    let mut fields = Fields::new(kind, body);
    fields.version_and_flags()?;
    let count = fields.u32()?;
    entries(kind, fields.rest(), count)
}

/// `count` entries of `WORDS` 32-bit numbers each.
pub(super) fn entries<const WORDS: usize>(
    kind: Kind,
    bytes: &[u8],
    count: u32,
) -> Result<impl Iterator<Item = [u32; WORDS]> + '_, ContainerFault> {
    let size = (count as usize).checked_mul(4 * WORDS);
    let bytes = size
        .and_then(|size| bytes.get(..size))
        .ok_or(ContainerFault::cut(kind))?;
    Ok(bytes.chunks_exact(4 * WORDS).map(|entry| {
        let mut words = entry.as_chunks::<4>().0.iter();
        std::array::from_fn(|_| words.next().map_or(0, |word| u32::from_be_bytes(*word)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_stand_side_by_side() {
        let bytes = b"\0\0\0\x09abcd!\0\0\0\x01long\0\0\0\0\0\0\0\x12hi\0\0\0\0last...";
        let found: Vec<Named<'_>> = boxes(bytes).map(Result::unwrap).collect();
        let expected: [Named<'_>; 3] = [(*b"abcd", b"!"), (*b"long", b"hi"), (*b"last", b"...")];
        assert_eq!(found, expected);
        assert_eq!(find(bytes, *b"long").unwrap(), Some(&b"hi"[..]));
        assert!(find(bytes, *b"none").unwrap().is_none());
    }

    #[test]
    fn sizes_that_lie_are_faults() {
        for bytes in [
            &b"\0\0\0\x0Aabcd!"[..],
            b"\0\0\0\x07abcd",
            b"\0\0\0\x01abcd\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
            b"\0\0\0\x01abcd\0\0\0\0\0\0\0\x02",
        ] {
            let found: Result<Vec<_>, _> = boxes(bytes).collect();
            assert_eq!(
                found.unwrap_err().to_string(),
                "its box `abcd` is cut short or lies about its size"
            );
        }
    }

    #[test]
    fn tables_end_where_their_box_ends() {
        let body = b"\0\0\0\0\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04";
        let rows: Vec<[u32; 2]> = table(*b"stts", body).unwrap().collect();
        assert_eq!(rows, [[1, 2], [3, 4]]);
        assert!(table::<2>(*b"stts", &body[..20]).is_err());
        assert!(table::<3>(*b"stts", b"\0\0\0\0\xFF\xFF\xFF\xFF").is_err());
    }
}
