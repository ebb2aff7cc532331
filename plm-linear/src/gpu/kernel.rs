//! What runs on the GPU. Weights are read as words of 32 bits, so that a device needs neither the
//! type of half numbers nor that of bytes to multiply with them.

// What a kernel is given is not what this language would borrow.
#![allow(
    clippy::too_many_arguments,
    reason = "a kernel takes its sizes one by one"
)]

use burn::cubecl;
use burn::cubecl::prelude::*;

/// Output features that a cube computes together, so that an input is read once for them.
pub(super) const OUTPUTS: usize = 4;

/// Numbers of an input that are read at once.
pub(super) const VECTOR: usize = 4;

/// How words hold the numbers of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Packing {
    /// Two numbers of bf16 in a word.
    Bf16,
    /// Two numbers of f16 in a word.
    F16,
    /// Four codes in a word, eight words in a block.
    Q8,
    /// Eight codes in a word, four words in a block: low halves of its bytes are of the first half of
    /// the block, high ones of the second.
    Q4,
}

impl Packing {
    /// Words that a unit takes at a time.
    pub(super) fn words(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::Q8 | Self::Q4 => 1,
        }
    }

    /// Vectors of numbers that these are.
    pub(super) fn vectors(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 | Self::Q8 => 1,
            Self::Q4 => 2,
        }
    }
}

/// Where a weight's rows lie.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct Rows {
    /// Words from one row to the next.
    words: usize,
    /// Scales from one row to the next.
    scales: usize,
    /// Parts of a row that a unit takes at a time.
    chunks: usize,
}

/// Products of up to `inputs` rows of `x` with [`OUTPUTS`] rows of the weight: the units of a cube take
/// a row's parts in turns, and add up what they have.
#[cube(launch_unchecked)]
pub(super) fn few_rows<N: Size>(
    x: &Tensor<Vector<f32, N>>,
    words: &Tensor<u32>,
    scales: &Tensor<u32>,
    y: &mut Tensor<f32>,
    weight: Rows,
    #[comptime] inputs: usize,
    #[comptime] units: usize,
    #[comptime] packing: Packing,
) {
    let unit = UNIT_POS_X as usize;
    let rows = y.shape(0);
    let d_output = y.shape(1);
    let x_stride = x.shape(1) / VECTOR;
    let first_output = CUBE_POS_X as usize * OUTPUTS;
    let first_row = CUBE_POS_Y as usize * inputs;
    let vectors = comptime!(packing.vectors());

    let mut sums = Array::<f32>::new(comptime!(OUTPUTS * inputs));
    #[unroll]
    for i in 0..comptime!(OUTPUTS * inputs) {
        sums[i] = 0.0f32;
    }
    let mut chunk = unit;
    while chunk < weight.chunks {
        #[unroll]
        for part in 0..vectors {
            let at = place(chunk, part, packing);
            let mut values = Array::<Vector<f32, N>>::new(inputs);
            #[unroll]
            for i in 0..inputs {
                // Rows beyond the last repeat it, and are not written.
                let row = min(first_row + i, rows - 1);
                values[i] = x[row * x_stride + at];
            }
            #[unroll]
            for output in 0..OUTPUTS {
                let row = min(first_output + output, d_output - 1);
                let numbers = numbers::<N>(words, scales, row, chunk, part, &weight, packing);
                #[unroll]
                for i in 0..inputs {
                    let product = values[i] * numbers;
                    #[unroll]
                    for j in 0..VECTOR {
                        sums[output * inputs + i] += product.extract(j);
                    }
                }
            }
        }
        chunk += units;
    }

    let mut shared = Shared::new_slice(comptime!(OUTPUTS * inputs * units));
    #[unroll]
    for i in 0..comptime!(OUTPUTS * inputs) {
        shared[i * units + unit] = sums[i];
    }
    sync_cube();
    let mut half = comptime!(units / 2).runtime();
    while half > 0 {
        if unit < half {
            #[unroll]
            for i in 0..comptime!(OUTPUTS * inputs) {
                let other = shared[i * units + unit + half];
                shared[i * units + unit] += other;
            }
        }
        sync_cube();
        half /= 2;
    }
    if unit < comptime!(OUTPUTS * inputs) {
        let output = first_output + unit / inputs;
        let row = first_row + unit % inputs;
        if output < d_output && row < rows {
            y[row * d_output + output] = shared[unit * units];
        }
    }
}

