//! What kind of file a video is, from its first bytes.

use std::io::{self, Read, Seek};

/// Four letters that name a box or a codec.
pub(super) type Kind = [u8; 4];

/// Bytes that are looked at.
const HEAD_BYTES: u64 = 1 << 16;

/// A kind of video file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// MP4, QuickTime and their relatives.
    IsoMedia,
    Gif,
    /// A container that is known but not read, with its codec if that is easily told.
    Other(String),
    Unknown,
}

impl FileKind {
    /// Looks at the beginning of a file and rewinds it.
    pub(super) fn of(file: &mut (impl Read + Seek)) -> io::Result<Self> {
        let mut head = Vec::new();
        file.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
        file.rewind()?;
        Ok(Self::of_bytes(&head))
    }

    fn of_bytes(head: &[u8]) -> Self {
        if let Some(kind) = head.get(4..8)
            && matches!(
                kind,
                b"ftyp" | b"moov" | b"mdat" | b"wide" | b"free" | b"skip" | b"pnot"
            )
        {
            return Self::IsoMedia;
        }
        if head.starts_with(b"GIF8") {
            return Self::Gif;
        }
        let other = |container: &str, codec: Option<String>| {
            Self::Other(match codec {
                Some(codec) => format!("{codec} in {container}"),
                None => format!("a video in {container}"),
            })
        };
        match head {
            [0x1A, 0x45, 0xDF, 0xA3, ..] => other("WebM or Matroska", matroska_codec(head)),
            [b'R', b'I', b'F', b'F', ..] if head.get(8..12) == Some(b"AVI ") => {
                other("AVI", avi_codec(head))
            }
            [b'F', b'L', b'V', ..] => other("Flash Video", None),
            [b'O', b'g', b'g', b'S', ..] => other("Ogg", None),
            [0x30, 0x26, 0xB2, 0x75, ..] => other("Windows Media", None),
            [0, 0, 1, 0xBA | 0xB3, ..] => other("an MPEG program stream", None),
            [0, 0, 0, 1, ..] | [0, 0, 1, 0x67, ..] => other("a raw stream without container", None),
            [0x47, ..] if head.get(188) == Some(&0x47) => other("an MPEG transport stream", None),
            _ => Self::Unknown,
        }
    }
}

/// The first video codec that a Matroska header names, such as `V_VP9`.
fn matroska_codec(head: &[u8]) -> Option<String> {
    let at = head.windows(2).position(|pair| pair == b"V_")?;
    let name: String = head[at + 2..]
        .iter()
        .map(|&byte| char::from(byte))
        .take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || "/_".contains(*c))
        .collect();
    Some(match name.as_str() {
        "MPEGH/ISO/HEVC" => "HEVC".to_owned(),
        "MPEG4/ISO/AVC" => "H.264".to_owned(),
        "" => return None,
        _ => name,
    })
}

/// The codec of an AVI file's first video stream.
fn avi_codec(head: &[u8]) -> Option<String> {
    let at = head.windows(4).position(|four| four == b"vids")?;
    let kind: Kind = *head.get(at + 4..)?.first_chunk()?;
    Some(codec(kind))
}

/// A codec's name by its four letters.
pub(super) fn codec(kind: Kind) -> String {
    match &kind {
        b"avc1" | b"avc3" | b"H264" | b"h264" => "H.264",
        b"hvc1" | b"hev1" => "HEVC",
        b"vp08" => "VP8",
        b"vp09" => "VP9",
        b"av01" => "AV1",
        b"mp4v" => "MPEG-4 part 2",
        b"apcn" | b"apch" | b"apcs" | b"apco" | b"ap4h" | b"ap4x" => "ProRes",
        b"encv" => "encrypted video",
        b"MJPG" | b"jpeg" | b"mjpa" | b"mjpb" => "Motion JPEG",
        other => return format!("codec `{}`", other.escape_ascii()),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_and_codecs_are_named() {
        let webm = b"\x1A\x45\xDF\xA3....\x86\x85V_VP9\x83";
        let hevc = b"\x1A\x45\xDF\xA3....V_MPEGH/ISO/HEVC\0";
        let avi = b"RIFF....AVI LIST....strh....vidsMJPG";
        for (bytes, expected) in [
            (&webm[..], "VP9 in WebM or Matroska"),
            (hevc, "HEVC in WebM or Matroska"),
            (avi, "Motion JPEG in AVI"),
            (b"FLV\x01", "a video in Flash Video"),
        ] {
            assert_eq!(
                FileKind::of_bytes(bytes),
                FileKind::Other(expected.to_owned())
            );
        }
        assert_eq!(
            FileKind::of_bytes(b"\0\0\0\x18ftypisom"),
            FileKind::IsoMedia
        );
        assert_eq!(FileKind::of_bytes(b"GIF89a"), FileKind::Gif);
        assert_eq!(FileKind::of_bytes(b""), FileKind::Unknown);
        assert_eq!(FileKind::of_bytes(b"hello, world"), FileKind::Unknown);
    }
}
