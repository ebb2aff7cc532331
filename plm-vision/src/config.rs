use crate::Rope2dConfig;

/// What a caller can get wrong with a [`PerceptionEncoder`](crate::PerceptionEncoder).
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A size that no encoder can have.
    #[error("vision tower: {what}")]
    InvalidConfig {
        /// The rule that is broken, with the values.
        what: String,
    },
    /// Tiles of another shape than the tower was built for.
    #[error(
        "vision tower: tiles are {found:?} (channels, height, width), the checkpoint takes {expected:?}"
    )]
    TileShape {
        /// Channels, height and width given.
        found: [usize; 3],
        /// Channels, height and width expected.
        expected: [usize; 3],
    },
}

/// Sizes and constants of a [`PerceptionEncoder`](crate::PerceptionEncoder).
///
/// Half of them are in no checkpoint file: they follow from the architecture's name, see
/// [`architecture`](Self::architecture).
#[derive(Debug, Clone, PartialEq)]
pub struct PerceptionEncoderConfig {
    /// Pixels per side of a tile.
    pub image_size: usize,
    /// Pixels per side of a patch.
    pub patch_size: usize,
    /// Features of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden features of the MLP over `width`; the product is truncated.
    pub mlp_ratio: f64,
    /// Whether a cls token precedes the patches.
    pub class_token: bool,
    /// Added to each patch's column and row before rotation.
    pub rope_grid_offset: f32,
    /// Base of the rotary frequencies.
    pub rope_temperature: f32,
    /// Grid, height then width, that positions are scaled to.
    pub ref_feat_shape: [usize; 2],
    /// Whether the residual branches are scaled by `gamma_1` and `gamma_2`.
    pub layer_scale: bool,
    /// Whether a layer norm follows the last block.
    pub use_post_transformer_norm: bool,
    /// Epsilon of the layer norms.
    pub norm_eps: f64,
}

impl PerceptionEncoderConfig {
    /// The defaults that an architecture's name stands for in `timm`'s registry, if it is one of
    /// the Perception Encoders that PerceptionLM is built on.
    pub fn architecture(name: &str) -> Option<Self> {
        let name = name.split('.').next().unwrap_or(name);
        let large = Self {
            image_size: 448,
            patch_size: 14,
            width: 1024,
            depth: 23,
            heads: 16,
            mlp_ratio: 4.0,
            class_token: true,
            rope_grid_offset: 1.0,
            rope_temperature: 10_000.0,
            ref_feat_shape: [32, 32],
            layer_scale: true,
            use_post_transformer_norm: false,
            norm_eps: 1e-5,
        };
        let gigantic = Self {
            width: 1536,
            depth: 47,
            mlp_ratio: 8960.0 / 1536.0,
            class_token: false,
            rope_grid_offset: 0.0,
            ..large.clone()
        };
        match name {
            "vit_pe_lang_large_patch14_448" => Some(large),
            "vit_pe_lang_gigantic_patch14_448" => Some(gigantic),
            "vit_pe_core_large_patch14_336" => Some(Self {
                image_size: 336,
                depth: 24,
                ref_feat_shape: [24, 24],
                layer_scale: false,
                use_post_transformer_norm: true,
                ..large
            }),
            "vit_pe_core_gigantic_patch14_448" => Some(Self {
                depth: 50,
                layer_scale: false,
                use_post_transformer_norm: true,
                ..gigantic
            }),
            _ => None,
        }
    }

    /// The names that [`architecture`](Self::architecture) knows.
    pub const ARCHITECTURES: [&'static str; 4] = [
        "vit_pe_core_large_patch14_336",
        "vit_pe_core_gigantic_patch14_448",
        "vit_pe_lang_large_patch14_448",
        "vit_pe_lang_gigantic_patch14_448",
    ];

    /// Patches along one side of a tile.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Features of one attention head.
    pub fn head_dim(&self) -> usize {
        self.width / self.heads
    }

    /// Hidden features of the MLP.
    pub fn mlp_width(&self) -> usize {
        (self.width as f64 * self.mlp_ratio) as usize
    }

    /// The rotary positions of the patches.
    pub(crate) fn rope(&self) -> Rope2dConfig {
        Rope2dConfig {
            grid: self.grid(),
            head_dim: self.head_dim(),
            offset: self.rope_grid_offset,
            temperature: self.rope_temperature,
            ref_feat_shape: self.ref_feat_shape,
        }
    }

    /// Checks the sizes against each other.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConfig`] with the first rule that is broken.
    pub fn check(&self) -> Result<(), Error> {
        let fail = |what: String| Err(Error::InvalidConfig { what });
        if self.patch_size == 0 || self.grid() == 0 {
            return fail(format!(
                "a tile of {} pixels holds no patch of {}",
                self.image_size, self.patch_size
            ));
        }
        if self.heads == 0 || !self.width.is_multiple_of(self.heads) {
            return fail(format!(
                "width {} is no multiple of {} heads",
                self.width, self.heads
            ));
        }
        if self.head_dim() == 0 || !self.head_dim().is_multiple_of(4) {
            return fail(format!(
                "a head of {} features cannot be rotated in two dimensions; it must be a multiple of 4",
                self.head_dim()
            ));
        }
        if self.depth == 0 || self.mlp_width() == 0 {
            return fail(format!(
                "depth {} and MLP width {} must both be positive",
                self.depth,
                self.mlp_width()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_architecture_is_sound() {
        for name in PerceptionEncoderConfig::ARCHITECTURES {
            let config = PerceptionEncoderConfig::architecture(name).unwrap();
            config.check().unwrap();
        }
        let gigantic = PerceptionEncoderConfig::architecture("vit_pe_core_gigantic_patch14_448");
        assert_eq!(gigantic.unwrap().mlp_width(), 8960);
        assert_eq!(
            PerceptionEncoderConfig::architecture("vit_pe_core_large_patch14_336.fb"),
            PerceptionEncoderConfig::architecture("vit_pe_core_large_patch14_336")
        );
        assert!(PerceptionEncoderConfig::architecture("vit_base").is_none());
    }

    #[test]
    fn broken_sizes_are_named() {
        let large = PerceptionEncoderConfig::architecture("vit_pe_lang_large_patch14_448").unwrap();
        let broken = PerceptionEncoderConfig { heads: 7, ..large };
        assert_eq!(
            broken.check().unwrap_err().to_string(),
            "vision tower: width 1024 is no multiple of 7 heads"
        );
    }
}
