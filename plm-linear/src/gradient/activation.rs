use burn::tensor::Tensor;
use plm_kernels::{gelu_gradient, gelus, silu_mul_gradient, silu_muls};

use super::{Argument, Operation, record};
use crate::host::{self, F32s};

#[derive(Debug)]
struct SiluMul {
    gate: F32s,
    up: F32s,
}

impl Operation<2> for SiluMul {
    fn gradients(&self, y: &[f32], _: [bool; 2]) -> [Option<Vec<f32>>; 2] {
        silu_mul_gradient(&self.gate, &self.up, y).map(Some)
    }
}

/// As [`silu_mul`](crate::silu_mul).
pub(crate) fn silu_mul<const D: usize>(gate: &Tensor<D>, up: &Tensor<D>) -> Option<Tensor<D>> {
    let (dims, device) = (gate.dims(), gate.device().without_autodiff());
    let [gate, up] = [Argument::new(gate)?, Argument::new(up)?];
    let operation = SiluMul {
        gate: gate.values.clone(),
        up: up.values.clone(),
    };
    let y = silu_muls(&operation.gate, &operation.up);
    Some(record(
        [gate, up],
        host::tensor(y, dims, &device),
        operation,
    ))
}

#[derive(Debug)]
struct Gelu(F32s);

impl Operation<1> for Gelu {
    fn gradients(&self, y: &[f32], _: [bool; 1]) -> [Option<Vec<f32>>; 1] {
        [Some(gelu_gradient(&self.0, y))]
    }
}

/// The exact GELU.
pub(crate) fn gelu<const D: usize>(x: &Tensor<D>) -> Option<Tensor<D>> {
    let (dims, device) = (x.dims(), x.device().without_autodiff());
    let x = Argument::new(x)?;
    let operation = Gelu(x.values.clone());
    let y = host::tensor(gelus(&operation.0), dims, &device);
    Some(record([x], y, operation))
}
