use std::arch::x86_64::*;

use super::{Lanes, Table, Task};

/// Eight f32 of AVX2.
#[derive(Clone, Copy)]
pub(super) struct Avx2;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run<T: Task>(task: T) -> T::Output {
    task.run::<Avx2>()
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) unsafe fn run_with_dot<T: Task>(task: T) -> T::Output {
    task.run::<Avx2>()
}

impl Lanes for Avx2 {
    const N: usize = 8;
    const TILE: usize = 6;
    type V = __m256;
    type I = __m256i;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        _mm256_set1_ps(x)
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m256 {
        _mm256_loadu_ps(p)
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m256) {
        _mm256_storeu_ps(p, v)
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        _mm256_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        _mm256_sub_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        _mm256_div_ps(a, b)
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        _mm256_max_ps(a, b)
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        _mm256_min_ps(a, b)
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn sqrt(v: __m256) -> __m256 {
        _mm256_sqrt_ps(v)
    }
    #[inline(always)]
    unsafe fn round(v: __m256) -> __m256 {
        _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v)
    }
    #[inline(always)]
    unsafe fn pow2(v: __m256) -> __m256 {
        let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(v), _mm256_set1_epi32(127));
        _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
    }
    #[inline(always)]
    unsafe fn sum(v: __m256) -> f32 {
        let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }
    #[inline(always)]
    unsafe fn largest(v: __m256) -> f32 {
        let four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
    }
    #[inline(always)]
    unsafe fn transpose(rows: &mut [__m256; 16]) {
        // Squares of four in each half, then the halves.
        for four in rows[..8].chunks_exact_mut(4) {
            let [a, b, c, d] = [four[0], four[1], four[2], four[3]];
            let ab = _mm256_castps_pd(_mm256_unpacklo_ps(a, b));
            let cd = _mm256_castps_pd(_mm256_unpacklo_ps(c, d));
            four[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd));
            four[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd));
            let ab = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
            let cd = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
            four[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd));
            four[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd));
        }
        for i in 0..4 {
            let [a, b] = [rows[i], rows[4 + i]];
            rows[i] = _mm256_permute2f128_ps::<0x20>(a, b);
            rows[4 + i] = _mm256_permute2f128_ps::<0x31>(a, b);
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> __m256 {
        let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> __m256 {
        _mm256_cvtph_ps(_mm_loadu_si128(p.cast()))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> __m256 {
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast())))
    }
    #[inline(always)]
    unsafe fn load_nibbles(p: *const u8) -> (__m256, __m256) {
        let bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast()));
        let eight = _mm256_set1_epi32(8);
        let low = _mm256_and_si256(bytes, _mm256_set1_epi32(15));
        let high = _mm256_srli_epi32::<4>(bytes);
        (
            _mm256_cvtepi32_ps(_mm256_sub_epi32(low, eight)),
            _mm256_cvtepi32_ps(_mm256_sub_epi32(high, eight)),
        )
    }
    #[inline(always)]
    unsafe fn look_up(p: *const u8, table: &Table, out: &mut [__m256; 8]) {
        // Each byte twice, once for each half, in the lane where its numbers are to be.
        let lanes = _mm256_setr_epi8(
            0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13, //
            2, 2, 3, 3, 6, 6, 7, 7, 10, 10, 11, 11, 14, 14, 15, 15,
        );
        let bytes = _mm256_broadcastsi128_si256(_mm_loadu_si128(p.cast()));
        let twice = _mm256_shuffle_epi8(bytes, lanes);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(twice), _mm256_set1_epi16(0x000f));
        let low = _mm256_and_si256(twice, _mm256_set1_epi16(0x0f00));
        let halves = _mm256_or_si256(high, low);
        // The four bytes of each number, then pairs of them, then all.
        let mut parts = [halves; 4];
        for (part, bytes) in parts.iter_mut().zip(&table.bytes) {
            let bytes = _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes.as_ptr().cast()));
            *part = _mm256_shuffle_epi8(bytes, *part);
        }
        let [a, b, c, d] = parts;
        let pairs = [
            [_mm256_unpacklo_epi8(a, b), _mm256_unpacklo_epi8(c, d)],
            [_mm256_unpackhi_epi8(a, b), _mm256_unpackhi_epi8(c, d)],
        ];
        for (i, [low, high]) in pairs.into_iter().enumerate() {
            out[2 * i] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(low, high));
            out[2 * i + 1] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(low, high));
        }
    }
    #[inline(always)]
    unsafe fn spread_bytes(p: *const i8) -> [__m256i; 4] {
        // Of each half of two blocks, the even bytes and the odd ones.
        let first = _mm256_loadu2_m128i(p.add(32).cast(), p.cast());
        let second = _mm256_loadu2_m128i(p.add(48).cast(), p.add(16).cast());
        [
            _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(first)),
            _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(second)),
            _mm256_srai_epi16::<8>(first),
            _mm256_srai_epi16::<8>(second),
        ]
    }
    #[inline(always)]
    unsafe fn spread_nibbles(p: *const u8) -> [__m256i; 4] {
        let (fours, low) = (_mm256_loadu_si256(p.cast()), _mm256_set1_epi16(15));
        [
            _mm256_and_si256(fours, low),
            _mm256_and_si256(_mm256_srli_epi16::<4>(fours), low),
            _mm256_and_si256(_mm256_srli_epi16::<8>(fours), low),
            _mm256_srli_epi16::<12>(fours),
        ]
    }
    #[inline(always)]
    unsafe fn sum_quads([a, b, c, d]: [__m256i; 4]) -> __m256i {
        _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d))
    }
    #[inline(always)]
    unsafe fn by_quads(v: __m256) -> __m256 {
        _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7))
    }
    #[inline(always)]
    unsafe fn splat_pair(x: i32) -> __m256i {
        _mm256_set1_epi32(x)
    }
    #[inline(always)]
    unsafe fn load_pairs(p: *const i32) -> __m256i {
        _mm256_loadu_si256(p.cast())
    }
    #[inline(always)]
    unsafe fn store_pairs(p: *mut i32, v: __m256i) {
        _mm256_storeu_si256(p.cast(), v)
    }
    #[inline(always)]
    unsafe fn to_pairs(low: __m256, high: __m256) -> __m256i {
        let high = _mm256_slli_epi32::<16>(_mm256_cvtps_epi32(high));
        _mm256_blend_epi16::<0xaa>(_mm256_cvtps_epi32(low), high)
    }
    #[inline(always)]
    unsafe fn dot(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        // With AVX-VNNI one instruction, if the compiler takes it.
        _mm256_add_epi32(c, _mm256_madd_epi16(a, b))
    }
    #[inline(always)]
    unsafe fn sub_words(a: __m256i, b: __m256i) -> __m256i {
        _mm256_sub_epi32(a, b)
    }
    #[inline(always)]
    unsafe fn to_float(v: __m256i) -> __m256 {
        _mm256_cvtepi32_ps(v)
    }
}
