//! Gradients of the kernels, for training.
//!
//! Each takes the gradient of a kernel's result and gives those of its arguments. What comes out
//! does not depend on the number of threads.

mod activations;
mod attention;
mod norms;
mod products;
mod softmax;
#[cfg(test)]
mod tests;

pub use activations::{gelu_gradient, silu_mul_gradient};
pub use attention::{AttentionGradient, attention_gradient};
pub use norms::{NormGradient, add_gradient, normalize_gradient, sum_rows};
pub use products::{input_gradient, product_of_rows, weight_gradient};
pub use softmax::softmax_losses;
