use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

/// Where the patches of a square grid stand for [`Rope2d`].
#[derive(Debug, Clone, PartialEq)]
pub struct Rope2dConfig {
    /// Patches along one side.
    pub grid: usize,
    /// Features of one attention head, a multiple of 4.
    pub head_dim: usize,
    /// Added to column and row; 1 where a cls token holds position 0.
    pub offset: f32,
    /// Base of the frequencies.
    pub temperature: f32,
    /// Grid, height then width, that positions are scaled to.
    pub ref_feat_shape: [usize; 2],
}

impl Rope2dConfig {
    /// The rotation angle of each patch and feature pair, row-major `[grid², head_dim / 2]`.
    ///
    /// The first half of the pairs turns with the column, the second with the row; pair `j` of a
    /// half has frequency `temperature^(-j / (head_dim / 4))`.
    pub fn angles(&self) -> Vec<f32> {
        let bands = self.head_dim / 4;
        let frequencies: Vec<f32> = (0..bands)
            .map(|j| 1.0 / self.temperature.powf(j as f32 / bands as f32))
            .collect();
        let [ref_height, ref_width] = self.ref_feat_shape;
        let position = |index: usize, reference: usize| {
            (index as f32 + self.offset) / self.grid as f32 * reference as f32
        };
        let mut angles = Vec::with_capacity(self.grid * self.grid * 2 * bands);
        for row in 0..self.grid {
            for column in 0..self.grid {
                let x = position(column, ref_width);
                let y = position(row, ref_height);
                angles.extend(frequencies.iter().map(|f| x * f));
                angles.extend(frequencies.iter().map(|f| y * f));
            }
        }
        angles
    }
}

/// Two-dimensional rotary positions: sines and cosines for one grid of patches.
///
/// Adjacent features form the pairs `(a, b) → (a·cos - b·sin, b·cos + a·sin)`; the text decoder's
/// rope pairs the two halves of a head instead.
#[derive(Debug, Clone)]
pub struct Rope2d {
    cos: Tensor<5>, // [1, 1, patches, head_dim / 2, 1]
    sin: Tensor<5>,
    /// Cosines and sines of all tokens, `[leading + patches, head_dim / 2]`, for the kernels.
    tables: Arc<[Vec<f32>; 2]>,
}

impl Rope2d {
    /// Computes the tables in f32, for `leading` tokens without a place on the grid (the cls token)
    /// and the patches after them.
    pub fn new(config: &Rope2dConfig, leading: usize, device: &Device) -> Self {
        let angles = config.angles();
        let shape = [1, 1, config.grid * config.grid, config.head_dim / 2, 1];
        let table = |f: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().map(|&angle| f(angle)).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        let of_all = |f: fn(f32) -> f32| {
            let still = std::iter::repeat_n(0.0, leading * config.head_dim / 2);
            still.chain(angles.iter().copied()).map(f).collect()
        };
        Self {
            cos: table(f32::cos),
            sin: table(f32::sin),
            tables: Arc::new([of_all(f32::cos), of_all(f32::sin)]),
        }
    }

    /// Cosines and sines of all tokens, `[leading + patches, head_dim / 2]` each.
    pub(crate) fn tables(&self) -> &[Vec<f32>; 2] {
        &self.tables
    }

    /// Rotates the queries or keys of the patches; leading tokens without a place on the grid
    /// (the cls token) stay as they are.
    ///
    /// # Shapes
    ///
    /// - `x` and result: `[tiles, heads, leading + patches, head_dim]`
    pub fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let [tiles, heads, tokens, head_dim] = x.dims();
        let patches = self.cos.dims()[2];
        let leading = tokens - patches;
        let pairs =
            x.clone()
                .narrow(2, leading, patches)
                .reshape([tiles, heads, patches, head_dim / 2, 2]);
        let a = pairs.clone().narrow(4, 0, 1);
        let b = pairs.narrow(4, 1, 1);
        let (cos, sin) = (self.cos.clone(), self.sin.clone());
        let rotated = Tensor::cat(
            vec![
                a.clone() * cos.clone() - b.clone() * sin.clone(),
                b * cos + a * sin,
            ],
            4,
        )
        .reshape([tiles, heads, patches, head_dim]);
        if leading == 0 {
            return rotated;
        }
        Tensor::cat(vec![x.narrow(2, 0, leading), rotated], 2)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tolerance;

    use super::*;

    fn config(offset: f32) -> Rope2dConfig {
        Rope2dConfig {
            grid: 2,
            head_dim: 8,
            offset,
            temperature: 10_000.0,
            ref_feat_shape: [2, 2],
        }
    }

    #[test]
    fn columns_turn_the_first_half_and_rows_the_second() {
        let angles = config(1.0).angles();
        // Patch 1 is column 1, row 0; frequencies are 1 and 0.01.
        let expected = [2.0, 0.02, 1.0, 0.01];
        for (found, expected) in angles[4..8].iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn leading_tokens_are_left_alone_and_adjacent_features_are_paired() {
        let device = Device::flex();
        let rope = Rope2d::new(&config(1.0), 1, &device);
        let x = Tensor::<4>::ones([1, 1, 5, 8], &device);
        let rotated = rope.rotate(x).into_data().try_into_vec::<f32>().unwrap();
        assert_eq!(&rotated[..8], &[1.0; 8]);
        let (sin, cos) = 1f32.sin_cos();
        let first = TensorData::from([rotated[8], rotated[9]]);
        first.assert_approx_eq::<f32>(
            &TensorData::from([cos - sin, cos + sin]),
            Tolerance::absolute(1e-6),
        );
    }
}
