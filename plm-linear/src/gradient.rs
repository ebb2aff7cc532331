//! Products with gradients, by the kernels, where numbers are in this process's memory.
//!
//! A weight of any format gives a gradient to its input with a panel of it widened at a time, so that
//! adapters are trained beside half and quantised weights that stay so.

use burn::backend::{Autodiff, BackendTypes, Flex};
use burn::tensor::{Device, Tensor};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::NoCheckpointing;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use plm_kernels::{Matrix, Product, Weights, products, transpose};

use crate::Weight;
use crate::host::{self, F32s};
use crate::weight::Held;

/// Elements of a weight that are turned at a time (64 MiB of f32).
const PANEL_ELEMENTS: usize = 1 << 24;

type Primitive = <Flex as BackendTypes>::FloatTensorPrimitive;

/// A product's input `[rows, d_input]` and weight, as the backward pass needs them.
#[derive(Debug, Clone)]
struct State {
    weight: Weight,
    /// Where the weight has a gradient.
    x: Option<Primitive>,
    rows: usize,
}

/// The product `y = x · weightᵀ` of a weight without a gradient.
#[derive(Debug)]
struct Frozen;

/// The same of one with a gradient.
#[derive(Debug)]
struct Trained;

impl Backward<Flex, 1> for Frozen {
    type State = State;

    fn backward(self, ops: Ops<State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let y = gradients.consume::<Flex>(&ops.node);
        let [x] = ops.parents;
        if let Some(x) = x {
            gradients.register::<Flex>(x.id, ops.state.of_input(&numbers(y)));
        }
    }
}

impl Backward<Flex, 2> for Trained {
    type State = State;

    fn backward(self, ops: Ops<State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let y = numbers(gradients.consume::<Flex>(&ops.node));
        let [x, weight] = ops.parents;
        if let Some(x) = x {
            gradients.register::<Flex>(x.id, ops.state.of_input(&y));
        }
        if let Some(weight) = weight {
            gradients.register::<Flex>(weight.id, ops.state.of_weight(&y));
        }
    }
}

impl State {
    /// The gradient of the input, `y · weight`: panel by panel of the weight, which is turned by itself.
    fn of_input(&self, y: &[f32]) -> Primitive {
        let [d_output, d_input] = self.weight.dims();
        let held = self.held();
        let weight = self.weight.matrix(&held);
        let step = (PANEL_ELEMENTS / d_input.max(1)).clamp(1, d_output);
        let mut x = vec![0.0; self.rows * d_input];
        let mut part = vec![0.0; if step < d_output { x.len() } else { 0 }];
        let mut panel = Vec::new();
        for start in (0..d_output).step_by(step) {
            let outputs = start..(start + step).min(d_output);
            let turned = transpose(&weight.narrow(outputs.clone()));
            let matrix = Matrix::new(d_input, outputs.len(), Weights::F32(&turned));
            if outputs.len() == d_output {
                products(y, self.rows, &mut [Product::new(matrix, &mut x)]);
                continue;
            }
            panel.clear();
            let rows = y.chunks(d_output);
            rows.for_each(|row| panel.extend_from_slice(&row[outputs.clone()]));
            products(&panel, self.rows, &mut [Product::new(matrix, &mut part)]);
            x.iter_mut().zip(&part).for_each(|(x, part)| *x += part);
        }
        primitive(x, [self.rows, d_input])
    }

    /// The gradient of the weight, `yᵀ · x`.
    fn of_weight(&self, y: &[f32]) -> Primitive {
        let [d_output, d_input] = self.weight.dims();
        let turn =
            |values: &[f32], width| transpose(&Matrix::new(self.rows, width, Weights::F32(values)));
        let x = self
            .x
            .clone()
            .expect("it is kept where the weight is tracked");
        let (x, y) = (turn(&numbers(x), d_input), turn(y, d_output));
        let matrix = Matrix::new(d_input, self.rows, Weights::F32(&x));
        let mut weight = vec![0.0; d_output * d_input];
        products(&y, d_output, &mut [Product::new(matrix, &mut weight)]);
        primitive(weight, [d_output, d_input])
    }

    fn held(&self) -> Held {
        self.weight.held().expect("the weight was there")
    }
}

fn numbers(primitive: Primitive) -> F32s {
    let tensor = Tensor::<2>::from_primitive::<Flex>(primitive);
    host::f32s(&tensor).expect("gradients are f32 on the host")
}

