//! How a tensor's numbers stand in a file, where they do not stand as in the tensor.

use burn::tensor::DType;

use super::numbers;

/// What becomes of a stored tensor's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arrangement {
    /// Nothing.
    AsStored,
    /// The rows of each attention head take another order.
    HeadRows {
        /// Rows of a head, an even number.
        head_rows: usize,
        order: RowOrder,
    },
    /// Position embeddings are interpolated from one square grid of patches to another.
    Positions {
        /// Rows before the grid's: 1 with a cls token.
        class_rows: usize,
        /// Patches along a side, as stored.
        from: usize,
        /// Patches along a side, wanted.
        to: usize,
    },
}

/// The order of rows in an attention head. Rotary embeddings turn two rows together: Meta's code
/// takes neighbours, Hugging Face's a row of the first half and one of the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// From Meta's order to Hugging Face's.
    HalvesFromPairs,
    /// From Hugging Face's order to Meta's.
    PairsFromHalves,
}

impl RowOrder {
    /// Reorders whole heads of `head_rows` rows of `row_bytes` bytes.
    pub(crate) fn apply(self, heads: &mut [u8], head_rows: usize, row_bytes: usize) {
        let half = head_rows / 2;
        let mut reordered = vec![0; head_rows * row_bytes];
        for head in heads.chunks_exact_mut(head_rows * row_bytes) {
            for (row, bytes) in head.chunks_exact(row_bytes).enumerate() {
                let to = match self {
                    Self::HalvesFromPairs => row % 2 * half + row / 2,
                    Self::PairsFromHalves => row % half * 2 + row / half,
                };
                reordered[to * row_bytes..][..row_bytes].copy_from_slice(bytes);
            }
            head.copy_from_slice(&reordered);
        }
    }
}

/// Gathers a tensor of any strides, in numbers of `size` bytes, from the stretch that it spans.
pub(crate) fn gather(span: &[u8], shape: &[usize], strides: &[usize], size: usize) -> Vec<u8> {
    let count = shape.iter().product();
    let mut gathered = Vec::with_capacity(count * size);
    let mut index = vec![0; shape.len()];
    for _ in 0..count {
        let at: usize = index
            .iter()
            .zip(strides)
            .map(|(i, stride)| i * stride)
            .sum();
        gathered.extend_from_slice(&span[at * size..][..size]);
        for (i, &length) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < length {
                break;
            }
            *i = 0;
        }
    }
    gathered
}

/// Interpolates position embeddings bilinearly between the centres of patches, as Meta's code does
/// (`align_corners=False`, no antialiasing), in f32.
///
/// `stored` holds `class_rows + from²` rows, the result `class_rows + to²`, both of `dtype`.
pub(crate) fn resample_positions(
    stored: &[u8],
    dtype: DType,
    class_rows: usize,
    from: usize,
    to: usize,
) -> Vec<u8> {
    let values = numbers::to_f32(stored, dtype);
    let width = values.len() / (class_rows + from * from);
    let (class, grid) = values.split_at(class_rows * width);
    let row = |y: usize, x: usize| &grid[(y * from + x) * width..][..width];
    let mut resampled = class.to_vec();
    resampled.reserve(to * to * width);
    for y in 0..to {
        let (y0, y1, fy) = neighbours(y, from, to);
        for x in 0..to {
            let (x0, x1, fx) = neighbours(x, from, to);
            let corners = [row(y0, x0), row(y0, x1), row(y1, x0), row(y1, x1)];
            for i in 0..width {
                let [a, b, c, d] = corners.map(|corner| corner[i]);
                let upper = (1.0 - fx) * a + fx * b;
                let lower = (1.0 - fx) * c + fx * d;
                resampled.push((1.0 - fy) * upper + fy * lower);
            }
        }
    }
    numbers::from_f32(&resampled, dtype)
}

/// The two stored cells around the centre of a wanted one, and how near the second is.
fn neighbours(wanted: usize, from: usize, to: usize) -> (usize, usize, f32) {
    let scale = from as f32 / to as f32;
    let centre = (scale * (wanted as f32 + 0.5) - 0.5).max(0.0);
    let first = (centre as usize).min(from - 1);
    let second = (first + 1).min(from - 1);
    (first, second, (centre - first as f32).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_gathered_from_pairs_and_return() {
        // Two heads of four rows of two bytes.
        let pairs: Vec<u8> = (0..16).collect();
        let mut rows = pairs.clone();
        RowOrder::HalvesFromPairs.apply(&mut rows, 4, 2);
        assert_eq!(rows, [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]);
        RowOrder::PairsFromHalves.apply(&mut rows, 4, 2);
        assert_eq!(rows, pairs);
    }

    #[test]
    fn a_transposed_view_is_gathered() {
        let span = [1, 2, 3, 4, 5, 6];
        assert_eq!(gather(&span, &[3, 2], &[1, 3], 1), [1, 4, 2, 5, 3, 6]);
        assert_eq!(gather(&span, &[], &[], 2), [1, 2]);
        assert!(gather(&span, &[0, 2], &[1, 1], 1).is_empty());
    }

    #[test]
    fn positions_between_patches_are_interpolated() {
        let stored = numbers::from_f32(&[9.0, 0.0, 1.0, 2.0, 3.0], DType::F32);
        let resampled = resample_positions(&stored, DType::F32, 1, 2, 4);
        let values = numbers::to_f32(&resampled, DType::F32);
        assert_eq!(values[..6], [9.0, 0.0, 0.25, 0.75, 1.0, 0.5]);
        assert_eq!(values.len(), 17);
        assert_eq!(values[16], 3.0);
    }
}
