//! CPU kernels of PerceptionLM, over slices.
//!
//! Everything that costs time in the model is here: products of f32 activations with weights in
//! f32, bf16, f16, blocks of 8 or 4 bits or NF4 ([`products`]), in f32, parts of bf16 or
//! 16-bit integers ([`MatmulPrecision`]), attention that does not materialise its scores ([`attention`]), norms,
//! rotary positions and activations. Each kernel is written once
//! over a vector type and compiled for AVX-512, AVX2, NEON and plain Rust; the best that the
//! processor has is chosen at run time ([`Level`]). Work is shared among rayon's threads.
//!
//! Public functions are safe: they check every shape before a kernel runs. Kernels themselves work
//! on pointers, and trust those checks.
//!
//! ```
//! use plm_kernels::{Matrix, Product, Weights, products};
//!
//! let weights = [1.0, 0.0, 0.0, 1.0, 2.0, -3.0];
//! let matrix = Matrix::new(3, 2, Weights::F32(&weights));
//! let mut y = [0.0; 3];
//! products(&[1.0, 2.0], 1, &mut [Product::new(matrix, &mut y)]);
//! assert_eq!(y, [1.0, 2.0, -4.0]);
//! ```

#![allow(clippy::needless_range_loop)]

mod activation;
mod adamw;
#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
mod format;
mod fresh;
mod gemm;
mod gradient;
mod heads;
mod lanes;
pub mod machine;
mod map;
mod matrix;
mod nf4;
mod norm;
mod product;
mod quantize;
mod rounding;
mod scratch;
mod threads;
mod tile;

pub use activation::{gelus, silu_mul, silu_muls};
pub use adamw::{AdamW, sum_of_squares};
pub use attention::{Attention, attention};
pub use gradient::{
    AttentionGradient, NormGradient, add_gradient, attention_gradient, gelu_gradient,
    input_gradient, normalize_gradient, product_of_rows, silu_mul_gradient, softmax_losses,
    sum_rows, weight_gradient,
};
pub use heads::{Heads, Pairs, Rotation, rotate, store_heads, take_heads};
pub use lanes::Level;
pub use matrix::{BLOCK, Matrix, Weights};
pub use nf4::{NF4_BLOCK, NF4_LEVELS, NF4_NESTED_BLOCK, Nf4, Nf4Rounding, Nf4Scales, dynamic_map};
pub use norm::{Norm, add, normalize, normalized, scaled_sum};
pub use product::{Activation, MatmulPrecision, Product, expand_row, products};
pub use quantize::{BlockFormat, quantize};
pub use threads::{in_pool, num_threads};
