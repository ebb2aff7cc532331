//! Products of two f32 matrices in the matrix unit of some processors, which multiplies bf16.
//!
//! A number is rounded to bf16, or split into two of them, which hold 16 of its 24 bits; then three
//! of the four products of the parts of two numbers are summed in f32.

use std::arch::x86_64::*;

use super::Gemm;
use crate::amx::{self, Step};
use crate::lanes::{Lanes, avx512::Avx512};
use crate::scratch::with_scratch;
use crate::threads::{for_each, num_threads};

/// Steps of `k` of a block: each tile holds so many, pairs of which stand half a block apart.
const BLOCK: usize = amx::DEPTH;

/// Steps of `k` that are packed together: a panel of columns stays in the first-level cache.
const DEPTH: usize = 256;

/// Rows or columns of a panel.
const SIDE: usize = 2 * amx::SIDE;

/// Words of 32 bits of a tile.
const TILE: usize = 16 * amx::SIDE;

/// Words of a panel.
const fn panel(parts: usize) -> usize {
    DEPTH / BLOCK * parts * 2 * TILE
}

/// Most rows and columns of a part of `c` that a thread computes at a time: what is packed for them
/// stays in the second-level cache.
const MOST: usize = 512;

/// Bytes of a part of a block: two tiles.
const PART: usize = 2 * TILE * size_of::<u32>();

/// Parts that are multiplied with each other, the small first.
const TERMS: [[usize; 2]; 3] = [[1, 0], [0, 1], [0, 0]];

/// All steps of two panels.
fn steps(parts: usize, depth: usize) -> ([Step; DEPTH / BLOCK * TERMS.len()], usize) {
    let mut steps = [Step::default(); DEPTH / BLOCK * TERMS.len()];
    let terms = TERMS.iter().filter(|term| term.iter().all(|&t| t < parts));
    let blocks = 0..depth.div_ceil(BLOCK);
    let all = blocks.flat_map(|block| terms.clone().map(move |term| (block, term)));
    let mut count = 0;
    for (block, term) in all {
        let [a, b] = term.map(|part| ((block * parts + part) * PART) as u32);
        steps[count] = Step { a, b };
        count += 1;
    }
    (steps, count)
}

/// Whether a product is worth being packed for the unit, and of a kind that can be.
pub(super) fn fits(gemm: &Gemm) -> bool {
    (gemm.os == 1 || gemm.ks == 1) && gemm.m >= SIDE && gemm.n >= SIDE && gemm.k >= BLOCK
}

