use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use plm_kernels::{Activation, MatmulPrecision, Matrix};

use crate::product::product;
use crate::{Adapter, BlockFormat, Blocks, Weight};

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
            weight: Weight::Float(initializer.init([self.d_output, self.d_input], device)),
            bias: self.bias.then(|| initializer.init([self.d_output], device)),
            precision: MatmulPrecision::default(),
            adapters: Vec::new(),
        }
    }
}

/// An affine map `y = x · weightᵀ + bias`, and the adapters to it.
///
/// - `weight`: `[d_output, d_input]`
/// - `bias`: `[d_output]`, f32
#[derive(Module, Debug)]
pub struct Linear {
    /// The weight, `[d_output, d_input]`.
    pub weight: Weight,
    /// The bias, `[d_output]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// How exactly the kernels of the CPU multiply, and on a GPU whether bf16 weights may be multiplied
    /// as they are.
    #[module(skip)]
    pub precision: MatmulPrecision,
    /// What is added to the map, in this order.
    pub adapters: Vec<Adapter>,
}

impl Linear {
    /// Applies the map to the last dimension.
    ///
    /// # Shapes
    ///
    /// - `x`: `[..., d_input]`
    /// - result: `[..., d_output]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let [y] = product(x, [self], Activation::None);
        y
    }

    /// Applies the map and the exact GELU, `y · Φ(y)`, in one pass.
    ///
    /// # Shapes
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_gelu<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let [y] = product(x, [self], Activation::Gelu);
        y
    }
}

/// Applies several maps to the same input: of queries, keys and values, or of gate and values.
///
/// # Shapes
///
/// - `x`: `[..., d_input]`
/// - results: `[..., d_output]`, each layer's own
pub fn forward_each<const N: usize, const D: usize>(
    layers: [&Linear; N],
    x: Tensor<D>,
) -> [Tensor<D>; N] {
    product(x, layers, Activation::None)
}

impl Weight {
    /// Rounds a matrix to blocks.
    pub fn quantize(matrix: &Matrix<'_>, format: BlockFormat, device: &Device) -> Self {
        Self::Blocks(Blocks::quantize(matrix, format, device))
    }
}
