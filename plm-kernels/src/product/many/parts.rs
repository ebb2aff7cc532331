//! Panels of bf16, which the matrix unit of some processors multiplies twenty times as fast as f32.
//!
//! A number is the sum of up to three of bf16: three hold every bit of an f32. Products of two
//! numbers of bf16 are exact in f32, in which they are summed, so that a product of the parts is as
//! precise as the number of parts says.

use super::{Arithmetic, MatmulPrecision, Panel, Product, Rows};
use crate::amx::{self, Step};
use crate::format::Format;
use crate::lanes::{self, Lanes, Level, Task};
use crate::matrix::{Matrix, Weights};

/// Inputs of a block, whose parts stand one after the other.
pub(super) const BLOCK: usize = amx::DEPTH;

/// Words of 32 bits of a part of a block.
const WORDS: usize = BLOCK / 2;

/// Most parts of a number.
const MOST: usize = 3;

/// Inputs of a panel.
const PANEL: usize = 128;

/// Parts that numbers are multiplied by.
#[derive(Clone, Copy)]
pub(in crate::product) struct Parts {
    /// Of activations.
    activations: usize,
    /// Of weights: as many as their formats need, but no more than those of activations.
    weights: usize,
}

impl Parts {
    /// For some products, if this processor multiplies so.
    pub(in crate::product) fn new(level: Level, list: &[Product<'_>]) -> Option<Self> {
        if !level.has_tiles() {
            return None;
        }
        let wanted = |product: &Product<'_>| match product.precision {
            MatmulPrecision::Medium => 1,
            _ if product.is_high() => 2,
            _ => MOST,
        };
        let activations = list.iter().map(wanted).max()?;
        let needed = |product: &Product<'_>| match product.matrix.weights() {
            Weights::Bf16(_) => 1,
            // 11 bits of f16; the codes of the others, multiplied by a scale of so many.
            Weights::F16(_) | Weights::Q8 { .. } | Weights::Q4 { .. } => 2,
            Weights::F32(_) | Weights::Nf4(_) => MOST,
        };
        let weights = list.iter().map(needed).max()?.min(activations);
        Some(Self {
            activations,
            weights,
        })
    }

    /// The parts of weights and of activations whose products are worth adding.
    fn terms(self) -> impl Iterator<Item = (usize, usize)> {
        let all = (0..self.weights).flat_map(move |w| (0..self.activations).map(move |x| (w, x)));
        all.filter(move |(w, x)| w + x < self.activations)
    }
}

/// The first parts of a number, as f32 whose lower halves are zero.
#[inline(always)]
fn split<const PARTS: usize>(number: f32) -> [u32; PARTS] {
    const HIGH: u32 = 0xffff_0000;
    const INFINITE: u32 = 0x7f80_0000;
    const QUIET: u32 = 0x0040_0000;
    let size = number.to_bits() & !(1 << 31);
    let mut parts = [0; PARTS];
    let mut rest = number;
    for i in 0..PARTS {
        let bits = rest.to_bits();
        // What is cut off is part of the rest; the last part is rounded.
        let carry = 0x7fff + (bits >> 16 & 1);
        let bits = if i + 1 == PARTS && size < INFINITE {
            bits + carry
        } else {
            bits
        };
        parts[i] = bits & HIGH;
        rest -= f32::from_bits(parts[i]);
        // What is infinite has no rest.
        rest = if size < INFINITE { rest } else { 0.0 };
    }
    parts[0] |= if size > INFINITE { QUIET } else { 0 };
    parts
}

impl Arithmetic for Parts {
    const DEPTH: usize = PANEL;
    const TILE: usize = 2 * amx::SIDE;

    fn run<T: Task>(level: Level, task: T) -> T::Output {
        // SAFETY: there are no parts without the unit.
        unsafe { amx::with_tiles(|| lanes::run(level, task)) }
    }

    fn padded(columns: usize) -> usize {
        columns.next_multiple_of(BLOCK)
    }

    fn words(self, inputs: usize) -> usize {
        inputs / BLOCK * WORDS * self.activations
    }

