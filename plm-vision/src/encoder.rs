use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

use crate::{Block, Error, LayerNorm, PatchEmbed, PerceptionEncoderConfig, Rope2d, Rope2dConfig};

/// Standard deviation of freshly drawn cls token and positions.
const EMBEDDING_STD: f64 = 0.02;

/// The vision tower: tiles in, one feature vector per patch out.
#[derive(Module, Debug)]
pub struct PerceptionEncoder {
    /// The cls token, `[1, 1, width]`.
    pub cls_token: Option<Param<Tensor<3>>>,
    /// Learned positions, `[1, (1 +) patches, width]`, the cls token's first.
    pub pos_embed: Param<Tensor<3>>,
    /// Patch embedding.
    pub patch_embed: PatchEmbed,
    /// Norm after the positions are added.
    pub norm_pre: LayerNorm,
    /// Transformer blocks.
    pub blocks: Vec<Block>,
    /// Norm after the last block; the released models have none.
    pub norm: Option<LayerNorm>,
    #[module(skip)]
    rope: Rope2dConfig,
    image_size: usize,
}

impl PerceptionEncoderConfig {
    /// Builds the tower with lazily drawn random weights.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConfig`] when the sizes contradict each other.
    pub fn init(&self, device: &Device) -> Result<PerceptionEncoder, Error> {
        self.check()?;
        let embedding = Initializer::Normal {
            mean: 0.0,
            std: EMBEDDING_STD,
        };
        let tokens = self.grid() * self.grid() + usize::from(self.class_token);
        Ok(PerceptionEncoder {
            cls_token: self
                .class_token
                .then(|| embedding.init([1, 1, self.width], device)),
            pos_embed: embedding.init([1, tokens, self.width], device),
            patch_embed: PatchEmbed::init(self, device),
            norm_pre: LayerNorm::init(self.width, self.norm_eps, device),
            blocks: (0..self.depth).map(|_| Block::init(self, device)).collect(),
            norm: self
                .use_post_transformer_norm
                .then(|| LayerNorm::init(self.width, self.norm_eps, device)),
            rope: self.rope(),
            image_size: self.image_size,
        })
    }
}

impl PerceptionEncoder {
    /// Features of the patches of each tile, without the cls token.
    ///
    /// # Shapes
    ///
    /// - `tiles`: `[tiles, 3, image_size, image_size]`, values in -1..1
    /// - result: `[tiles, patches, width]`, patches row by row
    ///
    /// # Errors
    ///
    /// [`Error::TileShape`] when the tiles are not of the tower's size.
    pub fn forward(&self, tiles: Tensor<4>) -> Result<Tensor<3>, Error> {
        let features = self.forward_tokens(tiles)?;
        let leading = usize::from(self.cls_token.is_some());
        let patches = features.dims()[1] - leading;
        Ok(features.narrow(1, leading, patches))
    }

    /// Features of all tokens of each tile, the cls token (if the tower has one) first.
    ///
    /// # Shapes
    ///
    /// - `tiles`: `[tiles, 3, image_size, image_size]`, values in -1..1
    /// - result: `[tiles, (1 +) patches, width]`
    ///
    /// # Errors
    ///
    /// [`Error::TileShape`] when the tiles are not of the tower's size.
    pub fn forward_tokens(&self, tiles: Tensor<4>) -> Result<Tensor<3>, Error> {
        let rope = self.rope(&tiles.device());
        let x = self.embed(tiles)?;
        let x = self
            .blocks
            .iter()
            .fold(x, |x, block| block.forward(x, &rope));
        Ok(match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        })
    }

    /// The tokens that enter the first block: patches and cls token with positions, normalised.
    ///
    /// # Shapes
    ///
    /// As [`forward_tokens`](Self::forward_tokens).
    ///
    /// # Errors
    ///
    /// [`Error::TileShape`] when the tiles are not of the tower's size.
    pub fn embed(&self, tiles: Tensor<4>) -> Result<Tensor<3>, Error> {
        let [num_tiles, found @ ..] = tiles.dims();
        let expected = [3, self.image_size, self.image_size];
        if found != expected {
            return Err(Error::TileShape { found, expected });
        }
        let patches = self.patch_embed.forward(tiles);
        let tokens = match &self.cls_token {
            Some(cls) => Tensor::cat(vec![cls.val().repeat_dim(0, num_tiles), patches], 1),
            None => patches,
        };
        Ok(self.norm_pre.forward(tokens + self.pos_embed.val()))
    }

    /// The rotary positions of this tower's patches.
    pub fn rope(&self, device: &Device) -> Rope2d {
        Rope2d::new(&self.rope, usize::from(self.cls_token.is_some()), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_of_another_size_are_refused() {
        let device = Device::flex();
        let config = PerceptionEncoderConfig {
            image_size: 28,
            width: 16,
            depth: 1,
            heads: 2,
            ..PerceptionEncoderConfig::architecture("vit_pe_lang_gigantic_patch14_448").unwrap()
        };
        let encoder = config.init(&device).unwrap();
        let error = encoder
            .forward(Tensor::zeros([1, 3, 42, 28], &device))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "vision tower: tiles are [3, 42, 28] (channels, height, width), the checkpoint takes [3, 28, 28]"
        );
    }
}
