//! Vectors of f32, one type for each instruction set, and the choice of one at run time.
//!
//! A kernel is a [`Task`]: written once over [`Lanes`], compiled once for each instruction set,
//! and started by [`run`] with one that this processor has, the best but in tests.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use std::sync::OnceLock;

use crate::matrix::BLOCK;

/// A vector of f32 and what kernels do with it.
///
/// # Safety
///
/// All functions need the instruction set that the type stands for. Loads read, and stores write,
/// `N` numbers at a pointer of any alignment.
pub(crate) trait Lanes: Copy + 'static {
    /// Numbers in a vector: 4, 8 or 16.
    const N: usize;
    /// Outputs of one tile of the matrix product; with two vectors of rows each they fill the
    /// registers.
    const TILE: usize;
    /// The vector.
    type V: Copy;
    /// A vector of `N` words: pairs of 16-bit integers, the first in the low half, or 32-bit
    /// integers.
    type I: Copy;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn sqrt(v: Self::V) -> Self::V;
    /// To the nearest integer, ties to even.
    unsafe fn round(v: Self::V) -> Self::V;
    /// `2^v` for integers `v` in -126..=127.
    unsafe fn pow2(v: Self::V) -> Self::V;
    /// The sum of all numbers.
    unsafe fn sum(v: Self::V) -> f32;
    /// The largest of all numbers.
    unsafe fn largest(v: Self::V) -> f32;
    /// Turns the first `N` vectors, as rows of a square, into its columns.
    unsafe fn transpose(rows: &mut [Self::V; 16]);
    /// Widens bf16.
    unsafe fn load_bf16(p: *const u16) -> Self::V;
    /// Widens f16.
    unsafe fn load_f16(p: *const u16) -> Self::V;
    /// Converts signed bytes.
    unsafe fn load_i8(p: *const i8) -> Self::V;
    /// Converts the low and the high halves of `N` bytes, less 8 each.
    unsafe fn load_nibbles(p: *const u8) -> (Self::V, Self::V);
    /// Numbers of a table by the halves of sixteen bytes, the high half of each first, in the first
    /// `BLOCK / N` vectors.
    unsafe fn look_up(p: *const u8, table: &Table, out: &mut [Self::V; BLOCK / 4]);
    /// Widens `N / 4` blocks of signed bytes to 16-bit integers, spread as [`spread`] says.
    unsafe fn spread_bytes(p: *const i8) -> [Self::I; 4] {
        spread_with::<Self>(|block, i| i16::from(*p.add(block * BLOCK + i)))
    }
    /// Widens `N / 4` blocks of 4-bit numbers to 16-bit integers of 0 to 15, spread as [`spread`] says.
    /// The low halves of a block's sixteen bytes are its first half.
    unsafe fn spread_nibbles(p: *const u8) -> [Self::I; 4] {
        spread_with::<Self>(|block, i| {
            let byte = *p.add(block * BLOCK / 2 + i % 16);
            i16::from(if i < 16 { byte & 15 } else { byte >> 4 })
        })
    }
    /// The sums of four words: word `4 l + v` is the sum of words `4 l` to `4 l + 3` of vector `v`.
    unsafe fn sum_quads(vectors: [Self::I; 4]) -> Self::I {
        let (mut sums, mut words) = ([0i32; 16], [0i32; 16]);
        for (v, vector) in vectors.into_iter().enumerate() {
            Self::store_pairs(words.as_mut_ptr(), vector);
            for (l, quad) in words[..Self::N].chunks_exact(4).enumerate() {
                sums[4 * l + v] = quad.iter().fold(0, |a, &b| a.wrapping_add(b));
            }
        }
        Self::load_pairs(sums.as_ptr())
    }
    /// Brings numbers of `N` blocks into the order of their sums by [`sum_quads`](Self::sum_quads),
    /// where vector `v` is of blocks `v · N / 4` to `(v + 1) · N / 4 - 1`.
    unsafe fn by_quads(v: Self::V) -> Self::V {
        let (mut from, mut to) = ([0.0f32; 16], [0.0f32; 16]);
        Self::store(from.as_mut_ptr(), v);
        for (block, &number) in from[..Self::N].iter().enumerate() {
            to[quad_of(block, Self::N)] = number;
        }
        Self::load(to.as_ptr())
    }
    unsafe fn splat_pair(x: i32) -> Self::I;
    unsafe fn load_pairs(p: *const i32) -> Self::I;
    unsafe fn store_pairs(p: *mut i32, v: Self::I);
    /// Rounds numbers, which fit 16 bits, to integers.
    unsafe fn to_pairs(low: Self::V, high: Self::V) -> Self::I;
    /// `a.low · b.low + a.high · b.high + c`, the pairs of `a` and `b` and the 32 bits of `c`, which the sum
    /// fits.
    unsafe fn dot(a: Self::I, b: Self::I, c: Self::I) -> Self::I;
    /// `a - b`, of 32 bits.
    unsafe fn sub_words(a: Self::I, b: Self::I) -> Self::I;
    /// Converts 32-bit integers.
    unsafe fn to_float(v: Self::I) -> Self::V;
}

