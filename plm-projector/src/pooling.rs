use burn::tensor::Tensor;
use burn::tensor::module::adaptive_avg_pool2d;

use crate::Error;

/// Averages a square, row-major grid of patches down to `side / ratio` cells per side.
///
/// A side that the ratio does not divide is pooled as PyTorch's `adaptive_avg_pool2d` does: cell
/// `i` of `n` averages rows `⌊i·side/n⌋ .. ⌈(i+1)·side/n⌉`, so windows overlap.
///
/// # Shapes
///
/// - `patches`: `[tiles, side², width]`
/// - result: `[tiles, (side / ratio)², width]`
///
/// # Errors
///
/// [`Error::NotSquare`] when the number of patches is no square, [`Error::GridTooSmall`] when
/// less than one cell would remain.
pub fn average_pool(patches: Tensor<3>, ratio: usize) -> Result<Tensor<3>, Error> {
    let [tiles, num_patches, width] = patches.dims();
    let side = num_patches.isqrt();
    if side * side != num_patches {
        return Err(Error::NotSquare {
            patches: num_patches,
        });
    }
    if ratio == 0 || side < ratio {
        return Err(Error::GridTooSmall { side, ratio });
    }
    if ratio == 1 {
        return Ok(patches);
    }
    let cells = side / ratio;
    let grid = patches
        .swap_dims(1, 2) // [tiles, width, side²]
        .reshape([tiles, width, side, side]);
    Ok(adaptive_avg_pool2d(grid, [cells, cells])
        .reshape([tiles, width, cells * cells])
        .swap_dims(1, 2))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Int, Tensor, Tolerance};

    use super::*;

    fn counting(side: usize) -> Tensor<3> {
        Tensor::<1, Int>::arange(0..(side * side) as i64, &Device::flex())
            .float()
            .reshape([1, side * side, 1])
    }

    #[test]
    fn even_grids_average_two_by_two() {
        let pooled = average_pool(counting(4), 2).unwrap();
        let expected = [[[2.5f32], [4.5], [10.5], [12.5]]];
        pooled
            .into_data()
            .assert_approx_eq::<f32>(&expected.into(), Tolerance::absolute(1e-6));
    }

    #[test]
    fn odd_grids_overlap_their_windows() {
        // Rows and columns 0..=2 and 2..=4 of a 5x5 grid.
        let pooled = average_pool(counting(5), 2).unwrap();
        let expected = [[[6.0f32], [8.0], [16.0], [18.0]]];
        pooled
            .into_data()
            .assert_approx_eq::<f32>(&expected.into(), Tolerance::absolute(1e-6));
    }

    #[test]
    fn grids_that_cannot_be_pooled_are_named() {
        let device = Device::flex();
        let error = average_pool(Tensor::zeros([1, 17, 2], &device), 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "17 patches per tile are not a square grid; check `vision_use_cls_token` and the tile size"
        );
        let error = average_pool(Tensor::zeros([1, 1, 2], &device), 2).unwrap_err();
        assert_eq!(error, Error::GridTooSmall { side: 1, ratio: 2 });
    }
}
