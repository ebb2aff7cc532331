//! The Llama decoder of PerceptionLM, its KV cache, and the choice of the next token.
//!
//! The decoder takes embeddings, so it has no notion of images: whoever calls it puts image
//! features where the image tokens stand. Prefill and decode are one [`Decoder::extend`]; the
//! position lives in the [`KvCache`]. Logits are computed only where [`Decoder::logits`] is asked
//! (`transformers` `modeling_llama.py`).
//!
//! ```
//! use burn::tensor::Device;
//! use plm_llm::{DecoderConfig, Rope};
//!
//! let device = Device::flex();
//! let config = DecoderConfig {
//!     vocab_size: 50,
//!     hidden_size: 16,
//!     intermediate_size: 32,
//!     num_layers: 2,
//!     num_heads: 4,
//!     num_kv_heads: 2,
//!     head_dim: 4,
//!     rms_norm_eps: 1e-5,
//!     rope: Rope { theta: 500_000.0, scaling: None },
//!     max_positions: 64,
//!     tie_word_embeddings: true,
//! };
//! let decoder = config.init(&device)?;
//! let mut cache = decoder.new_cache();
//! let prompt = decoder.embed(&[1, 2, 3], &device)?.unsqueeze();
//! let hidden = decoder.extend(prompt, &mut cache)?;
//! assert_eq!(cache.len(), 3);
//! assert_eq!(decoder.logits(hidden.narrow(1, 2, 1)).dims(), [1, 1, 50]);
//! # Ok::<(), plm_llm::Error>(())
//! ```

mod attention;
mod beam;
mod cache;
mod config;
mod decoder;
mod layer;
mod norm;
mod rope;
mod sampling;
mod sequences;

pub use attention::SelfAttention;
pub use beam::{BeamConfig, BeamSearch, BeamStep, EarlyStopping};
pub use cache::KvCache;
pub use config::{DecoderConfig, Error};
pub use decoder::{Decoder, Embedding};
pub use layer::{DecoderLayer, Mlp};
pub use norm::RmsNorm;
pub use rope::{Llama3Scaling, Rope, RopeTable, Scaling};
pub use sampling::{Penalties, RandomSampling, Sampler, Sampling, argmax, log_softmax};
pub use sequences::Sequences;
