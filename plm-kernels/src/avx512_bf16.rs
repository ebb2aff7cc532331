//! Products of pairs of bf16, which AVX-512 BF16 adds to sums in f32 in one instruction.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_set1_epi32, _mm512_setzero_ps, _mm512_storeu_ps,
};
use std::mem::transmute;

use crate::lanes::prefetch;

/// Numbers of a vector of sums.
const N: usize = 16;

/// Words for each line that is fetched ahead.
pub(crate) const STEPS: usize = 8;

/// Whether this processor has the instruction.
pub(crate) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

/// What is multiplied: words of two bf16.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    /// Vectors of activations, `stride` words from one to the next.
    pub(crate) a: *const i32,
    pub(crate) stride: usize,
    /// Rows of weights, `ROW` words from one to the next.
    pub(crate) b: *const i32,
    /// Words of a row that are multiplied.
    pub(crate) count: usize,
    /// What is fetched meanwhile, a line for each [`STEPS`] words.
    pub(crate) ahead: *const f32,
}

/// Sums the products of `T` rows of weights with a vector of rows of activations, or adds them to what
/// stands at `c`, where sums are as far from each other as vectors of activations.
///
/// # Safety
///
/// The processor must have the [instruction](is_available).
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) unsafe fn multiply<const T: usize, const ROW: usize>(
    words: Words,
    c: *mut f32,
    add: bool,
) {
    let Words {
        a,
        stride,
        b,
        count,
        mut ahead,
    } = words;
    let mut sums = [_mm512_setzero_ps(); T];
    if add {
        for o in 0..T {
            sums[o] = _mm512_loadu_ps(c.add(o * stride));
        }
    }
    for i in 0..count {
        if i % STEPS == 0 {
            prefetch(ahead);
            ahead = ahead.wrapping_add(N);
        }
        let x = _mm512_loadu_si512(a.add(i * stride).cast());
        for o in 0..T {
            sums[o] = dot(sums[o], x, _mm512_set1_epi32(*b.add(o * ROW + i)));
        }
    }
    for o in 0..T {
        _mm512_storeu_ps(c.add(o * stride), sums[o]);
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
unsafe fn dot(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
    let [a, b] = transmute::<[__m512i; 2], [__m512bh; 2]>([a, b]);
    _mm512_dpbf16_ps(sum, a, b)
}
