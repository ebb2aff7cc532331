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
    /// The same with stochastic depth in training: tiles go past residual branches, never in the first
    /// block, and with probability `rate` in the last; between them it grows in a line, as in timm.
    ///
    /// # Panics
    ///
    /// If `rate` is not at least 0 and below 1.
    #[must_use]
    pub fn with_drop_path(mut self, rate: f64) -> Self {
        assert!((0.0..1.0).contains(&rate), "a rate of {rate}");
        let last = self.blocks.len().saturating_sub(1).max(1) as f64;
        for (i, block) in self.blocks.iter_mut().enumerate() {
            block.drop_path = rate * i as f64 / last;
        }
        self
    }

    /// Bytes of f32 that a tile takes on its way through a block where attention scores are written down, as
    /// by burn's operations: they twice, before and after the softmax, and eight rows of features for each
    /// token.
    pub fn activation_bytes(&self) -> u64 {
        let [_, tokens, width] = self.pos_embed.val().dims();
        let heads = self.blocks.first().map_or(0, |block| block.attn.heads());
        (size_of::<f32>() * tokens * (2 * heads * tokens + 8 * width)) as u64
    }

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
        Ok(self.patches(self.forward_tokens(tiles)?))
    }

    /// The features of patches among those of all tokens.
    ///
    /// # Shapes
    ///
    /// - `features`: `[tiles, (1 +) patches, width]`
    /// - result: `[tiles, patches, width]`
    fn patches(&self, features: Tensor<3>) -> Tensor<3> {
        let leading = usize::from(self.cls_token.is_some());
        let patches = features.dims()[1] - leading;
        features.narrow(1, leading, patches)
    }

    /// What [`forward`](Self::forward) does after the last block.
    ///
    /// # Shapes
    ///
    /// - `x`: `[tiles, (1 +) patches, width]`
    /// - result: `[tiles, patches, width]`
    pub fn finish(&self, x: Tensor<3>) -> Tensor<3> {
        self.patches(self.normalize(x))
    }

    fn normalize(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
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
        Ok(self.normalize(x))
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
    use burn::tensor::Distribution;

    use super::*;

    fn small(depth: usize, device: &Device) -> PerceptionEncoder {
        let config = PerceptionEncoderConfig {
            image_size: 28,
            width: 16,
            depth,
            heads: 2,
            ..PerceptionEncoderConfig::architecture("vit_pe_lang_gigantic_patch14_448").unwrap()
        };
        config.init(device).unwrap()
    }

    #[test]
    fn the_rate_of_drop_path_grows_with_depth() {
        let encoder = small(5, &Device::flex()).with_drop_path(0.2);
        let rates: Vec<f64> = encoder.blocks.iter().map(|block| block.drop_path).collect();
        assert_eq!(rates, [0.0, 0.05, 0.1, 0.2 * 3.0 / 4.0, 0.2]);
    }

    #[test]
    fn tiles_go_past_branches_in_training_alone() {
        let device = Device::flex();
        let plain = small(2, &device);
        let dropping = plain.clone().with_drop_path(0.5);
        let tiles = Tensor::random([40, 3, 28, 28], Distribution::Default, &device);
        let run = |encoder: &PerceptionEncoder| {
            let features = encoder.forward(tiles.clone()).unwrap().into_data();
            features.try_to_vec::<f32>().unwrap()
        };
        let expected = run(&plain);
        assert_eq!(run(&dropping), expected);
        let found = run(&dropping.train());
        let per_tile = expected.len() / 40;
        let tiles = expected.chunks(per_tile).zip(found.chunks(per_tile));
        let same = |(a, b): &(&[f32], &[f32])| a.iter().zip(*b).all(|(a, b)| (a - b).abs() < 1e-5);
        // Branches of the second block are scaled even where they are not left out.
        assert_eq!(tiles.filter(same).count(), 0);
        let trained = run(&plain.train());
        for (a, b) in trained.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }

    #[test]
    fn tiles_of_another_size_are_refused() {
        let device = Device::flex();
        let encoder = small(1, &device);
        let error = encoder
            .forward(Tensor::zeros([1, 3, 42, 28], &device))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "vision tower: tiles are [3, 42, 28] (channels, height, width), the checkpoint takes [3, 28, 28]"
        );
    }
}
