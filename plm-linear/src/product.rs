use burn::module::Param;
use burn::tensor::activation::gelu;
use burn::tensor::{DType, Tensor, s};
use plm_kernels::{Activation, MatmulPrecision, Product, products};

use crate::host::{self, F32s};
use crate::weight::Held;
use crate::{Linear, Weight};

/// Elements of a weight that are widened to f32 at a time (4 MiB of f32).
pub(crate) const PANEL_ELEMENTS: usize = 1 << 20;

/// Computes `x · weightᵀ + bias` with a weight in any format.
///
/// # Shapes
///
/// - `x`: `[..., d_input]`, f32
/// - `weight`: `[d_output, d_input]`
/// - `bias`: `[d_output]`, in the dtype of `x`
/// - result: `[..., d_output]`
pub fn linear<const D: usize>(x: Tensor<D>, weight: &Weight, bias: Option<Tensor<1>>) -> Tensor<D> {
    let map = Map {
        weight,
        bias,
        precision: MatmulPrecision::Highest,
    };
    let [y] = compute(x, [map], Activation::None);
    y
}

/// What is applied to the input.
struct Map<'a> {
    weight: &'a Weight,
    bias: Option<Tensor<1>>,
    precision: MatmulPrecision,
}

pub(crate) fn product<const N: usize, const D: usize>(
    x: Tensor<D>,
    layers: [&Linear; N],
    activation: Activation,
) -> [Tensor<D>; N] {
    let maps = layers.map(|layer| Map {
        weight: &layer.weight,
        bias: layer.bias.as_ref().map(Param::val),
        precision: layer.precision,
    });
    if layers.iter().all(|layer| layer.adapters.is_empty()) {
        return compute(x, maps, activation);
    }
    let mut results = compute(x.clone(), maps, Activation::None);
    for (y, layer) in results.iter_mut().zip(layers) {
        let bias = || layer.bias.as_ref().map(Param::val);
        for adapter in &layer.adapters {
            *y = adapter.apply(x.clone(), y.clone(), &layer.weight, bias());
        }
        if activation == Activation::Gelu {
            *y = with_gelu(y.clone());
        }
    }
    results
}

