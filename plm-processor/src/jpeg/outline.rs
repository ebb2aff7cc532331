//! Walks over the segments of a JPEG file before any of it is decoded.

use image::metadata::Orientation;

use super::JpegFault;
use crate::orientation::orientation;

/// How many scans a file may have.
///
/// The presets of libjpeg write up to 18, optimizers a few more. Every scan costs a pass over all
/// blocks, however few bytes it has, so that without a limit a small file could keep the decoder
/// busy for hours.
pub(super) const MAX_SCANS: usize = 100;

const START_OF_SCAN: u8 = 0xDA;
const END_OF_IMAGE: u8 = 0xD9;
const APP1: u8 = 0xE1;
const EXIF_HEADER: &[u8] = b"Exif\0\0";
const XMP_HEADER: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

/// What the segments of a complete file say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outline {
    /// The offset behind the end marker. What follows is not part of the picture.
    pub(super) end: usize,
    /// How the camera was held.
    pub(super) orientation: Orientation,
    /// The number of scans.
    pub(super) scans: usize,
}

impl Outline {
    /// Walks from marker to marker until the end of the image.
    ///
    /// libjpeg fills what is missing with grey; the reference refuses such files.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, JpegFault> {
        let mut offset = 2;
        let mut first_scan = None;
        let (mut exif, mut xmp): (Option<Vec<u8>>, _) = (None, None);
        loop {
            let marker = next_marker(bytes, &mut offset)?;
            match marker {
                END_OF_IMAGE => break,
                // These carry no length.
                0x01 | 0xD0..=0xD8 => continue,
                _ => {}
            }
            let data = segment(bytes, &mut offset)?;
            match marker {
                APP1 if first_scan.is_none() => {
                    if let Some(part) = data.strip_prefix(EXIF_HEADER) {
                        // What does not fit into one segment goes on in the next.
                        exif.get_or_insert_default().extend(part);
                    } else if let Some(packet) = data.strip_prefix(XMP_HEADER) {
                        xmp = Some(packet);
                    }
                }
                START_OF_SCAN => {
                    first_scan.get_or_insert(offset - data.len());
                    skip_entropy_coded(bytes, &mut offset)?;
                }
                _ => {}
            }
        }
        let scans = match first_scan {
            Some(first) => 1 + further_scans(&bytes[first..offset])?,
            None => 0,
        };
        Ok(Self {
            end: offset,
            orientation: orientation(exif.as_deref(), xmp),
            scans,
        })
    }
}

/// Steps over anything that is no marker, as libjpeg does.
fn next_marker(bytes: &[u8], offset: &mut usize) -> Result<u8, JpegFault> {
    loop {
        let rest = bytes.get(*offset..).ok_or(JpegFault::Truncated)?;
        let stray = rest.iter().position(|byte| *byte == 0xFF);
        *offset += stray.ok_or(JpegFault::Truncated)?;
        // Any number of fill bytes may stand before the marker's code.
        while bytes.get(*offset) == Some(&0xFF) {
            *offset += 1;
        }
        let code = *bytes.get(*offset).ok_or(JpegFault::Truncated)?;
        *offset += 1;
        // A stuffed zero has a meaning within a scan only.
        if code != 0 {
            return Ok(code);
        }
    }
}

/// The data of a segment. Its length counts the two bytes of the length itself.
fn segment<'a>(bytes: &'a [u8], offset: &mut usize) -> Result<&'a [u8], JpegFault> {
    let start = *offset;
    let length = bytes.get(start..start + 2).ok_or(JpegFault::Truncated)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length < 2 {
        return Err(JpegFault::SegmentLength {
            offset: start,
            length,
        });
    }
    *offset += length;
    bytes
        .get(start + 2..start + length)
        .ok_or(JpegFault::Truncated)
}

/// Leaves `offset` on the marker that ends the scan.
fn skip_entropy_coded(bytes: &[u8], offset: &mut usize) -> Result<(), JpegFault> {
    loop {
        match bytes.get(*offset..*offset + 2) {
            None => return Err(JpegFault::Truncated),
            // A stuffed zero, a restart marker or fill: still inside the scan.
            Some([0xFF, 0x00 | 0xD0..=0xD7]) => *offset += 2,
            Some([0xFF, 0xFF]) => *offset += 1,
            Some([0xFF, _]) => return Ok(()),
            Some(_) => *offset += 1,
        }
    }
}

