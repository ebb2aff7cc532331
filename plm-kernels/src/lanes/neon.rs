use std::arch::aarch64::*;

use half::f16;

use super::{Lanes, Table, Task};

/// Four f32 of NEON.
#[derive(Clone, Copy)]
pub(super) struct Neon;

#[target_feature(enable = "neon")]
pub(super) unsafe fn run<T: Task>(task: T) -> T::Output {
    task.run::<Neon>()
}

impl Lanes for Neon {
    const N: usize = 4;
    const TILE: usize = 12;
    type V = float32x4_t;
    type I = int32x4_t;

    #[inline(always)]
    unsafe fn splat(x: f32) -> float32x4_t {
        vdupq_n_f32(x)
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> float32x4_t {
        vld1q_f32(p)
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: float32x4_t) {
        vst1q_f32(p, v)
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vaddq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vsubq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vmulq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vdivq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vmaxnmq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vminnmq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        vfmaq_f32(c, a, b)
    }
    #[inline(always)]
    unsafe fn sqrt(v: float32x4_t) -> float32x4_t {
        vsqrtq_f32(v)
    }
    #[inline(always)]
    unsafe fn round(v: float32x4_t) -> float32x4_t {
        vrndnq_f32(v)
    }
    #[inline(always)]
    unsafe fn pow2(v: float32x4_t) -> float32x4_t {
        let exponent = vaddq_s32(vcvtq_s32_f32(v), vdupq_n_s32(127));
        vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent))
    }
    #[inline(always)]
    unsafe fn sum(v: float32x4_t) -> f32 {
        vaddvq_f32(v)
    }
    #[inline(always)]
    unsafe fn largest(v: float32x4_t) -> f32 {
        vmaxnmvq_f32(v)
    }
    #[inline(always)]
    unsafe fn transpose(rows: &mut [float32x4_t; 16]) {
        let even = [vtrn1q_f32(rows[0], rows[1]), vtrn1q_f32(rows[2], rows[3])];
        let odd = [vtrn2q_f32(rows[0], rows[1]), vtrn2q_f32(rows[2], rows[3])];
        rows[0] = vcombine_f32(vget_low_f32(even[0]), vget_low_f32(even[1]));
        rows[1] = vcombine_f32(vget_low_f32(odd[0]), vget_low_f32(odd[1]));
        rows[2] = vcombine_f32(vget_high_f32(even[0]), vget_high_f32(even[1]));
        rows[3] = vcombine_f32(vget_high_f32(odd[0]), vget_high_f32(odd[1]));
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> float32x4_t {
        vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(p)))
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> float32x4_t {
        // The instruction that widens f16 is not yet stable in Rust.
        let bits = p.cast::<[u16; 4]>().read_unaligned();
        let wide = bits.map(|bits| f16::from_bits(bits).to_f32());
        vld1q_f32(wide.as_ptr())
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> float32x4_t {
        let mut bytes = [0; 8];
        std::ptr::copy_nonoverlapping(p, bytes.as_mut_ptr(), 4);
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vld1_s8(bytes.as_ptr())))))
    }
    #[inline(always)]
    unsafe fn load_nibbles(p: *const u8) -> (float32x4_t, float32x4_t) {
        let mut bytes = [0; 8];
        std::ptr::copy_nonoverlapping(p, bytes.as_mut_ptr(), 4);
        let bytes = vmovl_u16(vget_low_u16(vmovl_u8(vld1_u8(bytes.as_ptr()))));
        let eight = vdupq_n_f32(8.0);
        (
            vsubq_f32(vcvtq_f32_u32(vandq_u32(bytes, vdupq_n_u32(15))), eight),
            vsubq_f32(vcvtq_f32_u32(vshrq_n_u32::<4>(bytes)), eight),
        )
    }
    #[inline(always)]
    unsafe fn look_up(p: *const u8, table: &Table, out: &mut [float32x4_t; 8]) {
        let table = vld1q_u8_x4(table.numbers.as_ptr().cast());
        for (v, out) in out.iter_mut().enumerate() {
            let [a, b] = p.add(2 * v).cast::<[u8; 2]>().read_unaligned();
            let [a, b] = [u32::from(a), u32::from(b)];
            let halves = [a >> 4, a & 15, b >> 4, b & 15];
            // The four bytes of each number.
            let bytes = vmulq_n_u32(vld1q_u32(halves.as_ptr()), 0x0404_0404);
            let bytes = vreinterpretq_u8_u32(vaddq_u32(bytes, vdupq_n_u32(0x0302_0100)));
            *out = vreinterpretq_f32_u8(vqtbl4q_u8(table, bytes));
        }
    }
    #[inline(always)]
    unsafe fn splat_pair(x: i32) -> int32x4_t {
        vdupq_n_s32(x)
    }
    #[inline(always)]
    unsafe fn load_pairs(p: *const i32) -> int32x4_t {
        vld1q_s32(p)
    }
    #[inline(always)]
    unsafe fn store_pairs(p: *mut i32, v: int32x4_t) {
        vst1q_s32(p, v)
    }
    #[inline(always)]
    unsafe fn to_pairs(low: float32x4_t, high: float32x4_t) -> int32x4_t {
        // Shifts the high integers into the low ones' upper halves.
        vsliq_n_s32::<16>(vcvtnq_s32_f32(low), vcvtnq_s32_f32(high))
    }
    #[inline(always)]
    unsafe fn dot(a: int32x4_t, b: int32x4_t, c: int32x4_t) -> int32x4_t {
        let low = |x| vshrq_n_s32::<16>(vshlq_n_s32::<16>(x));
        let high = |x| vshrq_n_s32::<16>(x);
        vmlaq_s32(vmlaq_s32(c, low(a), low(b)), high(a), high(b))
    }
    #[inline(always)]
    unsafe fn sub_words(a: int32x4_t, b: int32x4_t) -> int32x4_t {
        vsubq_s32(a, b)
    }
    #[inline(always)]
    unsafe fn to_float(v: int32x4_t) -> float32x4_t {
        vcvtq_f32_s32(v)
    }
}
