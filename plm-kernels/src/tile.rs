//! The tile that matrix products and attention are made of.

use crate::lanes::{Lanes, prefetch};

/// Numbers in a cache line.
const LINE: usize = 16;

/// Steps of `k` for each line that is fetched ahead.
const STEPS: usize = 4;

/// Where the numbers of a tile stand: `c[o][..] (+)= Σ_k a[k][..] · b[o · os + k · ks]`.
///
/// `a` is packed, some vectors for each step of `k`; rows of `c` are `ldc` apart.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Steps of `k`.
    pub(crate) depth: usize,
    pub(crate) os: usize,
    pub(crate) ks: usize,
    pub(crate) ldc: usize,
    /// Whether the products are added to what `c` holds.
    pub(crate) add: bool,
}

/// Computes `T` outputs, each `V` vectors wide; what stands at `ahead` is fetched meanwhile.
#[inline(always)]
unsafe fn tile<L: Lanes, const V: usize, const T: usize>(
    shape: Shape,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    ahead: *const f32,
) {
    let Shape {
        depth,
        os,
        ks,
        ldc,
        add,
    } = shape;
    let mut sums = [[L::splat(0.0); V]; T];
    if add {
        for o in 0..T {
            for v in 0..V {
                sums[o][v] = L::load(c.add(o * ldc + v * L::N));
            }
        }
    }
    let (mut a, mut b, mut ahead) = (a, b, ahead);
    let mut k = 0;
    while k < depth {
        prefetch(ahead);
        ahead = ahead.wrapping_add(LINE);
        for _ in 0..STEPS.min(depth - k) {
            let mut x = [L::splat(0.0); V];
            for v in 0..V {
                x[v] = L::load(a.add(v * L::N));
            }
            for o in 0..T {
                let w = L::splat(*b.add(o * os));
                for v in 0..V {
                    sums[o][v] = L::fma(w, x[v], sums[o][v]);
                }
            }
            a = a.add(V * L::N);
            b = b.add(ks);
        }
        k += STEPS;
    }
    for o in 0..T {
        for v in 0..V {
            L::store(c.add(o * ldc + v * L::N), sums[o][v]);
        }
    }
}

/// Computes any number of outputs, each `V` vectors wide. Meanwhile what stands at `ahead` is
/// fetched, a line for every four steps of every tile: the next `a`.
#[inline(always)]
pub(crate) unsafe fn tiles<L: Lanes, const V: usize>(
    outputs: usize,
    shape: Shape,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    ahead: *const f32,
) {
    let lines = shape.depth.div_ceil(STEPS) * LINE;
    let (mut o, mut ahead) = (0, ahead);
    while o < outputs {
        let (b, c) = (b.add(o * shape.os), c.add(o * shape.ldc));
        let left = outputs - o;
        o += if left >= L::TILE {
            match L::TILE {
                12 => tile::<L, V, 12>(shape, a, b, c, ahead),
                6 => tile::<L, V, 6>(shape, a, b, c, ahead),
                _ => tile::<L, V, 4>(shape, a, b, c, ahead),
            }
            L::TILE
        } else if left >= 4 {
            tile::<L, V, 4>(shape, a, b, c, ahead);
            4
        } else {
            tile::<L, V, 1>(shape, a, b, c, ahead);
            1
        };
        ahead = ahead.wrapping_add(lines);
    }
}
