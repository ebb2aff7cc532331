//! How a camera was held, as EXIF or XMP data say it.

use image::metadata::Orientation;

/// How a picture has to be turned: as EXIF says, else as XMP says, else not at all.
///
/// Broken data is no reason to refuse a picture; the reference passes over it too.
pub(crate) fn orientation(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    let code = exif.and_then(of_exif).or_else(|| xmp.and_then(of_xmp));
    code.and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms)
}

/// The tag of the first directory of a TIFF structure, whatever kind of whole number it has.
fn of_exif(exif: &[u8]) -> Option<u8> {
    const ORIENTATION: u16 = 0x0112;
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let is_big = match exif.first_chunk()? {
        b"MM\0\x2A" => true,
        b"II\x2A\0" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = *exif.get(at..)?.first_chunk()?;
        Some(if is_big {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    };
    let u32_at = |at: usize| {
        let bytes = *exif.get(at..)?.first_chunk()?;
        Some(if is_big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    };
    let directory = u32_at(4)? as usize;
    let count = usize::from(u16_at(directory)?);
    let mut entries = (0..count).map(|index| directory + 2 + index * 12);
    let entry = entries.find(|&entry| u16_at(entry) == Some(ORIENTATION))?;
    // Two bytes with or without a sign, or four.
    let value = match u16_at(entry + 2)? {
        3 | 8 => u32::from(u16_at(entry + 8)?),
        4 | 9 => u32_at(entry + 8)?,
        _ => 0,
    };
    Some(u8::try_from(value).unwrap_or(0))
}

/// The digit behind `tiff:Orientation`, an attribute or an element.
fn of_xmp(xmp: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let values = xmp.windows(NAME.len()).enumerate();
    let mut values = values
        .filter(|(_, window)| *window == NAME)
        .filter_map(|(at, _)| {
            let rest = &xmp[at + NAME.len()..];
            let rest = rest.strip_prefix(b"=\"").or(rest.strip_prefix(b">"))?;
            let digit = rest.first().filter(|byte| byte.is_ascii_digit())?;
            Some(digit - b'0')
        });
    values.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TIFF structure with the tag as a value of some kind.
    fn exif(kind: u8, value: [u8; 4]) -> Vec<u8> {
        let mut exif = b"MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0".to_vec();
        exif.push(kind);
        exif.extend(b"\0\0\0\x01");
        exif.extend(value);
        exif
    }

    #[test]
    fn any_whole_number_says_how_to_turn() {
        for (kind, value) in [
            (3, [0, 6, 0, 0]),
            (8, [0, 6, 0, 0]),
            (4, [0, 0, 0, 6]),
            (9, [0, 0, 0, 6]),
        ] {
            let exif = exif(kind, value);
            assert_eq!(orientation(Some(&exif), None), Orientation::Rotate90);
        }
        let little = b"II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0";
        assert_eq!(orientation(Some(little), None), Orientation::Rotate180);
    }

    #[test]
    fn xmp_counts_where_exif_says_nothing() {
        for xmp in [
            &b"<x tiff:Orientation=\"6\"/>"[..],
            b"<tiff:Orientation>6</tiff:Orientation>",
        ] {
            assert_eq!(orientation(None, Some(xmp)), Orientation::Rotate90);
            let upright = exif(3, [0, 1, 0, 0]);
            assert_eq!(
                orientation(Some(&upright), Some(xmp)),
                Orientation::NoTransforms
            );
        }
    }

    #[test]
    fn broken_data_turns_nothing() {
        let whole = exif(3, [0, 9, 0, 0]);
        for end in 0..=whole.len() {
            let found = orientation(Some(&whole[..end]), Some(b"tiff:Orientation=6"));
            assert_eq!(found, Orientation::NoTransforms);
        }
    }
}
