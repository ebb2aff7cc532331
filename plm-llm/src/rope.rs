use burn::tensor::{Device, Tensor, TensorData};
use plm_linear::rotate_heads;

use crate::Error;

/// Rotary position constants of the text decoder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f32,
    /// How frequencies are stretched for long contexts, if they are.
    pub scaling: Option<Scaling>,
}

/// How rotary frequencies are stretched for long contexts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scaling {
    /// Every frequency divided by a factor.
    Linear {
        /// The factor.
        factor: f32,
    },
    /// Llama 3's scaling by wavelength.
    Llama3(Llama3Scaling),
}

/// Constants of Llama 3's frequency scaling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Llama3Scaling {
    /// Divisor of the low frequencies.
    pub factor: f32,
    /// Wavelengths above `original_max_positions / low_freq_factor` are divided.
    pub low_freq_factor: f32,
    /// Wavelengths below `original_max_positions / high_freq_factor` are kept.
    pub high_freq_factor: f32,
    /// Positions before the context was extended.
    pub original_max_positions: f32,
}

impl Rope {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let fail = |what: String| Err(Error::InvalidConfig { what });
        let positive = |x: f32| x.is_finite() && x > 0.0;
        if !positive(self.theta) {
            return fail(format!("rope_theta is {}, it must be positive", self.theta));
        }
        match self.scaling {
            Some(Scaling::Linear { factor }) if !positive(factor) => {
                fail(format!("rope factor is {factor}, it must be positive"))
            }
            Some(Scaling::Llama3(s))
                if !([s.factor, s.low_freq_factor, s.original_max_positions]
                    .into_iter()
                    .all(positive)
                    && s.high_freq_factor > s.low_freq_factor) =>
            {
                fail(format!(
                    "llama3 rope scaling is out of range (factors must be positive and high_freq_factor above low_freq_factor): {s:?}"
                ))
            }
            _ => Ok(()),
        }
    }

    /// Angle per position of each feature pair, `theta^(-2i / head_dim)` after scaling.
    ///
    /// The result has `head_dim / 2` values, computed in f32 as the reference does.
    pub fn inverse_frequencies(&self, head_dim: usize) -> Vec<f32> {
        (0..head_dim / 2)
            .map(|i| {
                let frequency = 1.0 / self.theta.powf((2 * i) as f32 / head_dim as f32);
                match self.scaling {
                    None => frequency,
                    Some(Scaling::Linear { factor }) => frequency / factor,
                    Some(Scaling::Llama3(scaling)) => scaling.apply(frequency),
                }
            })
            .collect()
    }

    /// Sines and cosines for the positions of a batch.
    ///
    /// `positions` holds, row by row, `seq` positions for each of `batch` sequences.
    ///
    /// # Panics
    ///
    /// When `batch` is 0.
    pub fn table(
        &self,
        positions: &[usize],
        batch: usize,
        head_dim: usize,
        device: &Device,
    ) -> RopeTable {
        let frequencies = self.inverse_frequencies(head_dim);
        let shape = [batch, 1, positions.len() / batch, head_dim / 2];
        let table = |f: fn(f32) -> f32| {
            let values: Vec<f32> = positions
                .iter()
                .flat_map(|&position| frequencies.iter().map(move |w| f(position as f32 * w)))
                .collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        RopeTable {
            cos: table(f32::cos),
            sin: table(f32::sin),
        }
    }
}

impl Llama3Scaling {
    fn apply(&self, frequency: f32) -> f32 {
        let wavelength = 2.0 * std::f32::consts::PI / frequency;
        if wavelength < self.original_max_positions / self.high_freq_factor {
            return frequency;
        }
        if wavelength > self.original_max_positions / self.low_freq_factor {
            return frequency / self.factor;
        }
        let smooth = (self.original_max_positions / wavelength - self.low_freq_factor)
            / (self.high_freq_factor - self.low_freq_factor);
        (1.0 - smooth) * frequency / self.factor + smooth * frequency
    }
}

/// Sines and cosines of the positions of one [`extend`](crate::Decoder::extend).
#[derive(Debug, Clone)]
pub struct RopeTable {
    cos: Tensor<4>, // [batch, 1, seq, head_dim / 2]
    sin: Tensor<4>,
}

impl RopeTable {
    /// Cosines, `[batch, 1, seq, head_dim / 2]`.
    pub(crate) fn cos(&self) -> &Tensor<4> {
        &self.cos
    }

    /// Sines, as the cosines.
    pub(crate) fn sin(&self) -> &Tensor<4> {
        &self.sin
    }

    /// Rotates queries or keys, as [`rotate_heads`] says.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, seq, heads, head_dim]`
    /// - result: `[batch, heads, seq, head_dim]`
    pub fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        rotate_heads(x, &self.cos, &self.sin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_keeps_short_wavelengths_and_divides_long_ones() {
        let scaling = Llama3Scaling {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_positions: 8192.0,
        };
        assert_eq!(scaling.apply(1.0), 1.0);
        assert_eq!(scaling.apply(1e-6), 1e-6 / 32.0);
        let between = 2.0 * std::f32::consts::PI / 4096.0;
        let smooth = 1.0 / 3.0;
        let expected = (1.0 - smooth) * between / 32.0 + smooth * between;
        assert!((scaling.apply(between) - expected).abs() < 1e-9);
    }

    #[test]
    fn position_zero_is_not_rotated_and_halves_are_paired() {
        let device = Device::flex();
        let rope = Rope {
            theta: 10_000.0,
            scaling: None,
        };
        let table = rope.table(&[0, 1], 1, 4, &device);
        let x = Tensor::<4>::from_data([[[[1.0, 2.0, 3.0, 4.0]], [[1.0, 2.0, 3.0, 4.0]]]], &device);
        let rotated: Vec<f32> = table.rotate(x).into_data().try_into_vec().unwrap();
        assert_eq!(&rotated[..4], &[1.0, 2.0, 3.0, 4.0]);
        let (sin, cos) = 1f32.sin_cos();
        assert!((rotated[4] - (cos - 3.0 * sin)).abs() < 1e-6);
        assert!((rotated[6] - (3.0 * cos + sin)).abs() < 1e-6);
    }
}