/// Counts the marker wherever it stands behind the first scan: where a scan is damaged, libjpeg
/// looks for the next marker on its own and could find some that this walk steps over.
fn further_scans(behind_first: &[u8]) -> Result<usize, JpegFault> {
    let further = behind_first
        .windows(2)
        .filter(|pair| pair == &[0xFF, START_OF_SCAN])
        .take(MAX_SCANS)
        .count();
    if further >= MAX_SCANS {
        return Err(JpegFault::TooManyScans { max: MAX_SCANS });
    }
    Ok(further)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = &[
        0xFF, 0xD8, 0xFF, 0xE0, 0, 3, 7, 0xFF, 0xFF, 0xDA, 0, 2, 1, 0xFF, 0, 2, 0xFF, 0xD3, 3,
        0xFF, 0xD9,
    ];

    /// An orientation tag in a big-endian TIFF header.
    fn exif(orientation: u8) -> Vec<u8> {
        let mut segment = vec![0xFF, APP1, 0, 34];
        segment.extend(b"Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0");
        segment.extend([orientation, 0, 0, 0, 0, 0, 0]);
        segment
    }

    #[test]
    fn a_file_with_its_end_marker_is_complete() {
        let outline = Outline::read(WHOLE).unwrap();
        assert_eq!(
            (outline.end, outline.orientation),
            (WHOLE.len(), Orientation::NoTransforms)
        );
    }

    #[test]
    fn what_follows_the_end_marker_is_not_looked_at() {
        let longer = [WHOLE, &[0xFF, 0xDA].repeat(MAX_SCANS + 1)].concat();
        assert_eq!(Outline::read(&longer).unwrap().end, WHOLE.len());
    }

    #[test]
    fn every_prefix_is_incomplete() {
        for end in 0..WHOLE.len() {
            assert_eq!(
                Outline::read(&WHOLE[..end]),
                Err(JpegFault::Truncated),
                "{end}"
            );
        }
    }

    #[test]
    fn bytes_between_segments_are_stepped_over() {
        for stray in [&[0x42, 0][..], &[0xFF, 0], &[0xFF, 0xFF, 0, 0x42]] {
            let file = [&WHOLE[..2], stray, &WHOLE[2..]].concat();
            let outline = Outline::read(&file).unwrap();
            assert_eq!((outline.end, outline.scans), (file.len(), 1), "{stray:?}");
        }
        assert_eq!(
            Outline::read(&[0xFF, 0xD8, 0x42]),
            Err(JpegFault::Truncated)
        );
    }

    #[test]
    fn a_segment_shorter_than_its_length_field_is_refused() {
        let fault = Outline::read(&[0xFF, 0xD8, 0xFF, 0xE0, 0, 1, 0, 0]).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "the segment at byte 4 has the length 1, but 2 is the least"
        );
    }

    #[test]
    fn the_first_exif_segment_says_how_the_camera_was_held() {
        let file = [&WHOLE[..2], &exif(6), &exif(3), &WHOLE[2..]].concat();
        let outline = Outline::read(&file).unwrap();
        assert_eq!(outline.orientation, Orientation::Rotate90);
        let broken = [&WHOLE[..2], &exif(9), &WHOLE[2..]].concat();
        assert_eq!(
            Outline::read(&broken).unwrap().orientation,
            Orientation::NoTransforms
        );
    }

    #[test]
    fn exif_data_may_go_on_in_the_next_segment() {
        let segment = exif(6);
        // The directory is cut between the tag's number and its value.
        let (head, tail) = segment[4..].split_at(22);
        let part = |data: &[u8]| {
            let length = [0xFF, APP1, 0, data.len() as u8 + 2];
            [&length[..], data].concat()
        };
        let rest = [EXIF_HEADER, tail].concat();
        let file = [&WHOLE[..2], &part(head), &part(&rest), &WHOLE[2..]].concat();
        let outline = Outline::read(&file).unwrap();
        assert_eq!(outline.orientation, Orientation::Rotate90);
    }

    #[test]
    fn xmp_data_count_where_exif_data_say_nothing() {
        let packet = [XMP_HEADER, b"<x tiff:Orientation=\"8\"/>"].concat();
        let length = [0xFF, APP1, 0, packet.len() as u8 + 2];
        let xmp = [&length[..], &packet].concat();
        let file = [&WHOLE[..2], &xmp, &WHOLE[2..]].concat();
        let outline = Outline::read(&file).unwrap();
        assert_eq!(outline.orientation, Orientation::Rotate270);
        let both = [&WHOLE[..2], &xmp, &exif(6), &WHOLE[2..]].concat();
        let outline = Outline::read(&both).unwrap();
        assert_eq!(outline.orientation, Orientation::Rotate90);
    }

    #[test]
    fn the_scans_are_counted() {
        let with_scans = |count: usize| {
            let scans = [0xFF, START_OF_SCAN, 0, 2, 1].repeat(count);
            [&WHOLE[..2], &scans, &[0xFF, END_OF_IMAGE]].concat()
        };
        let outline = Outline::read(&with_scans(MAX_SCANS)).unwrap();
        assert_eq!(outline.scans, MAX_SCANS);
        assert_eq!(
            Outline::read(&with_scans(MAX_SCANS + 1)),
            Err(JpegFault::TooManyScans { max: MAX_SCANS })
        );
    }
}