/// Rows of the weight as numbers: a unit writes a part of a row.
#[cube(launch_unchecked)]
pub(super) fn widened<N: Size>(
    words: &Tensor<u32>,
    scales: &Tensor<u32>,
    rows: &Tensor<i32>,
    y: &mut Tensor<Vector<f32, N>>,
    weight: Rows,
    #[comptime] packing: Packing,
) {
    let row = ABSOLUTE_POS / weight.chunks;
    let chunk = ABSOLUTE_POS % weight.chunks;
    if row < y.shape(0) {
        let stride = y.shape(1) / VECTOR;
        let source = usize::cast_from(rows[row]);
        #[unroll]
        for part in 0..comptime!(packing.vectors()) {
            y[row * stride + place(chunk, part, packing)] =
                numbers::<N>(words, scales, source, chunk, part, &weight, packing);
        }
    }
}

/// Which vector of a row a part of a chunk is.
#[cube]
fn place(chunk: usize, #[comptime] part: usize, #[comptime] packing: Packing) -> usize {
    match packing {
        Packing::Q4 => chunk / 4 * 8 + part * 4 + chunk % 4,
        _ => chunk,
    }
}

/// A vector of a weight's numbers.
#[cube]
fn numbers<N: Size>(
    words: &Tensor<u32>,
    scales: &Tensor<u32>,
    row: usize,
    chunk: usize,
    #[comptime] part: usize,
    weight: &Rows,
    #[comptime] packing: Packing,
) -> Vector<f32, N> {
    let at = row * weight.words + chunk * comptime!(packing.words());
    let mut numbers = Vector::<f32, N>::empty();
    match packing {
        Packing::Bf16 | Packing::F16 =>
        {
            #[unroll]
            for i in 0..2usize {
                let word = words[at + i];
                numbers.insert(2 * i, half(word & 0xffffu32, packing));
                numbers.insert(2 * i + 1, half(word >> 16u32, packing));
            }
        }
        Packing::Q8 => {
            let scale = scale(scales, row * weight.scales + chunk / 8);
            #[unroll]
            for i in 0..4usize {
                // The sign's bit turned over, the code is 128 more than it means.
                let code = ((words[at] >> comptime!(8 * i as u32)) & 0xffu32) ^ 0x80u32;
                numbers.insert(i, (f32::cast_from(code) - 128.0f32) * scale);
            }
        }
        Packing::Q4 => {
            let scale = scale(scales, row * weight.scales + chunk / 4);
            #[unroll]
            for i in 0..4usize {
                let code = (words[at] >> comptime!(8 * i as u32 + 4 * part as u32)) & 0xfu32;
                numbers.insert(i, (f32::cast_from(code) - 8.0f32) * scale);
            }
        }
    }
    numbers
}

/// A scale, of which a word holds two.
#[cube]
fn scale(scales: &Tensor<u32>, at: usize) -> f32 {
    let word = scales[at / 2];
    let shift = (at % 2) as u32 * 16u32;
    half((word >> shift) & 0xffffu32, Packing::F16)
}

/// The number that 16 bits mean.
#[cube]
fn half(bits: u32, #[comptime] packing: Packing) -> f32 {
    match packing {
        Packing::Bf16 => f32::reinterpret(bits << 16u32),
        _ => {
            let sign = (bits & 0x8000u32) << 16u32;
            let exponent = (bits >> 10u32) & 31u32;
            let mantissa = bits & 0x3ffu32;
            // Infinities and what is no number keep the largest exponent.
            let wide = select(exponent == 31u32, 255u32, exponent + 112u32);
            let normal = f32::reinterpret(sign | (wide << 23u32) | (mantissa << 13u32));
            let magnitude = f32::cast_from(mantissa) * comptime!(2f32.powi(-24));
            let small = select(sign == 0u32, magnitude, 0.0f32 - magnitude);
            select(exponent == 0u32, small, normal)
        }
    }
}