/// Sixteen numbers to look up.
pub(crate) struct Table {
    numbers: [f32; 16],
    /// The four bytes of each, the lowest first, for AVX2.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    bytes: [[u8; 16]; 4],
}

impl Table {
    pub(crate) const fn new(numbers: [f32; 16]) -> Self {
        let mut bytes = [[0; 16]; 4];
        let mut i = 0;
        while i < 64 {
            bytes[i % 4][i / 4] = numbers[i / 4].to_le_bytes()[i % 4];
            i += 1;
        }
        Self { numbers, bytes }
    }
}

/// Which number of a block is number `i` of its eight in vector `v` of four, where `N / 4` blocks are
/// spread over four vectors of 16-bit integers: each has a lane of 128 bits of its own in all of them.
pub(crate) const fn spread(v: usize, i: usize) -> usize {
    v % 2 * (BLOCK / 2) + v / 2 + 2 * i
}

/// Where the sum of block `block` of `n` stands among those by [`Lanes::sum_quads`].
pub(crate) const fn quad_of(block: usize, n: usize) -> usize {
    block % (n / 4) * 4 + block / (n / 4)
}

/// Spreads `N / 4` blocks, of which `number` gives number `i`.
#[inline(always)]
unsafe fn spread_with<L: Lanes>(number: impl Fn(usize, usize) -> i16) -> [L::I; 4] {
    std::array::from_fn(|v| {
        let mut numbers = [0i16; 2 * 16];
        for block in 0..L::N / 4 {
            for i in 0..8 {
                numbers[8 * block + i] = number(block, spread(v, i));
            }
        }
        L::load_pairs(numbers.as_ptr().cast())
    })
}

/// Asks for the cache line at `p`, which need not be memory of this process.
#[inline(always)]
pub(crate) fn prefetch<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of the architecture, and a prefetch of any address is harmless.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// A kernel with its arguments.
pub(crate) trait Task {
    type Output;

    /// Runs with the vectors of one instruction set.
    ///
    /// Implementations are `#[inline(always)]`, so that they are compiled with the instructions of
    /// the function that starts them.
    unsafe fn run<L: Lanes>(self) -> Self::Output;
}

/// An instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// AVX-512 F, BW and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// NEON.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// What the compiler makes of plain Rust.
    Portable,
}

impl Level {
    /// The instruction sets that this processor has, the best first.
    pub fn available() -> Vec<Self> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl");
            if avx2 && avx512 {
                levels.push(Self::Avx512);
            }
            if avx2 {
                levels.push(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            levels.push(Self::Neon);
        }
        levels.push(Self::Portable);
        levels
    }

    /// The instruction set that kernels use: the best there is.
    pub fn best() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| Self::available()[0])
    }

    /// Whether this processor sums products of pairs of 16-bit integers in one instruction.
    fn has_dot(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512vnni"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avxvnni"),
            _ => false,
        }
    }

    /// Whether matrices of 16-bit integers are multiplied faster than those of f32.
    pub(crate) fn prefers_integers(self) -> bool {
        match self {
            // Two instructions for sixteen products, of which three or four are begun at a time, beside
            // one for eight, of which two are.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => true,
            _ => self.has_dot(),
        }
    }

    /// Whether codes of 8 and 4 bits are widened to 16-bit integers, and those multiplied, with fewer
    /// instructions than to f32.
    pub(crate) fn has_words(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx2 => true,
            _ => false,
        }
    }

    /// Whether this processor has a unit that multiplies matrices of bf16.
    #[cfg(any(target_arch = "x86_64", test))]
    pub(crate) fn has_tiles(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => crate::amx::is_available(),
            _ => false,
        }
    }

    /// Whether this processor sums products of pairs of bf16 in one instruction.
    #[cfg(any(target_arch = "x86_64", test))]
    pub(crate) fn has_halves(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => crate::avx512_bf16::is_available(),
            _ => false,
        }
    }

    /// Numbers in a vector.
    pub(crate) fn lanes(self) -> usize {
        struct Count;
        impl Task for Count {
            type Output = usize;
            #[inline(always)]
            unsafe fn run<L: Lanes>(self) -> usize {
                L::N
            }
        }
        run(self, Count)
    }

    /// The name of the instruction set.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if self.has_tiles() => "AVX-512 and AMX",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "NEON",
            Self::Portable => "portable",
        }
    }
}

/// Runs a task with one instruction set, which this processor must have.
pub(crate) fn run<T: Task>(level: Level, task: T) -> T::Output {
    // SAFETY: a level is only made by `Level::available`, which asks the processor.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => avx512::run(task),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => avx2::run(task),
            #[cfg(target_arch = "aarch64")]
            Level::Neon => neon::run(task),
            Level::Portable => task.run::<portable::Portable>(),
        }
    }
}

/// Runs a task that is about [`Lanes::dot`], with the instruction for it where there is one.
pub(crate) fn run_with_dot<T: Task>(level: Level, task: T) -> T::Output {
    // SAFETY: the processor was asked for the instruction.
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 if level.has_dot() => unsafe { avx512::run_with_dot(task) },
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 if level.has_dot() => unsafe { avx2::run_with_dot(task) },
        level => run(level, task),
    }
}
