//! Functions of single numbers: exp, the exact GELU, SwiGLU.

use crate::lanes::{Lanes, Level};
use crate::map::{Function, map, map_to};

/// `e^x`, to one or two units in the last place; below -87 about 0, above 88 about 1.6e38.
#[inline(always)]
pub(crate) unsafe fn exp_lanes<L: Lanes>(x: L::V) -> L::V {
    let x = L::min(L::max(x, L::splat(-87.3)), L::splat(88.0));
    let n = L::round(L::mul(x, L::splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts, the first exact in few bits.
    let r = L::fma(n, L::splat(-0.693_359_4), x);
    let r = L::fma(n, L::splat(2.121_944_4e-4), r);
    let mut p = L::splat(1.987_569_2e-4);
    for c in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        5e-1,
    ] {
        p = L::fma(p, r, L::splat(c));
    }
    let p = L::add(L::fma(p, L::mul(r, r), r), L::splat(1.0));
    L::mul(p, L::pow2(n))
}

/// The error function of `x / √2`, by a quotient of polynomials that is right to 1e-7.
#[inline(always)]
pub(crate) unsafe fn erf_lanes<L: Lanes>(x: L::V) -> L::V {
    let z = L::mul(x, L::splat(std::f32::consts::FRAC_1_SQRT_2));
    let z = L::min(L::max(z, L::splat(-4.0)), L::splat(4.0));
    let square = L::mul(z, z);
    let mut p = L::splat(-2.726_142_3e-10);
    for c in [
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ] {
        p = L::fma(p, square, L::splat(c));
    }
    let mut q = L::splat(-1.456_607_2e-5);
    for c in [
        -2.133_740_5e-4,
        -1.682_827e-3,
        -7.373_329e-3,
        -1.426_473_9e-2,
    ] {
        q = L::fma(q, square, L::splat(c));
    }
    L::div(L::mul(z, p), q)
}

/// `x · Φ(x)`.
#[inline(always)]
pub(crate) unsafe fn gelu_lanes<L: Lanes>(x: L::V) -> L::V {
    let half = L::mul(x, L::splat(0.5));
    L::fma(half, erf_lanes::<L>(x), half)
}

/// As [`gelu_lanes`], of one number.
#[inline(always)]
pub(crate) unsafe fn gelu<L: Lanes>(x: f32) -> f32 {
    let mut out = [0.0; 16];
    L::store(out.as_mut_ptr(), gelu_lanes::<L>(L::splat(x)));
    out[0]
}

struct Gelu;

impl Function<1, 1> for Gelu {
    #[inline(always)]
    unsafe fn of<L: Lanes>([x]: [L::V; 1]) -> [L::V; 1] {
        [gelu_lanes::<L>(x)]
    }
}

/// The exact GELU, `x · Φ(x)`, of each number.
pub fn gelus(x: &[f32]) -> Vec<f32> {
    let [y] = map::<Gelu, 1, 1>(Level::best(), [x]);
    y
}

struct SiluMul;

impl Function<2, 1> for SiluMul {
    #[inline(always)]
    unsafe fn of<L: Lanes>([gate, up]: [L::V; 2]) -> [L::V; 1] {
        let exp = exp_lanes::<L>(L::sub(L::splat(0.0), gate));
        let silu = L::div(gate, L::add(L::splat(1.0), exp));
        [L::mul(silu, up)]
    }
}

/// `silu(gate) · up`, into new memory.
///
/// # Panics
///
/// When the two are not of one length.
pub fn silu_muls(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let [y] = map::<SiluMul, 2, 1>(Level::best(), [gate, up]);
    y
}

/// Replaces `gate` by `silu(gate) · up`, with `silu(x) = x / (1 + e^-x)`.
///
/// # Panics
///
/// When the two are not of one length.
pub fn silu_mul(gate: &mut [f32], up: &[f32]) {
    silu_mul_at(Level::best(), gate, up);
}

fn silu_mul_at(level: Level, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "gates and values");
    let (len, gate) = (gate.len(), gate.as_mut_ptr());
    // SAFETY: both are `len` long, and only the gates are written.
    unsafe { map_to::<SiluMul, 2, 1>(level, len, [gate, up.as_ptr()], [gate]) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::{Task, run};

    struct Each<F>(F, f32);

    trait Function {
        unsafe fn of<L: Lanes>(x: L::V) -> L::V;
    }
    struct Exp;
    impl Function for Exp {
        #[inline(always)]
        unsafe fn of<L: Lanes>(x: L::V) -> L::V {
            exp_lanes::<L>(x)
        }
    }
    struct Gelu;
    impl Function for Gelu {
        #[inline(always)]
        unsafe fn of<L: Lanes>(x: L::V) -> L::V {
            gelu_lanes::<L>(x)
        }
    }
    impl<F: Function> Task for Each<F> {
        type Output = f32;
        #[inline(always)]
        unsafe fn run<L: Lanes>(self) -> f32 {
            let mut out = [0.0; 16];
            L::store(out.as_mut_ptr(), F::of::<L>(L::splat(self.1)));
            out[0]
        }
    }

    /// The error function by its series, in f64.
    fn erf(x: f64) -> f64 {
        if x.abs() > 5.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn exp_is_right_to_the_last_places() {
        for level in Level::available() {
            for i in -8700..=8800 {
                let x = i as f32 / 100.0;
                let found = f64::from(run(level, Each(Exp, x)));
                let expected = f64::from(x).exp();
                assert!(
                    (found - expected).abs() <= 3e-7 * expected,
                    "{level:?}: exp({x}) = {found}, not {expected}"
                );
            }
            assert!(run(level, Each(Exp, f32::NEG_INFINITY)) < 2e-38);
        }
    }

    #[test]
    fn gelu_is_the_exact_one() {
        for level in Level::available() {
            for i in -1200..=1200 {
                let x = i as f32 / 100.0;
                let wide = f64::from(x);
                let expected = 0.5 * wide * (1.0 + erf(wide * std::f64::consts::FRAC_1_SQRT_2));
                let lanes = f64::from(run(level, Each(Gelu, x)));
                let bound = 3e-7 * wide.abs().max(1.0);
                assert!(
                    (lanes - expected).abs() <= bound,
                    "{level:?}: gelu({x}) = {lanes}"
                );
            }
        }
    }

    #[test]
    fn gates_scale_values() {
        let gate: Vec<f32> = (0..37).map(|i| i as f32 / 3.0 - 6.0).collect();
        let up: Vec<f32> = (0..37).map(|i| 1.0 - i as f32 / 9.0).collect();
        let expected: Vec<f32> = gate
            .iter()
            .zip(&up)
            .map(|(g, u)| g / (1.0 + (-g).exp()) * u)
            .collect();
        for level in Level::available() {
            let mut gate = gate.clone();
            silu_mul_at(level, &mut gate, &up);
            for (found, expected) in gate.iter().zip(&expected) {
                assert!((found - expected).abs() <= 1e-6 * (1.0 + expected.abs()));
            }
        }
    }
}
