use burn::tensor::Tensor;
use plm_kernels::{Norm, normalize_gradient};

use super::{Argument, Operation, record};
use crate::host::{self, F32s};

#[derive(Debug)]
struct Normalized {
    x: F32s,
    weight: F32s,
    bias: Option<F32s>,
    eps: f32,
}

impl Normalized {
    fn norm(&self) -> Norm<'_> {
        match &self.bias {
            None => Norm::Rms {
                weight: &self.weight,
            },
            Some(bias) => Norm::Layer {
                weight: &self.weight,
                bias,
            },
        }
    }

    fn of(&self, y: &[f32]) -> [Option<Vec<f32>>; 3] {
        let found = normalize_gradient(&self.x, self.norm(), self.eps, y);
        [Some(found.x), Some(found.weight), Some(found.bias)]
    }
}

/// Of rows and scale.
impl Operation<2> for Normalized {
    fn gradients(&self, y: &[f32], _: [bool; 2]) -> [Option<Vec<f32>>; 2] {
        let [x, weight, _] = self.of(y);
        [x, weight]
    }
}

/// Of rows, scale and shift.
impl Operation<3> for Normalized {
    fn gradients(&self, y: &[f32], _: [bool; 3]) -> [Option<Vec<f32>>; 3] {
        self.of(y)
    }
}

/// As [`normalize`](crate::normalize).
pub(crate) fn normalize<const D: usize>(
    x: &Tensor<D>,
    weight: &Tensor<1>,
    bias: Option<&Tensor<1>>,
    eps: f64,
) -> Option<Tensor<D>> {
    let (dims, device) = (x.dims(), x.device().without_autodiff());
    let [x, weight] = [Argument::new(x)?, Argument::new(weight)?];
    let bias = match bias {
        Some(bias) => Some(Argument::new(bias)?),
        None => None,
    };
    let normalized = Normalized {
        x: x.values.clone(),
        weight: weight.values.clone(),
        bias: bias.as_ref().map(|bias| bias.values.clone()),
        eps: eps as f32,
    };
    let y = plm_kernels::normalized(&normalized.x, normalized.norm(), normalized.eps);
    let y = host::tensor(y, dims, &device);
    Some(match bias {
        Some(bias) => record([x, weight, bias], y, normalized),
        None => record([x, weight], y, normalized),
    })
}
