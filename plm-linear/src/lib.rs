//! The layer that holds the weights of PerceptionLM.
//!
//! One layer type carries 98 % of the parameters and so decides memory and speed. [`Linear`]
//! keeps its weight as the checkpoint stores it, `[d_output, d_input]` and in the file's
//! precision (f32, f16 or bf16), and computes with f32 activations: a half-precision weight is
//! widened panel by panel while it is multiplied, so it never exists twice in full.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use plm_linear::LinearConfig;
//!
//! let device = Device::flex();
//! let layer = LinearConfig::new(8, 3).init(&device);
//! let x = Tensor::<3>::zeros([2, 5, 8], &device);
//! assert_eq!(layer.forward(x).dims(), [2, 5, 3]);
//! ```

mod linear;
mod product;

pub use linear::{Linear, LinearConfig};
pub use product::linear;
