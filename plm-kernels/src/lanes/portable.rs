use half::{bf16, f16};

use super::{Lanes, Table};

/// Eight f32 in an array, for the compiler to vectorise as it can.
#[derive(Clone, Copy)]
pub(super) struct Portable;

#[inline(always)]
fn map(f: impl Fn(usize) -> f32) -> [f32; 8] {
    std::array::from_fn(f)
}

impl Lanes for Portable {
    const N: usize = 8;
    const TILE: usize = 4;
    type V = [f32; 8];
    type I = [i32; 8];

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 8] {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; 8] {
        p.cast::<[f32; 8]>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: [f32; 8]) {
        p.cast::<[f32; 8]>().write_unaligned(v)
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        map(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        map(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        map(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        map(|i| a[i] / b[i])
    }
    #[inline(always)]
    unsafe fn max(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        map(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn min(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        map(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        // Two roundings: one would be a call where there is no such instruction.
        map(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn sqrt(v: [f32; 8]) -> [f32; 8] {
        map(|i| v[i].sqrt())
    }
    #[inline(always)]
    unsafe fn round(v: [f32; 8]) -> [f32; 8] {
        // Adding and taking away 1.5 · 2²³ leaves the nearest integer of a small number.
        const SHIFT: f32 = 12_582_912.0;
        map(|i| (v[i] + SHIFT) - SHIFT)
    }
    #[inline(always)]
    unsafe fn pow2(v: [f32; 8]) -> [f32; 8] {
        map(|i| f32::from_bits(((v[i] as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn sum(v: [f32; 8]) -> f32 {
        v.iter().sum()
    }
    #[inline(always)]
    unsafe fn largest(v: [f32; 8]) -> f32 {
        v.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    unsafe fn transpose(rows: &mut [[f32; 8]; 16]) {
        for i in 0..8 {
            for j in 0..i {
                let above = rows[j][i];
                rows[j][i] = rows[i][j];
                rows[i][j] = above;
            }
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> [f32; 8] {
        let bits = p.cast::<[u16; 8]>().read_unaligned();
        map(|i| bf16::from_bits(bits[i]).to_f32())
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> [f32; 8] {
        let bits = p.cast::<[u16; 8]>().read_unaligned();
        map(|i| f16::from_bits(bits[i]).to_f32())
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> [f32; 8] {
        let bytes = p.cast::<[i8; 8]>().read_unaligned();
        map(|i| f32::from(bytes[i]))
    }
    #[inline(always)]
    unsafe fn load_nibbles(p: *const u8) -> ([f32; 8], [f32; 8]) {
        let bytes = p.cast::<[u8; 8]>().read_unaligned();
        (
            map(|i| f32::from(bytes[i] & 15) - 8.0),
            map(|i| f32::from(bytes[i] >> 4) - 8.0),
        )
    }
    #[inline(always)]
    unsafe fn look_up(p: *const u8, table: &Table, out: &mut [[f32; 8]; 8]) {
        for (v, out) in out[..4].iter_mut().enumerate() {
            let bytes = p.add(4 * v).cast::<[u8; 4]>().read_unaligned();
            let half = |i: usize| usize::from(bytes[i / 2] >> (4 - i % 2 * 4) & 15);
            *out = map(|i| table.numbers[half(i)]);
        }
    }
    #[inline(always)]
    unsafe fn splat_pair(x: i32) -> [i32; 8] {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load_pairs(p: *const i32) -> [i32; 8] {
        p.cast::<[i32; 8]>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn store_pairs(p: *mut i32, v: [i32; 8]) {
        p.cast::<[i32; 8]>().write_unaligned(v)
    }
    #[inline(always)]
    unsafe fn to_pairs(low: [f32; 8], high: [f32; 8]) -> [i32; 8] {
        let (low, high) = (Self::round(low), Self::round(high));
        std::array::from_fn(|i| (low[i] as i32 & 0xffff) | ((high[i] as i32) << 16))
    }
    #[inline(always)]
    unsafe fn dot(a: [i32; 8], b: [i32; 8], c: [i32; 8]) -> [i32; 8] {
        let low = |x: i32| i32::from(x as i16);
        std::array::from_fn(|i| c[i] + low(a[i]) * low(b[i]) + (a[i] >> 16) * (b[i] >> 16))
    }
    #[inline(always)]
    unsafe fn sub_words(a: [i32; 8], b: [i32; 8]) -> [i32; 8] {
        std::array::from_fn(|i| a[i].wrapping_sub(b[i]))
    }
    #[inline(always)]
    unsafe fn to_float(v: [i32; 8]) -> [f32; 8] {
        map(|i| v[i] as f32)
    }
}
