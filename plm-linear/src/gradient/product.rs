use burn::tensor::Tensor;
use plm_kernels::{MatmulPrecision, input_gradient, product_of_rows, sum_rows, weight_gradient};

use super::{Argument, Operation, record};
use crate::Weight;
use crate::host::{self, F32s};

/// A product of rows with a weight of any format.
#[derive(Debug)]
struct Multiplied {
    weight: Weight,
    rows: usize,
    precision: MatmulPrecision,
    /// The input, where the weight has a gradient.
    x: Option<F32s>,
}

impl Multiplied {
    fn of_input(&self, y: &[f32]) -> Vec<f32> {
        let held = self.weight.held().expect("the weight was there");
        input_gradient(y, self.rows, &self.weight.matrix(&held), self.precision)
    }

    fn of_weight(&self, y: &[f32]) -> Vec<f32> {
        let x = self.x.as_ref();
        let x = x.expect("it is kept where the weight is tracked");
        weight_gradient(y, x, self.rows, self.precision)
    }

    fn of_bias(&self, y: &[f32]) -> Vec<f32> {
        sum_rows(y, self.weight.dims()[0])
    }
}

/// Of the input alone: adapters are trained beside half and quantised weights that stay so.
impl Operation<1> for Multiplied {
    fn gradients(&self, y: &[f32], _: [bool; 1]) -> [Option<Vec<f32>>; 1] {
        [Some(self.of_input(y))]
    }
}

/// Of the input and the weight.
impl Operation<2> for Multiplied {
    fn gradients(&self, y: &[f32], [x, weight]: [bool; 2]) -> [Option<Vec<f32>>; 2] {
        [
            x.then(|| self.of_input(y)),
            weight.then(|| self.of_weight(y)),
        ]
    }
}

/// Of the input, the weight and the bias.
impl Operation<3> for Multiplied {
    fn gradients(&self, y: &[f32], [x, weight, bias]: [bool; 3]) -> [Option<Vec<f32>>; 3] {
        [
            x.then(|| self.of_input(y)),
            weight.then(|| self.of_weight(y)),
            bias.then(|| self.of_bias(y)),
        ]
    }
}

/// The product of an input `[rows, d_input]` with a weight, and a bias, where gradients are taken of
/// one of them and the numbers of all can be had.
pub(crate) fn product(
    x: &Tensor<2>,
    weight: &Weight,
    bias: Option<&Tensor<1>>,
    precision: MatmulPrecision,
) -> Option<Tensor<2>> {
    let tracked = match weight {
        Weight::Float(weight) => Some(weight.val()).filter(Tensor::is_autodiff),
        Weight::Blocks(_) | Weight::Nf4(_) => None,
    };
    if !x.is_autodiff() && tracked.is_none() {
        return None;
    }
    let device = x.device().without_autodiff();
    let inner = weight.without_autodiff();
    let held = inner.held()?;
    let [rows, _] = x.dims();
    let [d_output, _] = inner.dims();
    if let Some(bias) = bias
        && tracked.is_none()
        && bias.is_autodiff()
    {
        return Some(product(x, weight, None, precision)? + bias.clone().unsqueeze());
    }
    let x = Argument::new(x)?;
    let bias = match bias {
        Some(bias) => Some(Argument::new(bias)?),
        None => None,
    };
    let own = bias.as_ref().map(|bias| &*bias.values);
    let y = product_of_rows(&x.values, rows, &inner.matrix(&held), own, precision);
    let y = host::tensor(y, [rows, d_output], &device);
    let mut operation = Multiplied {
        weight: inner.clone(),
        rows,
        precision,
        x: None,
    };
    let Some(weight) = tracked else {
        return Some(record([x], y, operation));
    };
    operation.x = Some(x.values.clone());
    let weight = Argument::new(&weight)?;
    Some(match bias {
        Some(bias) => record([x, weight, bias], y, operation),
        None => record([x, weight], y, operation),
    })
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::tensor::{DType, Device, Distribution, Tolerance};
    use plm_kernels::{Matrix, Weights};

    use super::*;
    use crate::{BlockFormat, Nf4};

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
    }

    #[test]
    fn gradients_are_those_of_burns_operations() {
        for rows in [1, 5, 40] {
            let x = random([rows, 50]).autodiff().require_grad();
            let w = random([30, 50]).autodiff().require_grad();
            let bias = random([30]).autodiff().require_grad();
            let factors = random([rows, 30]).autodiff();
            let weight = Weight::Float(Param::from_tensor(w.clone()));
            let Weight::Float(held) = &weight else {
                unreachable!("it is of floats");
            };
            let held = held.val();
            let y = product(&x, &weight, Some(&bias), MatmulPrecision::Highest).unwrap();
            let found = (y * factors.clone()).sum().backward();
            let y = x.clone().matmul(w.clone().transpose()) + bias.clone().unsqueeze();
            let expected = (y * factors).sum().backward();
            for (found, expected) in [
                (x.grad(&found), x.grad(&expected)),
                (held.grad(&found), w.grad(&expected)),
                (
                    bias.grad(&found).map(Tensor::unsqueeze),
                    bias.grad(&expected).map(Tensor::unsqueeze),
                ),
            ] {
                found.unwrap().into_data().assert_approx_eq::<f32>(
                    &expected.unwrap().into_data(),
                    Tolerance::absolute(1e-4),
                );
            }
        }
    }

    #[test]
    fn frozen_weights_of_any_format_hand_gradients_on() {
        let values = random([30, 64]);
        let numbers: Vec<f32> = values.clone().into_data().try_into_vec().unwrap();
        let matrix = Matrix::new(30, 64, Weights::F32(&numbers));
        let float = |dtype| Weight::Float(Param::from_tensor(values.clone().cast(dtype)));
        let device = Device::flex();
        for weight in [
            float(DType::F32),
            float(DType::BF16),
            float(DType::F16),
            Weight::quantize(&matrix, BlockFormat::Q8, &device),
            Weight::quantize(&matrix, BlockFormat::Q4, &device),
            Weight::Nf4(Nf4::quantize(&matrix, &device)),
        ] {
            let x = random([20, 64]).autodiff().require_grad();
            let y = product(&x, &weight, None, MatmulPrecision::Highest).unwrap();
            let gradients = y.sum().backward();
            let rows: Vec<u32> = (0..30).collect();
            let expected = weight.rows(&rows, &device).sum_dim(0).expand([20, 64]);
            x.grad(&gradients)
                .unwrap()
                .into_data()
                .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-3));
        }
        let x = random([2, 64]);
        let frozen = float(DType::F32);
        assert!(product(&x, &frozen, None, MatmulPrecision::Highest).is_none());
    }
}