fn primitive(values: Vec<f32>, shape: [usize; 2]) -> Primitive {
    let tensor = host::tensor(values, shape, &Device::flex());
    let primitive = tensor.try_into_primitive::<Flex>();
    primitive.expect("a tensor of the flex backend")
}

/// The product of an input `[rows, d_input]` with a weight, where gradients are taken of one of
/// them and the numbers of both can be had.
pub(crate) fn product(x: &Tensor<2>, weight: &Weight) -> Option<Tensor<2>> {
    let tracked = match weight {
        Weight::Float(weight) => Some(weight.val()).filter(Tensor::is_autodiff),
        Weight::Blocks(_) => None,
    };
    if !x.is_autodiff() && tracked.is_none() {
        return None;
    }
    let inner = weight.without_autodiff();
    let held = inner.held()?;
    let [rows, d_input] = x.dims();
    let [d_output, _] = inner.dims();
    let values = host::f32s(&x.clone().without_autodiff())?;
    let mut y = vec![0.0; rows * d_output];
    products(
        &values,
        rows,
        &mut [Product::new(inner.matrix(&held), &mut y)],
    );
    let y = primitive(y, [rows, d_output]);
    let x = x.clone().autodiff();
    let x = x.try_into_primitive::<Autodiff<Flex>>().ok()?;
    let mut state = State {
        weight: inner.clone(),
        x: None,
        rows,
    };
    let y = match tracked {
        None => match Frozen
            .prepare::<NoCheckpointing>([x.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prepared) => prepared.finish(state, y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        },
        Some(weight) => {
            let weight = weight.try_into_primitive::<Autodiff<Flex>>().ok()?;
            let nodes = [x.node(), weight.node()];
            if weight.is_tracked() {
                debug_assert_eq!(values.len(), rows * d_input);
                state.x = Some(x.primitive().clone());
            }
            match Trained
                .prepare::<NoCheckpointing>(nodes)
                .compute_bound()
                .stateful()
            {
                OpsKind::Tracked(prepared) => prepared.finish(state, y),
                OpsKind::UnTracked(prepared) => prepared.finish(y),
            }
        }
    };
    Some(Tensor::from_primitive::<Autodiff<Flex>>(y))
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::tensor::{DType, Distribution, Tolerance};

    use super::*;
    use crate::BlockFormat;

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
    }

    #[test]
    fn gradients_are_those_of_burns_operations() {
        for rows in [1, 5, 40] {
            let x = random([rows, 50]).autodiff().require_grad();
            let w = random([30, 50]).autodiff().require_grad();
            let factors = random([rows, 30]).autodiff();
            let weight = Weight::Float(Param::from_tensor(w.clone()));
            let Weight::Float(held) = &weight else {
                unreachable!("it is of floats");
            };
            let held = held.val();
            let y = product(&x, &weight).unwrap();
            let found = (y * factors.clone()).sum().backward();
            let expected = (x.clone().matmul(w.clone().transpose()) * factors)
                .sum()
                .backward();
            for (found, expected) in [
                (x.grad(&found), x.grad(&expected)),
                (held.grad(&found), w.grad(&expected)),
            ] {
                found.unwrap().into_data().assert_approx_eq::<f32>(
                    &expected.unwrap().into_data(),
                    Tolerance::absolute(1e-4),
                );
            }
        }
    }

    #[test]
    fn panels_of_a_large_weight_are_summed_up() {
        let weight = random([PANEL_ELEMENTS / 700 + 50, 700]);
        let held = Weight::Float(Param::from_tensor(weight.clone()));
        let x = random([10, 700]).autodiff().require_grad();
        let factors = random([10, weight.dims()[0]]);
        let y = product(&x, &held).unwrap();
        let gradients = (y * factors.clone().autodiff()).sum().backward();
        x.grad(&gradients)
            .unwrap()
            .into_data()
            .assert_approx_eq::<f32>(
                &factors.matmul(weight).into_data(),
                Tolerance::absolute(1e-2),
            );
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
        ] {
            let x = random([20, 64]).autodiff().require_grad();
            let y = product(&x, &weight).unwrap();
            let gradients = y.sum().backward();
            let rows: Vec<u32> = (0..30).collect();
            let expected = weight.rows(&rows, &device).sum_dim(0).expand([20, 64]);
            x.grad(&gradients)
                .unwrap()
                .into_data()
                .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-3));
        }
        assert!(product(&random([2, 64]), &float(DType::F32)).is_none());
    }
}