/// Computes a product that [`fits`] on all threads. What comes out does not depend on their number.
///
/// # Safety
///
/// The unit must be available, and the matrices whole.
pub(super) unsafe fn compute_shared<const PARTS: usize>(gemm: Gemm) {
    let share = |count: usize, least: usize| {
        let parts = count.div_ceil(MOST).next_multiple_of(least);
        count.div_ceil(parts).next_multiple_of(SIDE)
    };
    let (rows, columns) = (share(gemm.m, num_threads()), share(gemm.n, 1));
    let across = gemm.n.div_ceil(columns);
    for_each(gemm.m.div_ceil(rows) * across, |i| {
        let part = gemm.part(i / across * rows, rows, i % across * columns, columns);
        let panels = part.m.div_ceil(SIDE) + part.n.div_ceil(SIDE);
        with_scratch(panels * panel(PARTS) + SIDE * SIDE, |scratch| {
            let (edge, packed) = scratch.split_at_mut(SIDE * SIDE);
            // SAFETY: the unit implies these instructions.
            unsafe { compute::<PARTS>(part, packed.as_mut_ptr().cast(), edge.as_mut_ptr()) };
        });
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn compute<const PARTS: usize>(gemm: Gemm, packed_b: *mut u32, edge: *mut f32) {
    let packed_a = packed_b.add(gemm.m.div_ceil(SIDE) * panel(PARTS));
    for start in (0..gemm.k).step_by(DEPTH) {
        let depth = DEPTH.min(gemm.k - start);
        match gemm.ks {
            1 => pack_rows::<PARTS>(&gemm, start, depth, packed_b),
            _ => pack_turned::<PARTS>(&gemm, start, depth, packed_b),
        }
        pack_columns::<PARTS>(&gemm, start, depth, packed_a);
        let (steps, count) = steps(PARTS, depth);
        let steps = &steps[..count];
        amx::with_tiles(|| multiply::<PARTS>(&gemm, start, steps, packed_b, packed_a, edge));
    }
}

/// Multiplies what was packed.
#[inline(always)]
unsafe fn multiply<const PARTS: usize>(
    gemm: &Gemm,
    start: usize,
    steps: &[Step],
    packed_b: *const u32,
    packed_a: *const u32,
    edge: *mut f32,
) {
    let add = gemm.add || start > 0;
    for (j, a) in (0..gemm.n).step_by(SIDE).zip(0..) {
        let a = packed_a.add(a * panel(PARTS)).cast();
        for (i, b) in (0..gemm.m).step_by(SIDE).zip(0..) {
            let b = packed_b.add(b * panel(PARTS)).cast();
            let c = gemm.c.add(i * gemm.ldc + j);
            let (rows, columns) = (SIDE.min(gemm.m - i), SIDE.min(gemm.n - j));
            if rows == SIDE && columns == SIDE {
                amx::multiply::<2>(steps, b, a, c, gemm.ldc, add);
                continue;
            }
            amx::multiply::<2>(steps, b, a, edge, SIDE, false);
            for row in 0..rows {
                let c = c.add(row * gemm.ldc);
                for x in 0..columns {
                    let sum = *edge.add(row * SIDE + x);
                    *c.add(x) = if add { *c.add(x) + sum } else { sum };
                }
            }
        }
    }
}

/// The parts of two vectors of numbers, those of the first in the low halves.
#[target_feature(enable = "avx512f")]
fn split<const PARTS: usize>(mut low: __m512, mut high: __m512) -> [__m512i; PARTS] {
    let mask = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    let half = _mm512_set1_epi32(0x8000);
    let cut = |number: __m512, is_last: bool| {
        let bits = _mm512_castps_si512(number);
        // What is cut off is part of the rest; the last part is rounded, if it is a number.
        let is_number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(number, number);
        let rounded = if is_last { is_number } else { 0 };
        _mm512_and_si512(_mm512_mask_add_epi32(bits, rounded, bits, half), mask)
    };
    let rest = |number, cut| _mm512_sub_ps(number, _mm512_castsi512_ps(cut));
    let mut parts = [_mm512_setzero_si512(); PARTS];
    for part in 0..PARTS {
        let is_last = part + 1 == PARTS;
        let cuts = [cut(low, is_last), cut(high, is_last)];
        (low, high) = (rest(low, cuts[0]), rest(high, cuts[1]));
        parts[part] = _mm512_or_si512(_mm512_srli_epi32::<16>(cuts[0]), cuts[1]);
    }
    parts
}

/// A mask of the first lanes of a vector.
fn first(count: usize) -> __mmask16 {
    ((1u32 << count.min(16)) - 1) as __mmask16
}

/// Packs rows of `b` whose steps of `k` follow one another: a row of a tile is a block of them.
#[target_feature(enable = "avx512f")]
unsafe fn pack_rows<const PARTS: usize>(gemm: &Gemm, start: usize, depth: usize, packed: *mut u32) {
    for i in 0..gemm.m.next_multiple_of(SIDE) {
        let to = packed.add(i / SIDE * panel(PARTS) + i % SIDE * 16);
        for k in (0..depth).step_by(BLOCK) {
            let from = gemm.b.wrapping_add(i * gemm.os + start + k);
            let left = if i < gemm.m { depth - k } else { 0 };
            let low = _mm512_maskz_loadu_ps(first(left), from);
            let next = first(left.saturating_sub(16));
            let high = _mm512_maskz_loadu_ps(next, from.wrapping_add(16));
            let to = to.add(k / BLOCK * PARTS * 2 * TILE);
            for (part, words) in split::<PARTS>(low, high).into_iter().enumerate() {
                _mm512_store_si512(to.add(part * 2 * TILE).cast(), words);
            }
        }
    }
}

/// Packs rows of `b` that stand beside one another: sixteen rows and a block of steps at a time are
/// turned on their side.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_turned<const PARTS: usize>(
    gemm: &Gemm,
    start: usize,
    depth: usize,
    packed: *mut u32,
) {
    for i in (0..gemm.m.next_multiple_of(SIDE)).step_by(16) {
        let to = packed.add(i / SIDE * panel(PARTS) + i % SIDE * 16);
        let rows = first(gemm.m.saturating_sub(i));
        for k in (0..depth).step_by(BLOCK) {
            let row = |k: usize| {
                let mask = if k < depth { rows } else { 0 };
                let from = gemm.b.wrapping_add((start + k) * gemm.ks + i);
                _mm512_maskz_loadu_ps(mask, from)
            };
            let mut parts = [[_mm512_setzero_ps(); 16]; PARTS];
            for pair in 0..16 {
                let words = split::<PARTS>(row(k + pair), row(k + pair + 16));
                for part in 0..PARTS {
                    parts[part][pair] = _mm512_castsi512_ps(words[part]);
                }
            }
            let to = to.add(k / BLOCK * PARTS * 2 * TILE);
            for part in 0..PARTS {
                Avx512::<false>::transpose(&mut parts[part]);
                for row in 0..16 {
                    let to = to.add(part * 2 * TILE + row * 16);
                    _mm512_store_ps(to.cast(), parts[part][row]);
                }
            }
        }
    }
}

/// Packs columns of `a`: a row of two tiles is a pair of steps of `k`.
#[target_feature(enable = "avx512f")]
unsafe fn pack_columns<const PARTS: usize>(
    gemm: &Gemm,
    start: usize,
    depth: usize,
    packed: *mut u32,
) {
    for k in (0..depth).step_by(BLOCK) {
        for pair in k..k + 16 {
            let to = packed.add(k / BLOCK * PARTS * 2 * TILE + pair % 16 * SIDE);
            for j in (0..gemm.n.next_multiple_of(SIDE)).step_by(16) {
                let columns = first(gemm.n.saturating_sub(j));
                let row = |k: usize| {
                    let mask = if k < depth { columns } else { 0 };
                    let from = gemm.a.wrapping_add((start + k) * gemm.lda + j);
                    _mm512_maskz_loadu_ps(mask, from)
                };
                let to = to.add(j / SIDE * panel(PARTS) + j % SIDE);
                let words = split::<PARTS>(row(pair), row(pair + 16));
                for (part, words) in words.into_iter().enumerate() {
                    _mm512_store_si512(to.add(part * 2 * TILE).cast(), words);
                }
            }
        }
    }
}
