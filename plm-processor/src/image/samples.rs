//! Samples of any kind become 8-bit RGB.

/// Keeps the colour of every pixel and nothing else.
///
/// One channel is grey, two are grey and alpha; of three or more the first are RGB.
pub(super) fn to_rgb8(samples: Vec<u8>, channels: usize) -> Vec<u8> {
    match channels {
        1 => samples.iter().flat_map(|&grey| [grey; 3]).collect(),
        2 => samples.chunks_exact(2).flat_map(|la| [la[0]; 3]).collect(),
        3 => samples,
        _ => samples
            .chunks_exact(channels)
            .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
            .collect(),
    }
}

/// The high bytes of 16-bit samples.
pub(super) fn high_bytes(samples: &[u16]) -> Vec<u8> {
    samples.iter().map(|sample| (sample >> 8) as u8).collect()
}

/// Colour without a profile, as the reference computes it. 255 is all the ink, 0 is none.
pub(crate) fn cmyk_to_rgb([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    let light = 255 - k;
    [c, m, y].map(|ink| light - times_in_255ths(ink, light))
}

/// `a * b / 255`, rounded.
fn times_in_255ths(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    (((product >> 8) + product) >> 8) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_is_dropped_without_blending() {
        assert_eq!(to_rgb8(vec![9, 8, 7, 0], 4), [9, 8, 7]);
        assert_eq!(to_rgb8(vec![9, 0], 2), [9, 9, 9]);
    }

    #[test]
    fn sixteen_bit_samples_keep_their_high_byte() {
        assert_eq!(high_bytes(&[0x12FF, 0x8000]), [0x12, 0x80]);
    }

    #[test]
    fn white_and_black_survive_the_way_through_cmyk() {
        assert_eq!(cmyk_to_rgb([0; 4]), [255; 3]);
        assert_eq!(cmyk_to_rgb([0, 0, 0, 255]), [0; 3]);
        assert_eq!(cmyk_to_rgb([255, 0, 127, 0]), [0, 255, 128]);
    }

    #[test]
    fn the_division_is_rounded_to_the_nearest() {
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                let exact = f64::from(a) * f64::from(b) / 255.0;
                assert_eq!(times_in_255ths(a, b), exact.round() as u8, "{a} {b}");
            }
        }
    }
}
