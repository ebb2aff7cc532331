//! Blocks of 16-bit integers, whose products are summed exactly as 32 bits.
//!
//! A block is 16 words: word `i` holds number `i` in its low half and number `i + 16` in its high
//! half, as the codes of four bits already lie. Numbers are rounded to it with a scale that lets no
//! sum of products overflow, whatever the numbers are: by Cauchy and Schwarz, the products of two
//! blocks sum to no more than their lengths as vectors, multiplied. Few rows of activations, which are
//! multiplied with codes alone, are rounded by [`round_in_order`].

use std::cmp::Ordering;

use crate::lanes::Lanes;
use crate::matrix::BLOCK;

/// Words of a block.
pub(crate) const PAIRS: usize = BLOCK / 2;

/// The largest integer.
const LARGEST: f32 = 32_767.0;

/// The longest that two blocks may be, for the sum of their products to fit 32 bits:
/// `(LONGEST + √32 / 2)² < 2³¹`, as rounding makes them longer.
pub(crate) const LONGEST: f32 = 46_336.0;

/// The length of a block that is multiplied with codes of eight bits, which cannot overflow:
/// `32 · 32 767 · 128 < 2³¹`.
pub(crate) const ANY_LENGTH: f32 = f32::INFINITY;

/// What the largest number of a block is taken for at least, so that nothing overflows.
const SMALLEST: f32 = 1e-30;

/// Rounds one block of each of `L::N` rows. `values[k]` are the rows' numbers `k`; the words of the
/// rows go to `out` and then each `width` further. Returns the scales.
///
/// What is infinite or not a number makes its scale not a number.
#[inline(always)]
pub(crate) unsafe fn round_rows<L: Lanes>(
    values: &[L::V; BLOCK],
    longest: f32,
    out: *mut i32,
    width: usize,
) -> L::V {
    let zero = L::splat(0.0);
    let mut largest = L::splat(SMALLEST);
    // Zero, unless a number is odd.
    let mut odd = zero;
    for &value in values {
        largest = L::max(largest, L::max(value, L::sub(zero, value)));
        odd = L::fma(value, zero, odd);
    }
    let mut factor = L::div(L::splat(LARGEST), largest);
    if longest < ANY_LENGTH {
        let mut squares = zero;
        for &value in values {
            let value = L::mul(value, factor);
            squares = L::fma(value, value, squares);
        }
        let excess = L::mul(L::sqrt(squares), L::splat(1.0 / longest));
        factor = L::div(factor, L::max(excess, L::splat(1.0)));
    }
    for i in 0..PAIRS {
        let [low, high] = [values[i], values[PAIRS + i]];
        let pair = L::to_pairs(L::mul(low, factor), L::mul(high, factor));
        L::store_pairs(out.add(i * width), pair);
    }
    L::add(L::div(L::splat(1.0), factor), odd)
}

/// Rounds one block of one row, `L::N` numbers in each of the first vectors, to the words at `out`.
/// Returns the scale.
///
/// What is infinite or not a number makes it not a number.
#[inline(always)]
pub(crate) unsafe fn round_block<L: Lanes>(values: &mut [L::V; BLOCK / 4], out: *mut i32) -> f32 {
    let zero = L::splat(0.0);
    let mut largest = zero;
    for &value in &values[..BLOCK / L::N] {
        largest = L::max(largest, L::max(value, L::sub(zero, value)));
    }
    let largest = L::largest(largest).max(SMALLEST);
    let (mut factor, mut scale) = (LARGEST / largest, largest / LARGEST);
    let mut squares = zero;
    for &value in &values[..BLOCK / L::N] {
        let value = L::mul(value, L::splat(factor));
        squares = L::fma(value, value, squares);
    }
    let excess = L::sum(squares).sqrt() / LONGEST;
    // Also when it is not a number.
    if !matches!(
        excess.partial_cmp(&1.0),
        Some(Ordering::Less | Ordering::Equal)
    ) {
        factor /= excess;
        scale *= excess;
    }
    for value in &mut values[..BLOCK / L::N] {
        *value = L::mul(*value, L::splat(factor));
    }
    store_block::<L>(values, out);
    scale
}

/// What brings the nearest integer to a number's lowest bits when it is added.
const TO_INTEGER: f32 = 12_582_912.0;

/// Rounds a block to integers in their order, whatever its length: it is multiplied with codes of no
/// more than eight bits. They are the lowest 16 bits of what is written. Returns the scale and the sum of
/// the integers.
///
/// What is infinite or not a number makes the scale not a number.
#[inline(always)]
pub(crate) unsafe fn round_in_order<L: Lanes>(
    values: *const f32,
    out: &mut [f32; BLOCK],
) -> (f32, f32) {
    let zero = L::splat(0.0);
    let (mut largest, mut odd, mut sum) = (zero, zero, zero);
    for i in (0..BLOCK).step_by(L::N) {
        let value = L::load(values.add(i));
        largest = L::max(largest, L::max(value, L::sub(zero, value)));
        odd = L::fma(value, zero, odd);
    }
    let factor = LARGEST / L::largest(largest).max(SMALLEST);
    let (by, shift) = (L::splat(factor), L::splat(TO_INTEGER));
    for i in (0..BLOCK).step_by(L::N) {
        let value = L::add(L::mul(L::load(values.add(i)), by), shift);
        L::store(out.as_mut_ptr().add(i), value);
        sum = L::add(sum, L::sub(value, shift));
    }
    (1.0 / factor + L::sum(odd), L::sum(sum))
}

/// Writes a block of integers, `L::N` in each of the first vectors.
#[inline(always)]
pub(crate) unsafe fn store_block<L: Lanes>(values: &[L::V; BLOCK / 4], out: *mut i32) {
    let half = PAIRS / L::N;
    for v in 0..half {
        L::store_pairs(out.add(v * L::N), L::to_pairs(values[v], values[half + v]));
    }
}
