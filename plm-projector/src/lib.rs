//! The projector of PerceptionLM: from vision features to token embeddings.
//!
//! Each patch feature goes through a two-layer MLP with an exact GELU; then the square grid of
//! patches is average-pooled to the grid of image tokens (paper, section 3; `transformers`
//! `PerceptionLMMultiModalProjector`). The MLP comes first, the pooling second.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use plm_projector::ProjectorConfig;
//!
//! let device = Device::flex();
//! let projector = ProjectorConfig { vision_width: 8, text_width: 12, pooling_ratio: 2 }.init(&device);
//! let patches = Tensor::<3>::zeros([3, 4 * 4, 8], &device);
//! assert_eq!(projector.forward(patches)?.dims(), [3, 2 * 2, 12]);
//! # Ok::<(), plm_projector::Error>(())
//! ```

mod pooling;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use plm_linear::{Linear, LinearConfig};

pub use pooling::average_pool;

/// What a caller can get wrong with a [`Projector`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The patches do not form a square grid.
    #[error(
        "{patches} patches per tile are not a square grid; check `vision_use_cls_token` and the tile size"
    )]
    NotSquare {
        /// Patches of one tile.
        patches: usize,
    },
    /// The grid is smaller than the pooling window.
    #[error("a grid of {side}x{side} patches cannot be pooled by {ratio}")]
    GridTooSmall {
        /// Patches along one side.
        side: usize,
        /// The pooling ratio.
        ratio: usize,
    },
}

/// Sizes of a [`Projector`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectorConfig {
    /// Width of the vision features.
    pub vision_width: usize,
    /// Width of the decoder's embeddings.
    pub text_width: usize,
    /// How many patches per side one token averages; 1 keeps every patch.
    pub pooling_ratio: usize,
}

impl ProjectorConfig {
    /// Builds the projector with lazily drawn random weights.
    pub fn init(&self, device: &Device) -> Projector {
        Projector {
            linear_1: LinearConfig::new(self.vision_width, self.text_width)
                .with_bias()
                .init(device),
            linear_2: LinearConfig::new(self.text_width, self.text_width)
                .with_bias()
                .init(device),
            pooling_ratio: self.pooling_ratio,
        }
    }
}

/// MLP and pooling: `pool(linear_2(gelu(linear_1(x))))`.
#[derive(Module, Debug)]
pub struct Projector {
    /// Vision width to text width.
    pub linear_1: Linear,
    /// Text width to text width.
    pub linear_2: Linear,
    /// Patches per side that one token averages.
    pub pooling_ratio: usize,
}

impl Projector {
    /// Projects the patch features of each tile to image-token embeddings.
    ///
    /// # Shapes
    ///
    /// - `patches`: `[tiles, side², vision_width]`, row-major, without a cls token
    /// - result: `[tiles, (side / pooling_ratio)², text_width]`, row-major
    ///
    /// # Errors
    ///
    /// [`Error::NotSquare`] or [`Error::GridTooSmall`] when the patches cannot be pooled.
    pub fn forward(&self, patches: Tensor<3>) -> Result<Tensor<3>, Error> {
        let hidden = self.linear_1.forward_gelu(patches);
        average_pool(self.linear_2.forward(hidden), self.pooling_ratio)
    }
}
