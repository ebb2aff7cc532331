use burn::tensor::Tensor;
use plm_kernels::{add_gradient, scaled_sum};

use super::{Argument, Operation, record};
use crate::host::{self, F32s};

#[derive(Debug)]
struct ScaledSum {
    branch: F32s,
    scale: F32s,
}

impl Operation<3> for ScaledSum {
    fn gradients(&self, y: &[f32], [x, ..]: [bool; 3]) -> [Option<Vec<f32>>; 3] {
        let [branch, scale] = add_gradient(&self.branch, &self.scale, y);
        [x.then(|| y.to_vec()), Some(branch), Some(scale)]
    }
}

/// As [`residual`](crate::residual()), with a scale.
pub(crate) fn residual(x: &Tensor<3>, branch: &Tensor<3>, scale: &Tensor<1>) -> Option<Tensor<3>> {
    let (dims, device) = (x.dims(), x.device().without_autodiff());
    let arguments = [
        Argument::new(x)?,
        Argument::new(branch)?,
        Argument::new(scale)?,
    ];
    let operation = ScaledSum {
        branch: arguments[1].values.clone(),
        scale: arguments[2].values.clone(),
    };
    let y = scaled_sum(&arguments[0].values, &operation.branch, &operation.scale);
    Some(record(arguments, host::tensor(y, dims, &device), operation))
}
