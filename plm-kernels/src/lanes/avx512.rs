use std::arch::x86_64::*;

use super::{Lanes, Table, Task};

/// Sixteen f32 of AVX-512, with or without VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const VNNI: bool>;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn run<T: Task>(task: T) -> T::Output {
    task.run::<Avx512<false>>()
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c,avx512vnni")]
pub(super) unsafe fn run_with_dot<T: Task>(task: T) -> T::Output {
    task.run::<Avx512<true>>()
}

impl<const VNNI: bool> Lanes for Avx512<VNNI> {
    const N: usize = 16;
    const TILE: usize = 12;
    type V = __m512;
    type I = __m512i;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        _mm512_set1_ps(x)
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        _mm512_loadu_ps(p)
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m512) {
        _mm512_storeu_ps(p, v)
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        _mm512_div_ps(a, b)
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        _mm512_max_ps(a, b)
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        _mm512_min_ps(a, b)
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn sqrt(v: __m512) -> __m512 {
        _mm512_sqrt_ps(v)
    }
    #[inline(always)]
    unsafe fn round(v: __m512) -> __m512 {
        _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v)
    }
    #[inline(always)]
    unsafe fn pow2(v: __m512) -> __m512 {
        let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(127));
        _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
    }
    #[inline(always)]
    unsafe fn sum(v: __m512) -> f32 {
        _mm512_reduce_add_ps(v)
    }
    #[inline(always)]
    unsafe fn largest(v: __m512) -> f32 {
        _mm512_reduce_max_ps(v)
    }
    #[inline(always)]
    unsafe fn transpose(rows: &mut [__m512; 16]) {
        // Squares of four in each lane of 128 bits, then the lanes.
        let mut squares = *rows;
        for four in squares.chunks_exact_mut(4) {
            let [a, b, c, d] = [four[0], four[1], four[2], four[3]];
            let ab = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
            let cd = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
            four[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
            four[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
            let ab = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
            let cd = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
            four[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
            four[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
        }
        for i in 0..4 {
            let [a, b, c, d] = [squares[i], squares[4 + i], squares[8 + i], squares[12 + i]];
            let even = [
                _mm512_shuffle_f32x4::<0x88>(a, b),
                _mm512_shuffle_f32x4::<0x88>(c, d),
            ];
            let odd = [
                _mm512_shuffle_f32x4::<0xdd>(a, b),
                _mm512_shuffle_f32x4::<0xdd>(c, d),
            ];
            rows[i] = _mm512_shuffle_f32x4::<0x88>(even[0], even[1]);
            rows[4 + i] = _mm512_shuffle_f32x4::<0x88>(odd[0], odd[1]);
            rows[8 + i] = _mm512_shuffle_f32x4::<0xdd>(even[0], even[1]);
            rows[12 + i] = _mm512_shuffle_f32x4::<0xdd>(odd[0], odd[1]);
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> __m512 {
        let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> __m512 {
        _mm512_cvtph_ps(_mm256_loadu_si256(p.cast()))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> __m512 {
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast())))
    }
    #[inline(always)]
    unsafe fn load_nibbles(p: *const u8) -> (__m512, __m512) {
        // A permutation looks at the four low bits of an index alone.
        let values = _mm512_setr_ps(
            -8.0, -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0,
        );
        let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()));
        (
            _mm512_permutexvar_ps(bytes, values),
            _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(bytes), values),
        )
    }
    #[inline(always)]
    unsafe fn look_up(p: *const u8, table: &Table, out: &mut [__m512; 8]) {
        // A permutation looks at the four low bits of an index alone, so the neighbours that a
        // shift of words brings along do not matter.
        let table = _mm512_loadu_ps(table.numbers.as_ptr());
        for (v, out) in out[..2].iter_mut().enumerate() {
            let bytes = _mm_loadl_epi64(p.add(8 * v).cast());
            let halves = _mm_unpacklo_epi8(_mm_srli_epi16::<4>(bytes), bytes);
            *out = _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(halves), table);
        }
    }
    #[inline(always)]
    unsafe fn spread_bytes(p: *const i8) -> [__m512i; 4] {
        // Of each half of four blocks, the even bytes and the odd ones.
        let ab = _mm512_loadu_si512(p.cast());
        let cd = _mm512_loadu_si512(p.add(64).cast());
        let first = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        let second = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
        [
            _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(first)),
            _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(second)),
            _mm512_srai_epi16::<8>(first),
            _mm512_srai_epi16::<8>(second),
        ]
    }
    #[inline(always)]
    unsafe fn spread_nibbles(p: *const u8) -> [__m512i; 4] {
        let (fours, low) = (_mm512_loadu_si512(p.cast()), _mm512_set1_epi16(15));
        [
            _mm512_and_si512(fours, low),
            _mm512_and_si512(_mm512_srli_epi16::<4>(fours), low),
            _mm512_and_si512(_mm512_srli_epi16::<8>(fours), low),
            _mm512_srli_epi16::<12>(fours),
        ]
    }
    #[inline(always)]
    unsafe fn sum_quads([a, b, c, d]: [__m512i; 4]) -> __m512i {
        let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd))
    }
    #[inline(always)]
    unsafe fn by_quads(v: __m512) -> __m512 {
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        _mm512_permutexvar_ps(order, v)
    }
    #[inline(always)]
    unsafe fn splat_pair(x: i32) -> __m512i {
        _mm512_set1_epi32(x)
    }
    #[inline(always)]
    unsafe fn load_pairs(p: *const i32) -> __m512i {
        _mm512_loadu_si512(p.cast())
    }
    #[inline(always)]
    unsafe fn store_pairs(p: *mut i32, v: __m512i) {
        _mm512_storeu_si512(p.cast(), v)
    }
    #[inline(always)]
    unsafe fn to_pairs(low: __m512, high: __m512) -> __m512i {
        let high = _mm512_slli_epi32::<16>(_mm512_cvtps_epi32(high));
        _mm512_mask_blend_epi16(0xaaaa_aaaa, _mm512_cvtps_epi32(low), high)
    }
    #[inline(always)]
    unsafe fn dot(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        if VNNI {
            // Sums fit, so that it is the same whether they saturate; `vpdpwssd`, where they do not, is
            // compiled to two instructions.
            _mm512_dpwssds_epi32(c, a, b)
        } else {
            _mm512_add_epi32(c, _mm512_madd_epi16(a, b))
        }
    }
    #[inline(always)]
    unsafe fn sub_words(a: __m512i, b: __m512i) -> __m512i {
        _mm512_sub_epi32(a, b)
    }
    #[inline(always)]
    unsafe fn to_float(v: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(v)
    }
}
