//! A decoded picture: 8-bit RGB, upright.

mod bmp;
mod gif;
mod png;
pub(crate) mod samples;
mod tiff;

use std::fmt;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use ::image::codecs::png::PngEncoder;
use ::image::metadata::Orientation;
use ::image::{
    ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat,
    ImageReader, RgbImage,
};

use crate::error::{Error, Result};
use crate::jpeg::JpegDecoder;
use crate::orientation::orientation;

/// The formats that [`Image`] reads, for messages.
pub const SUPPORTED_FORMATS: &str = "PNG, JPEG, WebP, BMP, GIF (first frame) and TIFF";

/// How large a picture may be before it is refused.
///
/// The announced size is checked before any memory is taken for pixels, so that a small file
/// cannot ask for gigabytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Longest side in pixels.
    pub max_side: u32,
    /// Largest area in pixels.
    pub max_pixels: u64,
    /// Longest file in bytes.
    pub max_bytes: u64,
}

impl Default for DecodeLimits {
    /// 65 535 pixels a side, 128 million pixels, files up to 1 GiB.
    fn default() -> Self {
        Self {
            max_side: 65_535,
            max_pixels: 128_000_000,
            max_bytes: 1 << 30,
        }
    }
}

/// A picture as the model sees it: 8-bit RGB, rows from the top, EXIF orientation applied.
///
/// Alpha is dropped (the colour under it shows), grey is replicated, of 16-bit samples the high
/// byte is kept. JPEG files are decoded with libjpeg's arithmetic, so that their pixels too equal
/// the reference's. Cloning is cheap: clones share the pixels.
#[derive(Clone)]
pub struct Image {
    width: u32,
    height: u32,
    rgb: Arc<Vec<u8>>,
    /// How it was turned after decoding.
    turned: Orientation,
}

/// Pictures are equal if their pixels are, however they came to stand.
impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        self.size_wh() == other.size_wh() && self.rgb == other.rgb
    }
}

impl Eq for Image {}

