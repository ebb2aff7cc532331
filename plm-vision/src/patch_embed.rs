use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor, s};
use plm_linear::{Weight, linear};

use crate::PerceptionEncoderConfig;

/// Cuts a tile into patches and maps each to the tower's width.
///
/// The checkpoint stores a convolution whose stride is its kernel, without bias. Such a
/// convolution is a linear map of each flattened patch, which is how it is computed here.
#[derive(Module, Debug)]
pub struct PatchEmbed {
    /// The convolution.
    pub proj: PatchProjection,
}

/// The weight of the patch convolution.
#[derive(Module, Debug)]
pub struct PatchProjection {
    /// `[width, 3, patch_size, patch_size]`.
    pub weight: Param<Tensor<4>>,
}

impl PatchEmbed {
    pub(crate) fn init(config: &PerceptionEncoderConfig, device: &Device) -> Self {
        let size = config.patch_size;
        let bound = 1.0 / ((3 * size * size) as f64).sqrt();
        let initializer = Initializer::Uniform {
            min: -bound,
            max: bound,
        };
        Self {
            proj: PatchProjection {
                weight: initializer.init([config.width, 3, size, size], device),
            },
        }
    }

    /// Embeds the patches of each tile, row by row.
    ///
    /// # Shapes
    ///
    /// - `tiles`: `[tiles, 3, height, width]` in -1..1
    /// - result: `[tiles, rows · columns, width]`
    pub fn forward(&self, tiles: Tensor<4>) -> Tensor<3> {
        let [width, channels, patch, _] = self.proj.weight.dims();
        let [num_tiles, _, tile_height, tile_width] = tiles.dims();
        let (rows, columns) = (tile_height / patch, tile_width / patch);
        let features = channels * patch * patch;

        let patches = tiles
            .slice(s![.., .., 0..rows * patch, 0..columns * patch])
            .reshape([num_tiles, channels, rows, patch, columns, patch])
            .permute([0, 2, 4, 1, 3, 5]) // [tiles, rows, columns, channels, patch, patch]
            .reshape([num_tiles, rows * columns, features]);
        let weight = self.proj.weight.val().reshape([width, features]);
        linear(
            patches,
            &Weight::Float(Param::initialized(self.proj.weight.id, weight)),
            None,
        )
    }
}
