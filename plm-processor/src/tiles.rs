//! A picture cut into the squares that the vision tower reads.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::grid::Grid;
use crate::image::Image;
use crate::resize::resize;

/// How a picture becomes tiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VisionInputType {
    /// A thumbnail of the whole picture, then the tiles of its grid.
    #[default]
    ThumbTile,
    /// One tile: the whole picture, squashed.
    Vanilla,
}

impl VisionInputType {
    /// The name in configuration files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ThumbTile => "thumb+tile",
            Self::Vanilla => "vanilla",
        }
    }
}

impl fmt::Display for VisionInputType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for VisionInputType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "thumb+tile" => Ok(Self::ThumbTile),
            "vanilla" => Ok(Self::Vanilla),
            _ => Err(Error::UnknownVisionInputType {
                value: name.to_owned(),
            }),
        }
    }
}

/// The affine map from a byte to what the network reads, per channel: `(u8 - mean) / std`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// Mean in units of bytes.
    pub mean: [f32; 3],
    /// Standard deviation in units of bytes.
    pub std: [f32; 3],
}

impl Normalization {
    /// Joins rescaling by `rescale_factor` and normalising by `mean` and `std` into one step, as
    /// the reference does.
    #[must_use]
    pub fn new(mean: [f32; 3], std: [f32; 3], rescale_factor: f64) -> Self {
        let scale = (1.0 / rescale_factor) as f32;
        Self {
            mean: mean.map(|mean| mean * scale),
            std: std.map(|std| std * scale),
        }
    }

    /// What each byte becomes, per channel; a look-up is much faster than a division.
    fn tables(&self) -> [[f32; 256]; 3] {
        std::array::from_fn(|channel| {
            std::array::from_fn(|byte| (byte as f32 - self.mean[channel]) / self.std[channel])
        })
    }
}

/// Resizes a picture to a width and a height.
pub(crate) type Resize = fn(&Image, u32, u32) -> Result<Image>;

/// Square tiles of one picture or video, 8 bits a sample.
#[derive(Clone, PartialEq, Eq)]
pub struct Tiles {
    grid: Option<Grid>,
    tile_size: u32,
    pixels: Vec<u8>,
}

impl Tiles {
    /// Cuts a picture into a thumbnail and the tiles of its grid.
    ///
    /// The thumbnail is the first tile; the others follow row by row. Both thumbnail and canvas
    /// are squashed from the original picture, without keeping its aspect ratio and without
    /// padding.
    ///
    /// # Errors
    /// [`Error::Resize`] when `tile_size` is 0.
    pub fn thumb_tile(image: &Image, tile_size: u32, max_num_tiles: u32) -> Result<Self> {
        Self::thumb_tile_by(image, tile_size, max_num_tiles, resize)
    }

    /// As [`thumb_tile`](Self::thumb_tile), resized by other rules.
    pub(crate) fn thumb_tile_by(
        image: &Image,
        tile_size: u32,
        max_num_tiles: u32,
        resize: Resize,
    ) -> Result<Self> {
        let grid = Grid::choose(image.width(), image.height(), tile_size, max_num_tiles);
        let mut tiles = Self::with_capacity(Some(grid), tile_size, grid.len() + 1);
        let thumbnail = resize(image, tile_size, tile_size)?;
        tiles.push_from(&thumbnail, 0, 0);
        let canvas = resize(image, grid.columns * tile_size, grid.rows * tile_size)?;
        for row in 0..grid.rows {
            for column in 0..grid.columns {
                tiles.push_from(&canvas, column * tile_size, row * tile_size);
            }
        }
        Ok(tiles)
    }

    /// Squashes a picture to one tile.
    ///
    /// # Errors
    /// [`Error::Resize`] when `tile_size` is 0.
    pub fn vanilla(image: &Image, tile_size: u32) -> Result<Self> {
        Self::vanilla_by(image, tile_size, resize)
    }

    /// As [`vanilla`](Self::vanilla), resized by other rules.
    pub(crate) fn vanilla_by(image: &Image, tile_size: u32, resize: Resize) -> Result<Self> {
        let mut tiles = Self::with_capacity(None, tile_size, 1);
        tiles.push_from(&resize(image, tile_size, tile_size)?, 0, 0);
        Ok(tiles)
    }

    /// The tiles of a video from those of its frames.
    pub(crate) fn joined(frames: &[Self], tile_size: u32) -> Self {
        let mut tiles = Self::with_capacity(None, tile_size, frames.len());
        for frame in frames {
            tiles.pixels.extend_from_slice(&frame.pixels);
        }
        tiles
    }

    fn with_capacity(grid: Option<Grid>, tile_size: u32, count: usize) -> Self {
        let samples = tile_size as usize * tile_size as usize * 3;
        Self {
            grid,
            tile_size,
            pixels: Vec::with_capacity(samples * count),
        }
    }