impl Image {
    /// Reads a picture file; the format is told from its first bytes, not from its name.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::UnknownImageFormat`], [`Error::DecodeImage`],
    /// [`Error::ImageTooLarge`] and [`Error::ImageFileTooLong`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &DecodeLimits::default())
    }

    /// Reads a picture file within the given limits.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open_with(path: impl AsRef<Path>, limits: &DecodeLimits) -> Result<Self> {
        let path = path.as_ref();
        let read = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        File::open(path)
            .map_err(read)?
            .take(limits.max_bytes.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(read)?;
        decode(&bytes, &path.display().to_string(), limits)
    }

    /// Decodes a picture file held in memory.
    ///
    /// # Errors
    /// As [`Image::open`], without [`Error::Read`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::from_bytes_with(bytes, &DecodeLimits::default())
    }

    /// Decodes a picture file held in memory, within the given limits.
    ///
    /// # Errors
    /// As [`Image::from_bytes`].
    pub fn from_bytes_with(bytes: &[u8], limits: &DecodeLimits) -> Result<Self> {
        decode(bytes, "the picture in memory", limits)
    }

    /// Takes RGB pixels, rows from the top, three bytes a pixel.
    ///
    /// # Errors
    /// [`Error::PixelBuffer`] unless `rgb` holds `width * height * 3` bytes and there is a pixel.
    pub fn from_rgb8(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self> {
        let expected = (u64::from(width) * u64::from(height)).saturating_mul(3);
        if expected == 0 || rgb.len() as u64 != expected {
            return Err(Error::PixelBuffer {
                width,
                height,
                expected,
                actual: rgb.len(),
            });
        }
        Ok(Self {
            width,
            height,
            rgb: Arc::new(rgb),
            turned: Orientation::NoTransforms,
        })
    }

    /// Takes RGB pixels as they are stored, and turns them as the file says.
    pub(crate) fn upright(
        width: u32,
        height: u32,
        rgb: Vec<u8>,
        orientation: Orientation,
    ) -> Result<Self> {
        let mut image = Self::from_rgb8(width, height, rgb)?.turn(orientation);
        image.turned = orientation;
        Ok(image)
    }

    /// The picture as its file stores it, before EXIF orientation was applied.
    pub(crate) fn as_stored(&self) -> Self {
        use Orientation::{Rotate90, Rotate270};
        self.clone().turn(match self.turned {
            Rotate90 => Rotate270,
            Rotate270 => Rotate90,
            // Half turns and mirrorings undo themselves.
            other => other,
        })
    }

    /// Width and height of the picture as its file stores it.
    pub(crate) fn stored_size_wh(&self) -> (u32, u32) {
        match swaps_sides(self.turned) {
            true => (self.height, self.width),
            false => self.size_wh(),
        }
    }

    fn turn(self, orientation: Orientation) -> Self {
        if orientation == Orientation::NoTransforms {
            return self;
        }
        let Some(buffer) = RgbImage::from_raw(self.width, self.height, self.into_rgb()) else {
            unreachable!("the length of the buffer has been checked");
        };
        let mut picture = DynamicImage::ImageRgb8(buffer);
        picture.apply_orientation(orientation);
        Self {
            width: picture.width(),
            height: picture.height(),
            rgb: Arc::new(picture.into_bytes()),
            turned: Orientation::NoTransforms,
        }
    }

    /// Another picture of this size.
    pub(crate) fn with_rgb(&self, rgb: Vec<u8>) -> Self {
        debug_assert_eq!(rgb.len(), self.rgb.len());
        Self {
            rgb: Arc::new(rgb),
            ..*self
        }
    }

    fn into_rgb(self) -> Vec<u8> {
        Arc::unwrap_or_clone(self.rgb)
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    /// [`Error::EncodeImage`] for a picture whose file PNG cannot hold.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let mut file = Vec::new();
        let encoder = PngEncoder::new(&mut file);
        encoder
            .write_image(&self.rgb, self.width, self.height, ExtendedColorType::Rgb8)
            .map_err(|error| Error::EncodeImage {
                width: self.width,
                height: self.height,
                source: Box::new(error),
            })?;
        Ok(file)
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Width and height in pixels.
    #[must_use]
    pub fn size_wh(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// The pixels: `[height, width, 3]`.
    #[must_use]
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({}x{})", self.width, self.height)
    }
}

fn decode(bytes: &[u8], name: &str, limits: &DecodeLimits) -> Result<Image> {
    if bytes.len() as u64 > limits.max_bytes {
        return Err(Error::ImageFileTooLong {
            name: name.to_owned(),
            max_bytes: limits.max_bytes,
        });
    }
    let unknown = || Error::UnknownImageFormat {
        name: name.to_owned(),
        supported: SUPPORTED_FORMATS,
    };
    let format = guessed_format(bytes).ok_or_else(unknown)?;
    let source = Source {
        bytes,
        name,
        format: format_name(format).ok_or_else(unknown)?,
        limits,
    };
    match format {
        ImageFormat::Jpeg => decode_jpeg(&source),
        ImageFormat::Png => png::decode(&source),
        ImageFormat::Gif => gif::decode(&source),
        ImageFormat::Tiff => tiff::decode(&source),
        _ => decode_other(&source, format),
    }
}

/// A picture file before it is decoded.
struct Source<'a> {
    bytes: &'a [u8],
    name: &'a str,
    format: &'static str,
    limits: &'a DecodeLimits,
}

impl Source<'_> {
    fn failed(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::DecodeImage {
            name: self.name.to_owned(),
            format: self.format,
            source: source.into(),
        }
    }

    /// Refuses a picture without pixels, and one that is larger than the limits allow.
    fn check_size(&self, width: u32, height: u32) -> Result<()> {
        if width == 0 || height == 0 {
            return Err(self.failed(format!("it is {width}x{height} pixels")));
        }
        check_size(width, height, self.name, self.limits)
    }

    /// How many bytes a decoder may take for a picture of this size.
    ///
    /// 16-bit RGBA, as much again for what a decoder keeps beside it, and something for metadata.
    fn max_alloc(&self, width: u32, height: u32) -> u64 {
        (u64::from(width) * u64::from(height))
            .saturating_mul(16)
            .saturating_add(32 << 20)
    }
}

fn decode_jpeg(source: &Source<'_>) -> Result<Image> {
    let decoder = JpegDecoder::new(source.bytes).map_err(|fault| source.failed(fault))?;
    let (width, height) = decoder.size_wh();
    source.check_size(width, height)?;
    let orientation = decoder.orientation();
    let rgb = decoder.into_rgb8().map_err(|fault| source.failed(fault))?;
    Image::upright(width, height, rgb, orientation)
}

