//! The layer that holds the weights of PerceptionLM.
//!
//! One layer type carries 98 % of the parameters and so decides memory and speed. [`Linear`] keeps
//! its [`Weight`] as the checkpoint stores it, `[d_output, d_input]` and in the file's precision
//! (f32, f16 or bf16), or rounded to [`Blocks`] of 8 or 4 bits or to [`Nf4`], and computes with f32 activations.
//! On the CPU the product is `plm-kernels`', which widens weights as it reads them; on GPUs (feature `gpu`)
//! kernels of this crate do so for few rows; otherwise it is burn's, with a weight widened panel by panel,
//! so that a large one never exists twice.
//!
//! An [`Adapter`] adds a low-rank map to a layer, whatever format its weight has.
//!
//! [`host`] is how the stages reach the memory of a tensor for kernels of their own.
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

mod adapter;
mod attention;
mod blocks;
mod cross_entropy;
mod device_memory;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(feature = "flex-autodiff")]
mod gradient;
mod greatest;
mod grouped_attention;
pub mod host;
mod linear;
mod nf4;
mod normalize;
mod product;
mod read_back;
mod residual;
mod rotate;
mod rows;
mod silu;
mod weight;

pub use adapter::Adapter;
pub use attention::SelfAttention;
pub use blocks::{BlockFormat, Blocks};
pub use cross_entropy::cross_entropy;
pub use device_memory::DeviceMemory;
pub use greatest::greatest;
pub use grouped_attention::grouped_attention;
pub use linear::{Linear, LinearConfig, forward_each};
pub use nf4::{Nf4, Nf4Data};
pub use normalize::normalize;
pub use plm_kernels::MatmulPrecision;
pub use product::linear;
pub use read_back::{ReadBackError, read_back, read_back_as};
pub use residual::residual;
pub use rotate::rotate_heads;
pub use rows::select_rows;
pub use silu::silu_mul;
pub use weight::Weight;
