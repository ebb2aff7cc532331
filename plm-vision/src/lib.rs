//! The Perception Encoder (PE), PerceptionLM's vision tower.
//!
//! A plain pre-norm vision transformer over one tile at a time: patch embedding, an optional cls
//! token, learned positions, a layer norm, then blocks with 2-D rotary attention and layer scale.
//! There is no final norm: the features are the residual stream of the last block
//! (arXiv 2504.13180, section 3; `timm` `models/eva.py`).
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use plm_vision::PerceptionEncoderConfig;
//!
//! let device = Device::flex();
//! let config = PerceptionEncoderConfig {
//!     image_size: 56,
//!     width: 32,
//!     depth: 2,
//!     heads: 4,
//!     ..PerceptionEncoderConfig::architecture("vit_pe_lang_large_patch14_448").unwrap()
//! };
//! let encoder = config.init(&device)?;
//! let tiles = Tensor::<4>::zeros([2, 3, 56, 56], &device);
//! assert_eq!(encoder.forward(tiles)?.dims(), [2, 4 * 4, 32]);
//! # Ok::<(), plm_vision::Error>(())
//! ```

mod attention;
mod block;
mod config;
mod drop_path;
mod encoder;
mod norm;
mod patch_embed;
mod rope;

pub use attention::{Attention, Mlp};
pub use block::Block;
pub use config::{Error, PerceptionEncoderConfig};
pub use encoder::PerceptionEncoder;
pub use norm::LayerNorm;
pub use patch_embed::PatchEmbed;
pub use rope::{Rope2d, Rope2dConfig};
