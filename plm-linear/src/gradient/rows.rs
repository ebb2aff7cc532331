use burn::tensor::Tensor;

use super::{Argument, Operation, record};
use crate::host;
use crate::rows::gather;

#[derive(Debug)]
struct Selected {
    ids: Vec<u32>,
    numbers: usize,
    width: usize,
}

impl Operation<1> for Selected {
    fn gradients(&self, y: &[f32], _: [bool; 1]) -> [Option<Vec<f32>>; 1] {
        let mut x = vec![0.0; self.numbers];
        for (&id, y) in self.ids.iter().zip(y.chunks(self.width)) {
            let row = &mut x[id as usize * self.width..][..self.width];
            row.iter_mut().zip(y).for_each(|(x, y)| *x += y);
        }
        [Some(x)]
    }
}

/// As [`select_rows`](crate::select_rows).
pub(crate) fn select_rows(x: &Tensor<2>, ids: &[u32]) -> Option<Tensor<2>> {
    let device = x.device().without_autodiff();
    let [rows, width] = x.dims();
    let argument = Argument::new(x)?;
    let y = gather(&argument.values, width, ids);
    let operation = Selected {
        ids: ids.to_vec(),
        numbers: rows * width,
        width,
    };
    let y = host::tensor(y, [ids.len(), width], &device);
    Some(record([argument], y, operation))
}