/// WebP files and bitmaps.
fn decode_other(source: &Source<'_>, format: ImageFormat) -> Result<Image> {
    let mut reader = ImageReader::with_format(Cursor::new(source.bytes), format);
    reader.no_limits();
    let mut decoder = reader
        .into_decoder()
        .map_err(|error| source.failed(error))?;
    let (width, height) = decoder.dimensions();
    source.check_size(width, height)?;

    let exif = decoder.exif_metadata().ok().flatten();
    let xmp = decoder.xmp_metadata().ok().flatten();
    let orientation = orientation(exif.as_deref(), xmp.as_deref());
    let color = decoder.color_type();
    let channels = match color {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => {
            usize::from(color.channel_count())
        }
        _ => return Err(source.failed(format!("samples of type {color:?} are not supported"))),
    };
    // The area has been checked, and a pixel has at most four bytes.
    let mut samples = vec![0; decoder.total_bytes() as usize];
    decoder
        .read_image(&mut samples)
        .map_err(|error| source.failed(error))?;
    let mut rgb = samples::to_rgb8(samples, channels);
    if format == ImageFormat::Bmp {
        bmp::truncate_16(source.bytes, &mut rgb);
    }
    Image::upright(width, height, rgb, orientation)
}

/// Refuses a picture that announces more pixels than the limits allow.
pub(crate) fn check_size(width: u32, height: u32, name: &str, limits: &DecodeLimits) -> Result<()> {
    let pixels = u64::from(width) * u64::from(height);
    if width > limits.max_side || height > limits.max_side || pixels > limits.max_pixels {
        return Err(Error::ImageTooLarge {
            name: name.to_owned(),
            width,
            height,
            max_side: limits.max_side,
            max_pixels: limits.max_pixels,
        });
    }
    Ok(())
}

fn guessed_format(bytes: &[u8]) -> Option<ImageFormat> {
    match bytes.first_chunk() {
        // TIFF files with offsets of eight bytes.
        Some(b"II+\0" | b"MM\0+") => Some(ImageFormat::Tiff),
        _ => ::image::guess_format(bytes).ok(),
    }
}

fn format_name(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Png => Some("PNG"),
        ImageFormat::Jpeg => Some("JPEG"),
        ImageFormat::WebP => Some("WebP"),
        ImageFormat::Bmp => Some("BMP"),
        ImageFormat::Gif => Some("GIF"),
        ImageFormat::Tiff => Some("TIFF"),
        _ => None,
    }
}

/// Whether turning makes width of height.
pub(crate) fn swaps_sides(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(
        orientation,
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_of_the_wrong_length_is_refused() {
        let message = Image::from_rgb8(2, 2, vec![0; 11]).unwrap_err().to_string();
        assert_eq!(
            message,
            "a 2x2 RGB picture needs 12 bytes and at least one pixel, but the buffer holds 11"
        );
        assert!(Image::from_rgb8(0, 2, vec![]).is_err());
        assert!(Image::from_rgb8(u32::MAX, u32::MAX, vec![]).is_err());
    }

    #[test]
    fn every_turn_is_undone() {
        let stored = Image::from_rgb8(2, 3, (0..18).collect()).unwrap();
        for code in 1..=8 {
            let orientation = Orientation::from_exif(code).unwrap();
            let rgb = stored.rgb().to_vec();
            let upright = Image::upright(2, 3, rgb, orientation).unwrap();
            assert_eq!(upright.as_stored(), stored, "{code}");
            assert_eq!(upright.stored_size_wh(), (2, 3), "{code}");
            assert_eq!(upright == stored, code == 1, "{code}");
        }
    }

    #[test]
    fn clones_share_their_pixels() {
        let image = Image::from_rgb8(1, 1, vec![1, 2, 3]).unwrap();
        assert!(std::ptr::eq(image.rgb(), image.clone().rgb()));
    }

    #[test]
    fn a_picture_survives_its_png_file() {
        let rgb = (0..5 * 3 * 3).map(|value| value * 5).collect();
        let image = Image::from_rgb8(5, 3, rgb).unwrap();
        assert_eq!(Image::from_bytes(&image.to_png().unwrap()).unwrap(), image);
    }

    #[test]
    fn an_unknown_format_lists_the_known_ones() {
        let message = Image::from_bytes(b"not a picture").unwrap_err().to_string();
        assert_eq!(
            message,
            "the picture in memory is in no known picture format; supported are PNG, JPEG, WebP, \
             BMP, GIF (first frame) and TIFF"
        );
    }
}
