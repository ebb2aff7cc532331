use burn::tensor::{Tensor, s};

/// Elements of a weight that are widened to f32 at a time (4 MiB of f32).
const PANEL_ELEMENTS: usize = 1 << 20;

/// Computes `x · weightᵀ + bias` with a weight in any float precision.
///
/// The result has the dtype of `x`. A weight of another dtype is converted in panels of output
/// rows, so the extra memory stays at a few MiB whatever the weight's size.
///
/// # Shapes
///
/// - `x`: `[..., d_input]`
/// - `weight`: `[d_output, d_input]`
/// - `bias`: `[d_output]`, in the dtype of `x`
/// - result: `[..., d_output]`
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let mut dims = x.dims();
    let [d_output, d_input] = weight.dims();
    let rows = dims[..D - 1].iter().product();
    dims[D - 1] = d_output;

    // Folding to two dimensions first matters: a product of a 3-D tensor with the transposed
    // view would copy the weight.
    let y = product(x.reshape([rows, d_input]), weight);
    let y = match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    };
    y.reshape(dims)
}

fn product(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let dtype = x.dtype();
    if weight.dtype() == dtype {
        return x.matmul(weight.transpose());
    }
    let [d_output, d_input] = weight.dims();
    let panel_rows = (PANEL_ELEMENTS / d_input.max(1)).max(1);
    let panels = (0..d_output).step_by(panel_rows).map(|start| {
        let end = (start + panel_rows).min(d_output);
        let panel = weight.clone().slice(s![start..end, ..]).cast(dtype);
        x.clone().matmul(panel.transpose())
    });
    Tensor::cat(panels.collect(), 1)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, Distribution, Tensor, Tolerance};
    use proptest::prelude::*;

    use super::*;

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
    }

    #[test]
    fn result_is_the_hand_computed_one() {
        let device = Device::flex();
        let x = Tensor::<2>::from_data([[1.0, 2.0], [0.5, -1.0]], &device);
        let weight = Tensor::<2>::from_data([[1.0, 0.0], [0.0, 1.0], [2.0, -3.0]], &device);
        let bias = Tensor::<1>::from_data([0.0, 10.0, 0.5], &device);
        let expected = Tensor::<2>::from_data([[1.0, 12.0, -3.5], [0.5, 9.0, 4.5]], &device);
        linear(x, weight, Some(bias))
            .into_data()
            .assert_eq(&expected.into_data(), true);
    }

    #[test]
    fn half_weights_wider_than_one_panel_equal_the_widened_weight() {
        let weight = random([600, 2048]).cast(DType::BF16);
        let x = random([3, 2, 2048]);
        let whole = linear(x.clone(), weight.clone().cast(DType::F32), None);
        linear(x, weight, None)
            .into_data()
            .assert_approx_eq::<f32>(&whole.into_data(), Tolerance::absolute(1e-3));
    }

    proptest! {
        #[test]
        fn every_precision_equals_its_widened_weight(
            rows in 1usize..5, d_input in 1usize..40, d_output in 1usize..40, half in any::<bool>(),
        ) {
            let dtype = if half { DType::F16 } else { DType::BF16 };
            let weight = random([d_output, d_input]).cast(dtype);
            let x = random([rows, d_input]);
            let expected = x.clone().matmul(weight.clone().cast(DType::F32).transpose());
            linear(x, weight, None)
                .into_data()
                .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-4));
        }
    }
}