    /// Appends the square at (`left`, `top`), turned from `[T, T, 3]` to `[3, T, T]`.
    fn push_from(&mut self, canvas: &Image, left: u32, top: u32) {
        let size = self.tile_size as usize;
        let row_bytes = canvas.width() as usize * 3;
        let start = self.pixels.len();
        self.pixels.resize(start + size * size * 3, 0);
        let (red, rest) = self.pixels[start..].split_at_mut(size * size);
        let (green, blue) = rest.split_at_mut(size * size);
        for y in 0..size {
            let from = (top as usize + y) * row_bytes + left as usize * 3;
            let row = &canvas.rgb()[from..from + size * 3];
            let line = y * size..(y + 1) * size;
            let planes = red[line.clone()]
                .iter_mut()
                .zip(&mut green[line.clone()])
                .zip(&mut blue[line]);
            for (((r, g), b), pixel) in planes.zip(row.chunks_exact(3)) {
                (*r, *g, *b) = (pixel[0], pixel[1], pixel[2]);
            }
        }
    }

    /// The grid behind the thumbnail; `None` when there is no thumbnail.
    #[must_use]
    pub fn grid(&self) -> Option<Grid> {
        self.grid
    }

    /// Side of a tile in pixels.
    #[must_use]
    pub fn tile_size(&self) -> u32 {
        self.tile_size
    }

    /// Number of tiles, the thumbnail included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pixels.len().checked_div(self.tile_len()).unwrap_or(0)
    }

    /// Whether there is no tile.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Samples in a tile: `3 * T * T`.
    #[must_use]
    pub fn tile_len(&self) -> usize {
        self.tile_size as usize * self.tile_size as usize * 3
    }

    /// Tile `index` as bytes, `[3, T, T]`.
    ///
    /// # Panics
    /// When there is no such tile.
    #[must_use]
    pub fn tile_u8(&self, index: usize) -> &[u8] {
        let len = self.tile_len();
        &self.pixels[index * len..(index + 1) * len]
    }

    /// All tiles as bytes, `[tiles, 3, T, T]`.
    #[must_use]
    pub fn as_u8(&self) -> &[u8] {
        &self.pixels
    }

    /// All tiles as the network reads them, `[tiles, 3, T, T]`.
    #[must_use]
    pub fn normalized(&self, normalization: &Normalization) -> Vec<f32> {
        let tables = normalization.tables();
        let mut values = Vec::with_capacity(self.pixels.len());
        for index in 0..self.len() {
            self.normalize_into(index, &tables, &mut values);
        }
        values
    }

    /// Tile `index` as the network reads it, `[3, T, T]`.
    ///
    /// # Panics
    /// When there is no such tile.
    #[must_use]
    pub fn normalized_tile(&self, index: usize, normalization: &Normalization) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.tile_len());
        self.normalize_into(index, &normalization.tables(), &mut values);
        values
    }

    fn normalize_into(&self, index: usize, tables: &[[f32; 256]; 3], values: &mut Vec<f32>) {
        let tile = self.tile_u8(index);
        for (plane, table) in tile.chunks_exact(tile.len() / 3).zip(tables) {
            values.extend(plane.iter().map(|&sample| table[usize::from(sample)]));
        }
    }
}

impl fmt::Debug for Tiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiles")
            .field("len", &self.len())
            .field("grid", &self.grid)
            .field("tile_size", &self.tile_size)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four quarters of one colour each, already as large as a 2x2 canvas.
    fn quarters() -> Image {
        let mut rgb = Vec::new();
        for y in 0..4u8 {
            for x in 0..4u8 {
                rgb.extend([y / 2 * 2 + x / 2, 10, 20]);
            }
        }
        Image::from_rgb8(4, 4, rgb).unwrap()
    }

    #[test]
    fn tiles_follow_the_thumbnail_row_by_row() {
        let tiles = Tiles::thumb_tile(&quarters(), 2, 4).unwrap();
        assert_eq!(
            tiles.grid(),
            Some(Grid {
                columns: 2,
                rows: 2
            })
        );
        assert_eq!(tiles.len(), 5);
        for quarter in 0..4u8 {
            let tile = tiles.tile_u8(usize::from(quarter) + 1);
            assert_eq!(tile, [[quarter; 4], [10; 4], [20; 4]].concat());
        }
    }

    #[test]
    fn vanilla_is_one_tile_without_a_grid() {
        let tiles = Tiles::vanilla(&quarters(), 3).unwrap();
        assert_eq!((tiles.len(), tiles.grid()), (1, None));
    }

    #[test]
    fn bytes_are_mapped_to_minus_one_to_one() {
        let image = Image::from_rgb8(1, 1, vec![0, 255, 51]).unwrap();
        let tiles = Tiles::vanilla(&image, 1).unwrap();
        let half = Normalization::new([0.5; 3], [0.5; 3], 1.0 / 255.0);
        assert_eq!(tiles.normalized(&half), [-1.0, 1.0, -0.6]);
    }

    #[test]
    fn names_go_there_and_back() {
        for kind in [VisionInputType::ThumbTile, VisionInputType::Vanilla] {
            assert_eq!(kind.to_string().parse::<VisionInputType>().unwrap(), kind);
        }
        let message = "tiles".parse::<VisionInputType>().unwrap_err().to_string();
        assert_eq!(
            message,
            "unknown vision input type `tiles`; it is `thumb+tile` or `vanilla`"
        );
    }
}
