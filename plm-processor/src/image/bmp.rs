//! What the reference does otherwise than the decoder for bitmaps.

/// The bits of red, green and blue in a 16-bit bitmap, if the file is one with one of the two
/// usual layouts.
///
/// Depth and compression stand at bytes 28 and 30, the masks at byte 54.
fn bits_of_16(file: &[u8]) -> Option<[u32; 3]> {
    let u32_at = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?))
    };
    let (header_bytes, depth) = (u32_at(14)?, u32_at(28)? & 0xFFFF);
    if header_bytes < 40 || depth != 16 {
        return None;
    }
    let masks = match u32_at(30)? {
        0 => [0x7C00, 0x3E0, 0x1F],
        3 => [u32_at(54)?, u32_at(58)?, u32_at(62)?],
        _ => return None,
    };
    match masks {
        [0x7C00, 0x3E0, 0x1F] | [0xF800, 0x7E0, 0x1F] => Some(masks.map(u32::count_ones)),
        _ => None,
    }
}

/// Cuts samples of five and six bits off where the decoder has rounded them to the nearest.
pub(super) fn truncate_16(file: &[u8], rgb: &mut [u8]) {
    let Some(bits) = bits_of_16(file) else {
        return;
    };
    for pixel in rgb.chunks_exact_mut(3) {
        for (sample, bits) in pixel.iter_mut().zip(bits) {
            let max = (1 << bits) - 1;
            let stored = (u32::from(*sample) * max + 127) / 255;
            *sample = (stored * 255 / max) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rounded_sample_of_five_and_six_bits_is_found_back() {
        for max in [31u32, 63] {
            for stored in 0..=max {
                let rounded = (f64::from(stored * 255) / f64::from(max)).round() as u32;
                assert_eq!((rounded * max + 127) / 255, stored);
            }
        }
    }

    #[test]
    fn only_bitmaps_of_16_bits_are_touched() {
        for file in [&[0; 70][..], &[0; 20]] {
            let mut rgb = [8, 4, 8];
            truncate_16(file, &mut rgb);
            assert_eq!(rgb, [8, 4, 8]);
        }
    }
}
