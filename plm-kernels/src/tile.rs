//! The tile that matrix products and attention are made of.

use crate::lanes::Lanes;

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
) {
    let mut sums = [[L::splat(0.0); V]; T];
    if add {
        for o in 0..T {
            for v in 0..V {
                sums[o][v] = L::load(c.add(o * ldc + v * L::N));
            }
        }
    }
    let (mut a, mut b) = (a, b);
    for _ in 0..depth {
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
    for o in 0..T {
        for v in 0..V {
            L::store(c.add(o * ldc + v * L::N), sums[o][v]);
        }
    }
}

/// As [`tile`], for any number of outputs.
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
) {
    let mut o = 0;
    while o + L::TILE <= outputs {
        let (b, c) = (b.add(o * os), c.add(o * ldc));
        match L::TILE {
            12 => tile::<L, V, 12>(depth, a, b, os, ks, c, ldc, add),
            6 => tile::<L, V, 6>(depth, a, b, os, ks, c, ldc, add),
            _ => tile::<L, V, 4>(depth, a, b, os, ks, c, ldc, add),
        }
        o += L::TILE;
    }
    while o + 4 <= outputs {
        tile::<L, V, 4>(depth, a, b.add(o * os), os, ks, c.add(o * ldc), ldc, add);
        o += 4;
    }
    while o < outputs {
        tile::<L, V, 1>(depth, a, b.add(o * os), os, ks, c.add(o * ldc), ldc, add);
        o += 1;
    }
}
