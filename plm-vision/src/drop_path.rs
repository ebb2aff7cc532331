use burn::tensor::{Distribution, Tensor};

/// Leaves out a residual branch for some tiles, where gradients are taken, and scales it for the others
/// so that its mean stays ([stochastic depth](https://arxiv.org/abs/1603.09382)).
///
/// # Shapes
///
/// - `branch` and result: `[tiles, tokens, width]`
pub(crate) fn drop_path(branch: Tensor<3>, rate: f64) -> Tensor<3> {
    if rate == 0.0 || !branch.is_autodiff() {
        return branch;
    }
    let [tiles, ..] = branch.dims();
    let keep = 1.0 - rate;
    let device = branch.device().without_autodiff();
    let options = (&device, branch.dtype());
    let kept = Tensor::<3>::random([tiles, 1, 1], Distribution::Bernoulli(keep), options);
    branch * (kept / keep)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    const TILES: usize = 4000;

    fn dropped(device: &Device, rate: f64) -> Vec<f32> {
        let branch = Tensor::ones([TILES, 2, 3], device);
        let data = drop_path(branch, rate).into_data();
        data.try_to_vec().unwrap()
    }

    #[test]
    fn it_is_left_out_for_whole_tiles_and_its_mean_stays() {
        let values = dropped(&Device::flex().autodiff(), 0.25);
        let tiles = values.chunks(6);
        let mut kept = 0;
        for tile in tiles {
            assert!(tile.iter().all(|value| *value == tile[0]), "{tile:?}");
            assert!(tile[0] == 0.0 || (tile[0] - 4.0 / 3.0).abs() < 1e-6);
            kept += usize::from(tile[0] != 0.0);
        }
        // Six standard deviations.
        assert!(kept.abs_diff(3000) < 165, "{kept}");
    }

    #[test]
    fn it_stays_where_no_gradient_is_taken_or_nothing_is_to_be_left_out() {
        let ones = vec![1.0; TILES * 6];
        assert_eq!(dropped(&Device::flex(), 0.5), ones);
        assert_eq!(dropped(&Device::flex().autodiff(), 0.0), ones);
    }
}