    #[inline(always)]
    unsafe fn pack<L: Lanes>(
        self,
        x: Rows,
        start: usize,
        depth: usize,
        out: *mut f32,
        width: usize,
    ) {
        for block in 0..depth / BLOCK {
            let out: *mut u32 = out.add(self.words(block * BLOCK) * width).cast();
            for k in (0..BLOCK).step_by(L::N) {
                let square = x.square::<L>(start + block * BLOCK + k);
                for i in 0..L::N / 2 {
                    let out = out.add((k / 2 + i) * width);
                    let pair = [square[2 * i], square[2 * i + 1]];
                    match self.activations {
                        1 => pack_pair::<L, 1>(pair, out, width),
                        2 => pack_pair::<L, 2>(pair, out, width),
                        _ => pack_pair::<L, MOST>(pair, out, width),
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn expand<L: Lanes, F: Format>(
        self,
        format: F,
        matrix: &Matrix<'_>,
        row: usize,
        start: usize,
        panel: *mut f32,
        o: usize,
    ) {
        let end = (start + PANEL).min(matrix.padded_columns());
        let mut numbers = [0.0; PANEL];
        format.expand::<L>(row, matrix.columns(), start, end, numbers.as_mut_ptr());
        let blocks = (end - start).div_ceil(BLOCK);
        // Rows of a tile stand side by side, so that it is read in one go.
        let tiles = panel.add(o / Self::TILE * Self::TILE * self.words(PANEL));
        let out: *mut u16 = tiles.cast::<u16>().add(o % Self::TILE * BLOCK);
        for (block, numbers) in numbers.as_chunks::<BLOCK>().0[..blocks].iter().enumerate() {
            let out = out.add(block * self.weights * Self::TILE * BLOCK);
            match self.weights {
                1 => expand_block::<1>(numbers, out),
                2 => expand_block::<2>(numbers, out),
                _ => expand_block::<MOST>(numbers, out),
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply<L: Lanes, const V: usize>(
        self,
        panel: Panel,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
        _ahead: *const f32,
    ) {
        let mut steps = [Step::default(); PANEL / BLOCK * MOST * (MOST + 1) / 2];
        let mut count = 0;
        let part = BLOCK * size_of::<u16>();
        for block in 0..panel.depth / BLOCK {
            for (w, x) in self.terms() {
                let x = (block * self.activations + x) * part * V * L::N;
                steps[count] = Step {
                    a: ((block * self.weights + w) * Self::TILE * part) as u32,
                    b: x as u32,
                };
                count += 1;
            }
        }
        let steps = &steps[..count];
        for o in (0..panel.outputs).step_by(Self::TILE) {
            let weights = b.add(o * self.words(PANEL)).cast();
            let c = c.add(o * V * L::N);
            amx::multiply::<V>(steps, weights, a.cast(), c, V * L::N, panel.add);
        }
    }
}

/// Writes the parts of two inputs of a vector of rows.
#[inline(always)]
pub(super) unsafe fn pack_pair<L: Lanes, const PARTS: usize>(
    pair: [L::V; 2],
    out: *mut u32,
    width: usize,
) {
    let mut numbers = [[0.0f32; 16]; 2];
    for i in 0..2 {
        L::store(numbers[i].as_mut_ptr(), pair[i]);
    }
    let mut words = [[0; 16]; PARTS];
    for lane in 0..L::N {
        let first = split::<PARTS>(numbers[0][lane]);
        let second = split::<PARTS>(numbers[1][lane]);
        for part in 0..PARTS {
            words[part][lane] = first[part] >> 16 | second[part];
        }
    }
    for part in 0..PARTS {
        let out = out.add(part * WORDS * width);
        out.copy_from_nonoverlapping(words[part].as_ptr(), L::N);
    }
}

/// Writes the parts of a block of weights, each in a tile of its own.
#[inline(always)]
pub(super) unsafe fn expand_block<const PARTS: usize>(numbers: &[f32; BLOCK], out: *mut u16) {
    let mut halves = [[0; BLOCK]; PARTS];
    for i in 0..BLOCK {
        let parts = split::<PARTS>(numbers[i]);
        for part in 0..PARTS {
            halves[part][i] = (parts[part] >> 16) as u16;
        }
    }
    for part in 0..PARTS {
        let out = out.add(part * Parts::TILE * BLOCK);
        out.copy_from_nonoverlapping(halves[part].as_ptr(), BLOCK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(parts: &[u32]) -> f64 {
        parts
            .iter()
            .map(|&part| f64::from(f32::from_bits(part)))
            .sum()
    }

    #[test]
    fn three_parts_are_the_number_and_two_are_near_it() {
        for i in 0..100_000u32 {
            let number = f32::from_bits(0x2000_0000 + i * 9973);
            for number in [number, -number] {
                let three = split::<3>(number);
                assert!(three.iter().all(|part| part & 0xffff == 0));
                assert_eq!(sum(&three), f64::from(number));
                let off = sum(&split::<2>(number)) / f64::from(number) - 1.0;
                assert!(off.abs() < 1.6e-5, "{number} {off}");
            }
        }
        for number in [f32::MAX, f32::MIN, 0.0] {
            assert_eq!(sum(&split::<3>(number)), f64::from(number));
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        fn check<const PARTS: usize>() {
            assert_eq!(sum(&split::<PARTS>(f32::INFINITY)), f64::INFINITY);
            assert_eq!(sum(&split::<PARTS>(f32::NEG_INFINITY)), f64::NEG_INFINITY);
            for nan in [f32::NAN, f32::from_bits(0x7f80_0001)] {
                assert!(f32::from_bits(split::<PARTS>(nan)[0]).is_nan());
            }
        }
        check::<1>();
        check::<2>();
        check::<3>();
    }
}
