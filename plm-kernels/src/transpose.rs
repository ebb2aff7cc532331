use crate::matrix::Matrix;
use crate::product::expand_row;
use crate::threads::{Shared, for_each};

/// Rows that are turned together: a cache line of each column.
const ROWS: usize = 16;

/// A matrix turned about its diagonal, in f32, `[columns, rows]`; as the gradients of products need
/// it.
pub fn transpose(matrix: &Matrix<'_>) -> Vec<f32> {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    let mut turned = vec![0.0f32; rows * columns];
    let out = Shared(turned.as_mut_ptr());
    for_each(rows.div_ceil(ROWS), |group| {
        let first = group * ROWS;
        let count = ROWS.min(rows - first);
        let mut block = vec![0.0; count * columns];
        for (i, row) in block.chunks_mut(columns.max(1)).enumerate() {
            expand_row(matrix, first + i, row);
        }
        for k in 0..columns {
            for i in 0..count {
                // SAFETY: each group writes its own rows' numbers, which are within the matrix.
                unsafe { *out.get().add(k * rows + first + i) = block[i * columns + k] };
            }
        }
    });
    turned
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Weights;

    #[test]
    fn columns_become_rows() {
        for (rows, columns) in [(1, 1), (3, 50), (16, 7), (37, 40), (5, 0)] {
            let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            let matrix = Matrix::new(rows, columns, Weights::F32(&values));
            let turned = transpose(&matrix);
            for (i, value) in turned.iter().enumerate() {
                assert_eq!(*value, values[i % rows * columns + i / rows]);
            }
        }
    }
}
