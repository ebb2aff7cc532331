use burn::tensor::{Int, Tensor};

use crate::host;

/// Rows of a matrix, in any order and any number of times.
///
/// # Shapes
///
/// - `x`: `[rows, width]`
/// - result: `[ids.len(), width]`
///
/// # Panics
///
/// When there is no such row.
pub fn select_rows(x: Tensor<2>, ids: &[u32]) -> Tensor<2> {
    let device = x.device();
    if let Some(values) = host::f32s(&x) {
        let width = x.dims()[1];
        let rows = gather(&values, width, ids);
        return host::tensor(rows, [ids.len(), width], &device);
    }
    #[cfg(feature = "flex-autodiff")]
    if let Some(rows) = crate::gradient::select_rows(&x, ids) {
        return rows;
    }
    let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
    x.select(0, Tensor::<1, Int>::from_data(ids.as_slice(), &device))
}

/// Copies rows.
pub(crate) fn gather(x: &[f32], width: usize, ids: &[u32]) -> Vec<f32> {
    let mut rows = Vec::with_capacity(ids.len() * width);
    for &id in ids {
        rows.extend_from_slice(&x[id as usize * width..][..width]);
    }
    rows
}
