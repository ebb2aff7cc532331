use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

use crate::linear;

/// Sizes of a [`Linear`] layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearConfig {
    /// Features of the input.
    pub d_input: usize,
    /// Features of the output.
    pub d_output: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

impl LinearConfig {
    /// A layer without bias.
    pub fn new(d_input: usize, d_output: usize) -> Self {
        Self {
            d_input,
            d_output,
            bias: false,
        }
    }

    /// The same layer with a bias.
    pub fn with_bias(self) -> Self {
        Self { bias: true, ..self }
    }

    /// Builds the layer with lazily drawn uniform weights of bound `1/√d_input`.
    ///
    /// Nothing is allocated until a parameter is read, so that a checkpoint can replace the
    /// parameters without the memory being spent twice.
    pub fn init(&self, device: &Device) -> Linear {
        let bound = 1.0 / (self.d_input as f64).sqrt();
        let initializer = Initializer::Uniform {
            min: -bound,
            max: bound,
        };
        Linear {
            weight: initializer.init([self.d_output, self.d_input], device),
            bias: self.bias.then(|| initializer.init([self.d_output], device)),
        }
    }
}

/// An affine map `y = x · weightᵀ + bias`.
///
/// - `weight`: `[d_output, d_input]`, f32, f16 or bf16, as in the checkpoint
/// - `bias`: `[d_output]`, f32
#[derive(Module, Debug)]
pub struct Linear {
    /// The weight, `[d_output, d_input]`.
    pub weight: Param<Tensor<2>>,
    /// The bias, `[d_output]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// Applies the map to the last dimension.
    ///
    /// # Shapes
    ///
    /// - `x`: `[..., d_input]`
    /// - result: `[..., d_output]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        linear(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }
}
