//! JPEG files, decoded with libjpeg's arithmetic.
//!
//! The reference decodes with libjpeg-turbo. Other decoders round elsewhere and come out up to
//! four levels off, which the logits show; libjpeg's own code is equal to the last bit.

mod outline;

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use mozjpeg::{ColorSpace, DctMethod, Decompress};

use crate::image::samples::cmyk_to_rgb;
use outline::Outline;

/// How many pixels all scans of a file may have together.
///
/// Every scan costs a pass over all blocks, about a nanosecond a pixel. The limit admits 18 scans,
/// as many as the presets of libjpeg write, of the largest picture that the default
/// [`DecodeLimits`](crate::DecodeLimits) admit.
const MAX_SCANNED_PIXELS: u64 = 18 * 128_000_000;

/// What is wrong with a JPEG file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JpegFault {
    /// The file ends before its end marker.
    #[error("the file is cut short")]
    Truncated,
    /// A segment claims to be shorter than the field that says so.
    #[error("the segment at byte {offset} has the length {length}, but 2 is the least")]
    SegmentLength {
        /// Where.
        offset: usize,
        /// The length found.
        length: usize,
    },
    /// Decoding would take a pass over the picture for each of very many scans.
    #[error("the file has more than {max} scans; save it again with fewer")]
    TooManyScans {
        /// The limit.
        max: usize,
    },
    /// Decoding would take too many passes over too large a picture.
    #[error(
        "{scans} scans of {width}x{height} pixels are too much work; save the file again with fewer scans, or as baseline"
    )]
    TooMuchWork {
        /// The scans of the file.
        scans: usize,
        /// Announced width.
        width: u32,
        /// Announced height.
        height: u32,
    },
    /// The number of components belongs to no colour space.
    #[error("{count} components are neither grey, RGB nor CMYK; convert the file to one of these")]
    Components {
        /// The number found.
        count: usize,
    },
    /// The file breaks a rule of the format, or uses a part of it that libjpeg does not read.
    #[error("libjpeg says: {message}")]
    Refused {
        /// What libjpeg said.
        message: String,
    },
}

/// A JPEG file whose header has been read.
pub(crate) struct JpegDecoder<'a> {
    decompress: Decompress<&'a [u8]>,
    orientation: Orientation,
    scans: usize,
}

impl<'a> JpegDecoder<'a> {
    /// Reads the header; memory for pixels is not taken yet.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, JpegFault> {
        let outline = Outline::read(bytes)?;
        let decompress = caught(|| {
            let mut decompress = Decompress::new_mem(&bytes[..outline.end])?;
            // The defaults of libjpeg, and what the reference uses.
            decompress.dct_method(DctMethod::IntegerSlow);
            decompress.do_fancy_upsampling(true);
            Ok(decompress)
        })?;
        Ok(Self {
            decompress,
            orientation: outline.orientation,
            scans: outline.scans,
        })
    }

    /// Width and height in pixels, as stored.
    pub(crate) fn size_wh(&self) -> (u32, u32) {
        // The fields of a header have 16 bits.
        (
            self.decompress.width() as u32,
            self.decompress.height() as u32,
        )
    }

    /// How the picture has to be turned.
    pub(crate) fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// The pixels as stored: `[height, width, 3]`.
    pub(crate) fn into_rgb8(self) -> Result<Vec<u8>, JpegFault> {
        let (width, height) = self.size_wh();
        let pixels = u64::from(width) * u64::from(height);
        // A single scan is bounded by the limits for the picture alone.
        if self.scans > 1 && pixels.saturating_mul(self.scans as u64) > MAX_SCANNED_PIXELS {
            return Err(JpegFault::TooMuchWork {
                scans: self.scans,
                width,
                height,
            });
        }
        let decompress = self.decompress;
        match decompress.color_space() {
            ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK => caught(|| read_cmyk(decompress)),
            ColorSpace::JCS_UNKNOWN => Err(JpegFault::Components {
                count: decompress.components().len(),
            }),
            _ => caught(|| {
                let mut started = decompress.rgb()?;
                let rgb = started.read_scanlines()?;
                started.finish()?;
                Ok(rgb)
            }),
        }
    }
}

/// Reads rows of CMYK and turns each into RGB.
fn read_cmyk(decompress: Decompress<&[u8]>) -> std::io::Result<Vec<u8>> {
    let (width, height) = decompress.size();
    let mut started = decompress.to_colorspace(ColorSpace::JCS_CMYK)?;
    let mut row = vec![[0; 4]; width];
    let mut rgb = Vec::with_capacity(width * height * 3);
    for _ in 0..height {
        started.read_scanlines_into(&mut row)?;
        rgb.extend(row.iter().copied().flat_map(inverted_cmyk_to_rgb));
    }
    started.finish()?;
    Ok(rgb)
}

/// Files hold CMYK inverted, as Adobe began to write it: 255 is no ink. The reference takes that
/// for granted, whether the file says so or not.
fn inverted_cmyk_to_rgb(cmyk: [u8; 4]) -> [u8; 3] {
    cmyk_to_rgb(cmyk.map(|light| 255 - light))
}

/// libjpeg leaves its code by unwinding with a message where it cannot go on.
fn caught<T>(decode: impl FnOnce() -> std::io::Result<T>) -> Result<T, JpegFault> {
    // What the closure held is gone after it unwound, so nothing half done can be seen.
    let message = match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(payload) => match payload.downcast::<String>() {
            Ok(message) => message
                .strip_prefix("libjpeg fatal error: ")
                .unwrap_or(&message)
                .to_owned(),
            Err(_) => "the file cannot be decoded".to_owned(),
        },
    };
    Err(JpegFault::Refused { message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_and_black_survive_the_way_through_cmyk() {
        assert_eq!(inverted_cmyk_to_rgb([255; 4]), [255; 3]);
        assert_eq!(inverted_cmyk_to_rgb([255, 255, 255, 0]), [0; 3]);
        assert_eq!(inverted_cmyk_to_rgb([0, 255, 128, 255]), [0, 255, 128]);
    }

    #[test]
    fn a_message_of_libjpeg_loses_its_prefix() {
        let fault = caught::<()>(|| {
            std::panic::resume_unwind(Box::new("libjpeg fatal error: Bogus".to_owned()))
        });
        assert_eq!(fault.unwrap_err().to_string(), "libjpeg says: Bogus");
    }
}
