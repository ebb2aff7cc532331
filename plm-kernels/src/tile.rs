//! The tile that matrix products and attention are made of.

use crate::lanes::{Lanes, prefetch};

/// Numbers in a cache line.
const LINE: usize = 16;

/// Steps of `k` for each line that is fetched ahead.
const STEPS: usize = 4;

/// `c[o][..] (+)= Σ_k a[k][..] · b[o · os + k · ks]` for `T` outputs, each `V` vectors wide.
///
/// `a` is packed, `V · N` numbers a step of `k`; rows of `c` are `ldc` apart.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn tile<L: Lanes, const V: usize, const T: usize>(
    depth: usize,
    a: *const f32,
    b: *const f32,
    os: usize,
    ks: usize,
    c: *mut f32,
    ldc: usize,
    add: bool,
    ahead: *const f32,
) {
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

/// As [`tile`], for any number of outputs. Meanwhile what stands at `ahead` is fetched, a line for
/// every four steps of every tile: the next `a`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn tiles<L: Lanes, const V: usize>(
    outputs: usize,
    depth: usize,
    a: *const f32,
    b: *const f32,
    os: usize,
    ks: usize,
    c: *mut f32,
    ldc: usize,
    add: bool,
    ahead: *const f32,
) {
    let lines = depth.div_ceil(STEPS) * LINE;
    let (mut o, mut ahead) = (0, ahead);
    while o < outputs {
        let (b, c) = (b.add(o * os), c.add(o * ldc));
        let left = outputs - o;
        o += if left >= L::TILE {
            match L::TILE {
                12 => tile::<L, V, 12>(depth, a, b, os, ks, c, ldc, add, ahead),
                6 => tile::<L, V, 6>(depth, a, b, os, ks, c, ldc, add, ahead),
                _ => tile::<L, V, 4>(depth, a, b, os, ks, c, ldc, add, ahead),
            }
            L::TILE
        } else if left >= 4 {
            tile::<L, V, 4>(depth, a, b, os, ks, c, ldc, add, ahead);
            4
        } else {
            tile::<L, V, 1>(depth, a, b, os, ks, c, ldc, add, ahead);
            1
        };
        ahead = ahead.wrapping_add(lines);
    }
}