fn compute<const N: usize, const D: usize>(
    x: Tensor<D>,
    maps: [Map<'_>; N],
    activation: Activation,
) -> [Tensor<D>; N] {
    match on_host(&x, &maps, activation) {
        Some(results) => results,
        None => maps.map(|map| with_burn(x.clone(), map, activation)),
    }
}

/// The products by kernels of our own, where all numbers are in this process's memory.
fn on_host<const N: usize, const D: usize>(
    x: &Tensor<D>,
    maps: &[Map<'_>; N],
    activation: Activation,
) -> Option<[Tensor<D>; N]> {
    let device = x.device();
    let values = host::f32s(x)?;
    let mut dims = x.dims();
    let rows = dims[..D - 1].iter().product();
    let held: Vec<(Held, Option<F32s>)> = maps
        .iter()
        .map(|map| {
            let bias = match &map.bias {
                Some(bias) => Some(host::f32s(bias)?),
                None => None,
            };
            Some((map.weight.held()?, bias))
        })
        .collect::<Option<_>>()?;
    let mut results: Vec<Vec<f32>> = maps
        .iter()
        .map(|map| vec![0.0; rows * map.weight.dims()[0]])
        .collect();
    let mut list = Vec::with_capacity(N);
    for ((map, (held, bias)), y) in maps.iter().zip(&held).zip(&mut results) {
        list.push(Product {
            matrix: map.weight.matrix(held),
            bias: bias.as_deref(),
            activation,
            precision: map.precision,
            y,
        });
    }
    products(&values, rows, &mut list);
    Some(std::array::from_fn(|i| {
        dims[D - 1] = maps[i].weight.dims()[0];
        host::tensor(std::mem::take(&mut results[i]), dims, &device)
    }))
}

/// A product by burn's operations.
///
/// A weight of another dtype is converted in panels of output rows, so that the extra memory is
/// bounded whatever the weight's size.
fn with_burn<const D: usize>(x: Tensor<D>, map: Map<'_>, activation: Activation) -> Tensor<D> {
    let weight = map.weight;
    let mut dims = x.dims();
    let [d_output, d_input] = weight.dims();
    let rows = dims[..D - 1].iter().product();
    dims[D - 1] = d_output;

    // Folding to two dimensions first matters: a product of a 3-D tensor with the transposed
    // view would copy the weight.
    let x = x.reshape([rows, d_input]);
    let y = match with_gradient(&x, &map) {
        Some(y) => y,
        None => {
            let y = matmul(x, weight, map.precision);
            match map.bias {
                Some(bias) => y + bias.unsqueeze(),
                None => y,
            }
        }
    };
    match activation {
        Activation::None => y,
        Activation::Gelu => with_gelu(y),
    }
    .reshape(dims)
}

/// The product by kernels that take gradients.
#[cfg(feature = "flex-autodiff")]
fn with_gradient(x: &Tensor<2>, map: &Map<'_>) -> Option<Tensor<2>> {
    crate::gradient::product(x, map.weight, map.bias.as_ref(), map.precision)
}

#[cfg(not(feature = "flex-autodiff"))]
fn with_gradient(_: &Tensor<2>, _: &Map<'_>) -> Option<Tensor<2>> {
    None
}

/// The exact GELU, by a kernel where a gradient is taken through it in this process's memory.
fn with_gelu<const D: usize>(y: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex-autodiff")]
    if y.is_autodiff()
        && let Some(y) = crate::gradient::gelu(&y)
    {
        return y;
    }
    gelu(y)
}

/// Rows up to which a GPU multiplies them with a weight as it is stored, which is read once for each eight.
/// With more, a weight that is widened once, and multiplied by burn's tuned kernels, is worth its memory.
pub(crate) const FEW_ROWS: usize = 32;

/// The product by burn's operations, or kernels of GPUs. A weight of another dtype than `x` is read by a
/// kernel or widened panel by panel, or, if it is bf16, rows are many and [`MatmulPrecision::Medium`] will
/// do, multiplied as it is on a GPU that can. One in f16 is not, since activations can be larger than its
/// range.
fn matmul(x: Tensor<2>, weight: &Weight, precision: MatmulPrecision) -> Tensor<2> {
    let [d_output, d_input] = weight.dims();
    let on_cpu = host::is_cpu(&x.device());
    match weight {
        Weight::Float(weight) if weight.val().dtype() == x.dtype() => {
            x.matmul(weight.val().transpose())
        }
        Weight::Float(weight)
            if x.dims()[0] > FEW_ROWS
                && weight.val().dtype() == DType::BF16
                && precision == MatmulPrecision::Medium
                && !on_cpu
                && x.device().supports_dtype(DType::BF16) =>
        {
            let y = x.clone().cast(DType::BF16).matmul(weight.val().transpose());
            y.cast(x.dtype())
        }
        _ => {
            #[cfg(feature = "gpu")]
            if let Some(y) = crate::gpu::product(&x, weight) {
                return y;
            }
            let panel_rows = (PANEL_ELEMENTS / d_input.max(1)).max(1);
            let panels = (0..d_output).step_by(panel_rows).map(|start| {
                let panel = panel(weight, start, (start + panel_rows).min(d_output));
                x.clone().matmul(panel.cast(x.dtype()).transpose())
            });
            let mut panels: Vec<Tensor<2>> = panels.collect();
            match panels.len() {
                1 => panels.remove(0),
                _ => Tensor::cat(panels, 1),
            }
        }
    }
}

/// The rows `start..end` of a weight.
pub(crate) fn panel(weight: &Weight, start: usize, end: usize) -> Tensor<2> {
    #[cfg(feature = "gpu")]
    if let Some(rows) = crate::gpu::rows(weight, start..end) {
        return rows;
    }
    match weight {
        Weight::Float(weight) => weight.val().slice(s![start..end, ..]),
        Weight::Blocks(blocks) => blocks.narrow(start, end),
        Weight::Nf4(nf4) => nf4.narrow(start, end),
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, Tolerance};
    use plm_kernels::{Matrix, Weights};
    use proptest::prelude::*;

    use super::*;
    use crate::{BlockFormat, Nf4};

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
    }

    fn float(weight: Tensor<2>) -> Weight {
        Weight::Float(Param::from_tensor(weight))
    }

    #[test]
    fn result_is_the_hand_computed_one() {
        let device = Device::flex();
        let x = Tensor::<2>::from_data([[1.0, 2.0], [0.5, -1.0]], &device);
        let weight = Tensor::<2>::from_data([[1.0, 0.0], [0.0, 1.0], [2.0, -3.0]], &device);
        let bias = Tensor::<1>::from_data([0.0, 10.0, 0.5], &device);
        let expected = Tensor::<2>::from_data([[1.0, 12.0, -3.5], [0.5, 9.0, 4.5]], &device);
        linear(x, &float(weight), Some(bias))
            .into_data()
            .assert_eq(&expected.into_data(), true);
    }

    #[test]
    fn half_weights_wider_than_one_panel_equal_the_widened_weight() {
        let weight = random([600, 2048]).cast(DType::BF16);
        let x = random([3, 2, 2048]);
        let whole = x
            .clone()
            .reshape([6, 2048])
            .matmul(weight.clone().cast(DType::F32).transpose());
        let map = Map {
            weight: &float(weight),
            bias: None,
            precision: MatmulPrecision::Highest,
        };
        with_burn(x, map, Activation::None)
            .reshape([6, 600])
            .into_data()
            .assert_approx_eq::<f32>(&whole.into_data(), Tolerance::absolute(1e-3));
    }

    /// A weight in one of the six formats.
    fn weight(d_output: usize, d_input: usize, format: usize) -> Weight {
        let weight = random([d_output, d_input]);
        match format {
            0 => float(weight),
            1 => float(weight.cast(DType::F16)),
            2 => float(weight.cast(DType::BF16)),
            _ => {
                let values: Vec<f32> = weight.into_data().try_into_vec().unwrap();
                let matrix = Matrix::new(d_output, d_input, Weights::F32(&values));
                let device = Device::flex();
                match format {
                    3 => Weight::quantize(&matrix, BlockFormat::Q8, &device),
                    4 => Weight::quantize(&matrix, BlockFormat::Q4, &device),
                    _ => Weight::Nf4(Nf4::quantize(&matrix, &device)),
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn kernels_and_burns_operations_agree_in_every_format(
            rows in 1usize..12, d_input in 1usize..70, d_output in 1usize..40, format in 0usize..6,
            biased in any::<bool>(), gelu in any::<bool>(),
        ) {
            let weight = weight(d_output, d_input, format);
            let bias = biased.then(|| random([d_output]));
            let activation = if gelu { Activation::Gelu } else { Activation::None };
            let x = random([2, rows, d_input]);
            let map = || Map {
                weight: &weight,
                bias: bias.clone(),
                precision: MatmulPrecision::Highest,
            };
            let [found] = compute(x.clone(), [map()], activation);
            with_burn(x, map(), activation)
                .into_data()
                // With blocks, the kernels may round activations to 16 bits.
                .assert_approx_eq::<f32>(&found.into_data(), Tolerance::absolute(1e-3));
        }
    }
}
