//! Decoded frames to RGB, with the integer arithmetic of libswscale.
//!
//! The reference converts with libswscale's bilinear scaler at unchanged size, which takes one of
//! two ways. Frames of 8 bits, if their height is even, go through a special converter that works
//! in 16 bits and repeats chroma; all others go through the scaler itself, which interpolates
//! chroma and looks colours up in tables. Both are reproduced bit for bit.

/// Samples of one plane, row by row without padding.
#[derive(Clone, Copy)]
pub(super) struct Plane<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) samples: Samples<'a>,
}

/// Samples of 8 bits, or of up to 16 bits in little-endian pairs of bytes.
#[derive(Clone, Copy)]
pub(super) enum Samples<'a> {
    Bytes(&'a [u8]),
    Pairs(&'a [u8]),
}

impl Plane<'_> {
    fn row(&self, y: usize) -> impl Iterator<Item = i32> + '_ {
        let y = y.min(self.height - 1);
        (y * self.width..(y + 1) * self.width).map(|at| match self.samples {
            Samples::Bytes(bytes) => i32::from(bytes[at]),
            Samples::Pairs(pairs) => {
                i32::from(u16::from_le_bytes([pairs[2 * at], pairs[2 * at + 1]]))
            }
        })
    }
}

/// A frame in luma and half-width chroma, whose height is the luma's or half of it.
pub(super) struct Yuv<'a> {
    pub(super) y: Plane<'a>,
    pub(super) u: Plane<'a>,
    pub(super) v: Plane<'a>,
    /// Bits of a sample, 8 to 14.
    pub(super) bit_depth: u32,
    pub(super) colour: Colour,
}

/// What the samples mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colour {
    /// `matrix_coefficients` of the H.264 and H.273 standards.
    pub(super) matrix: u8,
    /// Whether samples use all values, not only 16..=235.
    pub(super) full_range: bool,
}

/// One in 16.16 fixed point.
const ONE: i64 = 1 << 16;

/// What a step of luma and chroma is worth in RGB, in 16.16 fixed point.
struct Gains {
    luma: i64,
    /// The luma that is black.
    black: i64,
    red_of_v: i64,
    blue_of_u: i64,
    green_of_u: i64,
    green_of_v: i64,
}

impl Colour {
    fn gains(self) -> Gains {
        // `ff_yuv2rgb_coeffs`; unknown matrices are taken for BT.601.
        let (red_of_v, blue_of_u, green_of_u, green_of_v) = match self.matrix {
            1 => (117_489, 138_438, 13_975, 34_925),
            4 => (104_448, 132_798, 24_759, 53_109),
            7 => (117_579, 136_230, 16_907, 35_559),
            9 | 10 => (110_013, 140_363, 12_277, 42_626),
            _ => (104_597, 132_201, 25_675, 53_279),
        };
        if self.full_range {
            let narrowed = |gain: i64| gain * 224 / 255;
            return Gains {
                luma: ONE,
                black: 0,
                red_of_v: narrowed(red_of_v),
                blue_of_u: narrowed(blue_of_u),
                green_of_u: narrowed(-green_of_u),
                green_of_v: narrowed(-green_of_v),
            };
        }
        Gains {
            luma: ONE * 255 / 219,
            black: 16 << 16,
            red_of_v,
            blue_of_u,
            green_of_u: -green_of_u,
            green_of_v: -green_of_v,
        }
    }
}

/// Converts a frame, `[height, width, 3]`.
pub(super) fn to_rgb(frame: &Yuv<'_>) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(frame.y.width * frame.y.height * 3);
    let gains = frame.colour.gains();
    if frame.bit_depth == 8 && frame.y.height.is_multiple_of(2) {
        repeated(frame, &gains, &mut rgb);
    } else {
        interpolated(frame, &Tables::new(&gains, frame.colour), &mut rgb);
    }
    rgb
}

/// The special converter (`libswscale/x86/yuv_2_rgb.asm`): one chroma sample for each 2x2 or 2x1
/// luma samples, products rounded down to 16 bits.
fn repeated(frame: &Yuv<'_>, gains: &Gains, rgb: &mut Vec<u8>) {
    // Factors in 3.13, samples in 13.3, so that the upper 16 bits of a product are whole.
    let factor = |gain: i64| ((gain * (1 << 13) + (1 << 15)) >> 16) as i32;
    let product = |sample: i32, factor: i32| (sample * factor) >> 16;
    let (luma, black) = (factor(gains.luma), (gains.black >> 13) as i32);
    let (red_of_v, blue_of_u) = (factor(gains.red_of_v), factor(gains.blue_of_u));
    let (green_of_u, green_of_v) = (factor(gains.green_of_u), factor(gains.green_of_v));
    let rows_of_chroma = frame.y.height / frame.u.height.max(1);
    let mut chroma: Vec<[i32; 3]> = Vec::new();
    for y in 0..frame.y.height {
        if y.is_multiple_of(rows_of_chroma.max(1)) {
            let at = y / rows_of_chroma.max(1);
            chroma.clear();
            chroma.extend(frame.u.row(at).zip(frame.v.row(at)).map(|(u, v)| {
                let (u, v) = ((u - 128) << 3, (v - 128) << 3);
                [
                    product(v, red_of_v),
                    product(u, green_of_u) + product(v, green_of_v),
                    product(u, blue_of_u),
                ]
            }));
        }
        for (x, sample) in frame.y.row(y).enumerate() {
            let grey = product((sample << 3) - black, luma);
            let offsets = chroma[(x / 2).min(chroma.len() - 1)];
            rgb.extend(offsets.map(|offset| (grey + offset).clamp(0, 255) as u8));
        }
    }
}

