use burn::tensor::Tensor;
use plm_kernels::softmax_losses;

use super::{Argument, Operation, record};
use crate::host::{self, F32s};

#[derive(Debug)]
struct CrossEntropy {
    logits: F32s,
    targets: Vec<u32>,
}

impl Operation<1> for CrossEntropy {
    /// The shares of each row, less 1 where the target is.
    fn gradients(&self, y: &[f32], _: [bool; 1]) -> [Option<Vec<f32>>; 1] {
        let rows = self.targets.len();
        let factor = y[0] / rows as f32;
        let mut shares = self.logits.to_vec();
        softmax_losses(&mut shares, &self.targets, factor);
        [Some(shares)]
    }
}

/// As [`cross_entropy`](crate::cross_entropy).
pub(crate) fn cross_entropy(logits: &Tensor<2>, targets: &[u32]) -> Option<Tensor<1>> {
    if !logits.is_autodiff() {
        return None;
    }
    let device = logits.device().without_autodiff();
    let argument = Argument::new(logits)?;
    let losses = softmax_losses(&mut argument.values.to_vec(), targets, 1.0);
    let mean = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / targets.len() as f64;
    let operation = CrossEntropy {
        logits: argument.values.clone(),
        targets: targets.to_vec(),
    };
    let y = host::tensor(vec![mean as f32], [1], &device);
    Some(record([argument], y, operation))
}
