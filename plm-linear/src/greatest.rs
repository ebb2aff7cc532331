use burn::tensor::Tensor;

use crate::{ReadBackError, host, read_back_as};

/// The place of the greatest number of each row, the first among equals; nothing where a number is +∞ or
/// none, or where no number is above -∞.
///
/// On GPUs a kernel looks for them, and little is read back.
///
/// # Shapes
///
/// - `x`: `[rows, width]`
/// - result: one for each row
///
/// # Errors
///
/// [`ReadBackError`] when a device fails, as for want of memory.
pub fn greatest(x: Tensor<2>) -> Result<Vec<Option<u32>>, ReadBackError> {
    let [rows, width] = x.dims();
    if rows == 0 || width == 0 {
        return Ok(vec![None; rows]);
    }
    if let Some(values) = host::f32s(&x) {
        return Ok(values.chunks(width).map(greatest_of).collect());
    }
    #[cfg(feature = "gpu")]
    if let Some(places) = crate::gpu::greatest(&x) {
        return places;
    }
    let values: Vec<f32> = read_back_as(x)?;
    Ok(values.chunks(width).map(greatest_of).collect())
}

fn greatest_of(row: &[f32]) -> Option<u32> {
    let mut best = (None, f32::NEG_INFINITY);
    for (at, &number) in row.iter().enumerate() {
        if number.is_nan() || number == f32::INFINITY {
            return None;
        }
        if number > best.1 {
            best = (Some(at as u32), number);
        }
    }
    best.0
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn the_first_of_the_greatest_is_found_and_odd_numbers_are_not_passed_over() {
        let (low, high) = (f32::NEG_INFINITY, f32::INFINITY);
        let rows = [
            ([1.0, 3.0, 3.0], Some(1)),
            ([-2.0, low, -1.0], Some(2)),
            ([-0.0, 0.0, -1.0], Some(0)),
            ([1.0, f32::NAN, 3.0], None),
            ([1.0, high, 3.0], None),
            ([low; 3], None),
        ];
        let x = Tensor::<2>::from_data(rows.map(|(row, _)| row), &Device::flex());
        assert_eq!(greatest(x).unwrap(), rows.map(|(_, at)| at));
        assert_eq!(
            greatest(Tensor::zeros([0, 3], &Device::flex())).unwrap(),
            []
        );
        assert_eq!(
            greatest(Tensor::zeros([2, 0], &Device::flex())).unwrap(),
            [None; 2]
        );
    }
}