/// The scaler's look-up tables (`libswscale/yuv2rgb.c`): chroma moves the place in a table of
/// luma.
struct Tables {
    luma: Vec<u8>,
    origin: i64,
    red_of_v: i64,
    blue_of_u: i64,
    green_of_u: i64,
    green_of_v: i64,
}

/// Entries on either side of the table's origin that chroma may reach.
const HEADROOM: i64 = 512;

impl Tables {
    fn new(gains: &Gains, colour: Colour) -> Self {
        let origin = if colour.full_range { 384 } else { 326 };
        let value = |at: i64| {
            let value = -(384 << 16) - gains.black + at * gains.luma;
            ((value + (1 << 15)) >> 16).clamp(0, 255) as u8
        };
        let steps = |gain: i64| ((gain << 16) + (1 << 15)) / gains.luma;
        Self {
            luma: (-HEADROOM..1024 + HEADROOM).map(value).collect(),
            origin: origin + HEADROOM,
            red_of_v: steps(gains.red_of_v),
            blue_of_u: steps(gains.blue_of_u),
            green_of_u: steps(gains.green_of_u),
            green_of_v: steps(gains.green_of_v),
        }
    }

    fn rgb(&self, [y, u, v]: [i64; 3]) -> [u8; 3] {
        let steps = |sample: i64, gain: i64| ((sample * gain) >> 16) - (gain >> 9);
        [
            steps(v, self.red_of_v),
            steps(u, self.green_of_u) + steps(v, self.green_of_v),
            steps(u, self.blue_of_u),
        ]
        .map(|offset| self.luma[(self.origin + y + offset) as usize])
    }
}

/// The scaler itself: samples widened to 15 bits, chroma moved a quarter of a sample to the left
/// and interpolated between its rows, then tables.
fn interpolated(frame: &Yuv<'_>, tables: &Tables, rgb: &mut Vec<u8>) {
    let shift = 15 - frame.bit_depth;
    let widest = (1 << 15) - 1;
    let moved = |plane: &Plane<'_>, row: usize| -> Vec<i64> {
        let samples: Vec<i64> = plane.row(row).map(i64::from).collect();
        let next = samples.iter().skip(1).chain(samples.last());
        let pairs = samples.iter().zip(next);
        // Weights of a 14-bit filter.
        pairs
            .map(|(a, b)| ((a * 12_288 + b * 4096) >> (frame.bit_depth - 1)).min(widest))
            .collect()
    };
    let chroma_row = |plane: &Plane<'_>, y: usize| -> Vec<i64> {
        if plane.height == frame.y.height {
            let row = moved(plane, y);
            return row.into_iter().map(|x| (x + 64) >> 7).collect();
        }
        // A chroma row lies between two luma rows, a quarter of its height from each.
        let (above, below) = (y.saturating_sub(1) / 2, y.div_ceil(2));
        let weights = match y % 2 {
            0 => (1024, 3072),
            _ => (3072, 1024),
        };
        let rows = moved(plane, above).into_iter().zip(moved(plane, below));
        rows.map(|(a, b)| (a * weights.0 + b * weights.1 + (1 << 18)) >> 19)
            .collect()
    };
    for y in 0..frame.y.height {
        let (u, v) = (chroma_row(&frame.u, y), chroma_row(&frame.v, y));
        for (x, sample) in frame.y.row(y).enumerate() {
            let grey = ((i64::from(sample) << shift).min(widest) + 64) >> 7;
            let at = (x / 2).min(u.len() - 1);
            rgb.extend(tables.rgb([grey, u[at].clamp(0, 255), v[at].clamp(0, 255)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(y: u8, u: u8, v: u8, height: usize, colour: Colour) -> Vec<u8> {
        let (luma, blue, red) = (
            vec![y; 4 * height],
            vec![u; 2 * height],
            vec![v; 2 * height],
        );
        let plane = |samples, width| Plane {
            width,
            height,
            samples: Samples::Bytes(samples),
        };
        to_rgb(&Yuv {
            y: plane(&luma, 4),
            u: plane(&blue, 2),
            v: plane(&red, 2),
            bit_depth: 8,
            colour,
        })
    }

    const NARROW: Colour = Colour {
        matrix: 2,
        full_range: false,
    };

    #[test]
    fn black_white_and_primaries_come_out() {
        let full = Colour {
            full_range: true,
            ..NARROW
        };
        for (yuv, colour, expected) in [
            ((16, 128, 128), NARROW, [0, 0, 0]),
            ((235, 128, 128), NARROW, [255, 255, 255]),
            ((0, 128, 128), full, [0, 0, 0]),
            ((255, 128, 128), full, [255, 255, 255]),
            ((81, 90, 240), NARROW, [253, 0, 0]),
        ] {
            let rgb = frame(yuv.0, yuv.1, yuv.2, 2, colour);
            assert_eq!(rgb.len(), 4 * 2 * 3);
            assert_eq!(rgb[..3], expected, "{yuv:?}");
        }
    }

    #[test]
    fn every_sample_of_every_matrix_stays_within_the_tables() {
        for matrix in [1, 2, 4, 7, 9] {
            for full_range in [false, true] {
                let colour = Colour { matrix, full_range };
                for sample in [0, 1, 127, 128, 254, 255] {
                    for u in [0, 128, 255] {
                        for v in [0, 128, 255] {
                            // An odd height takes the way through the tables.
                            assert_eq!(frame(sample, u, v, 3, colour).len(), 4 * 3 * 3);
                        }
                    }
                }
            }
        }
    }
}
