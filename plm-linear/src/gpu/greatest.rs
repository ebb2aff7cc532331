//! The greatest number of each row.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};
use burn::cubecl;
use burn::cubecl::prelude::*;
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

use super::words::words;

/// Units of a cube.
const UNITS: usize = 256;

/// Numbers that a unit looks at, if a row has so many.
const EACH: usize = 8;

/// The rank of +∞ and of what is no number.
const ODD: u32 = u32::MAX;

/// The rank of -∞.
const LEAST: u32 = !f32::NEG_INFINITY.to_bits();

/// An operation on tensors of which no gradient is taken.
#[backend_extension(Cube, Fusion)]
pub(crate) trait RankOps: Backend {
    /// Of each row, for each of its parts in turn: the rank of the greatest number, and its place in the row.
    #[fusion(dtype = DType::U32, shape = Shape::new([x[0] * 2 * parts(x[1])]))]
    fn ranks(x: FloatTensor<Self>) -> IntTensor<Self>;
}

/// Parts of a row, each of which a cube looks at.
const fn parts(width: usize) -> usize {
    width.div_ceil(UNITS * EACH)
}

impl RankOps for CubeBackend {
    fn ranks(x: CubeTensor) -> CubeTensor {
        let x = into_contiguous(x);
        let [rows, width] = x.meta.shape().dims();
        let (client, device) = (x.client.clone(), x.device.clone());
        let parts = parts(width);
        let shape = Shape::new([rows * 2 * parts]);
        let y = empty_device_contiguous_dtype(client.clone(), device, shape, DType::U32);
        // SAFETY: each cube reads a part of a row, and writes two numbers of its own.
        #[allow(unsafe_code, reason = "checks would be made for each number")]
        unsafe {
            greatest::launch_unchecked(
                &client,
                CubeCount::Static(parts as u32, rows as u32, 1),
                CubeDim::new_1d(UNITS as u32),
                words(x, rows * width).into_tensor_arg(),
                y.clone().into_tensor_arg(),
                width,
                UNITS,
            );
        }
        y
    }
}

/// The place of a row's greatest number, of what [`RankOps::ranks`] found in it; nothing where one is +∞ or
/// none, or where none is above -∞.
pub(super) fn place(found: &[u32]) -> Option<u32> {
    let mut best = (LEAST, None);
    for part in found.chunks_exact(2) {
        let is_first = best.1.is_some_and(|place| part[1] < place);
        if part[0] > best.0 || (part[0] == best.0 && is_first) {
            best = (part[0], Some(part[1]));
        }
    }
    best.1.filter(|_| best.0 != ODD)
}

/// The units of a cube take the numbers of a part in turns, and compare what they have found. Numbers are read
/// as words: devices need not know what is infinite and what is no number.
#[cube(launch_unchecked)]
fn greatest(words: &Tensor<u32>, y: &mut Tensor<u32>, width: usize, #[comptime] units: usize) {
    let unit = UNIT_POS_X as usize;
    let row = CUBE_POS_Y as usize;
    let step = CUBE_COUNT_X as usize * units;

    let mut best = 0u32;
    let mut place = 0u32;
    let mut at = CUBE_POS_X as usize * units + unit;
    while at < width {
        let rank = rank(words[row * width + at]);
        if rank > best {
            best = rank;
            place = u32::cast_from(at);
        }
        at += step;
    }

    let mut ranks = Shared::new_slice(units);
    let mut places = Shared::new_slice(units);
    ranks[unit] = best;
    places[unit] = place;
    sync_cube();
    let mut half = comptime!(units / 2).runtime();
    while half > 0 {
        if unit < half {
            let rank = ranks[unit];
            let other = ranks[unit + half];
            let is_first = places[unit + half] < places[unit];
            if other > rank || (other == rank && is_first) {
                ranks[unit] = other;
                places[unit] = places[unit + half];
            }
        }
        sync_cube();
        half /= 2;
    }
    if unit == 0 {
        let part = row * CUBE_COUNT_X as usize + CUBE_POS_X as usize;
        y[2 * part] = ranks[0];
        y[2 * part + 1] = places[0];
    }
}

/// An integer that is the greater the greater a number is, of the number's bits.
#[cube]
fn rank(bits: u32) -> u32 {
    let magnitude = bits & 0x7fff_ffffu32;
    let is_negative = bits != magnitude;
    // Both zeros are the same.
    let above = magnitude | 0x8000_0000u32;
    let signed = select(is_negative && magnitude != 0u32, !bits, above);
    let is_odd = magnitude > 0x7f80_0000u32 || (magnitude == 0x7f80_0000u32 && !is_negative);
    select(is_odd, ODD, signed)
}
