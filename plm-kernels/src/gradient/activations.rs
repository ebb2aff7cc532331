use crate::activation::{erf_lanes, exp_lanes};
use crate::lanes::{Lanes, Level};
use crate::map::{Function, map};

/// `1 / √(2π)`.
const INV_SQRT_TAU: f32 = 0.398_942_3;

/// `y · (Φ(x) + x · φ(x))`.
struct Gelu;

impl Function<2, 1> for Gelu {
    #[inline(always)]
    unsafe fn of<L: Lanes>([x, y]: [L::V; 2]) -> [L::V; 1] {
        let half = L::splat(0.5);
        let share = L::fma(half, erf_lanes::<L>(x), half);
        let square = L::mul(L::mul(x, x), L::splat(-0.5));
        let density = L::mul(exp_lanes::<L>(square), L::splat(INV_SQRT_TAU));
        [L::mul(y, L::fma(x, density, share))]
    }
}

/// With `s = σ(gate)`: `y · up · s · (1 + gate · (1 - s))` and `y · gate · s`.
struct SiluMul;

impl Function<3, 2> for SiluMul {
    #[inline(always)]
    unsafe fn of<L: Lanes>([gate, up, y]: [L::V; 3]) -> [L::V; 2] {
        let one = L::splat(1.0);
        let exp = exp_lanes::<L>(L::sub(L::splat(0.0), gate));
        let s = L::div(one, L::add(one, exp));
        let slope = L::mul(s, L::fma(gate, L::sub(one, s), one));
        [L::mul(L::mul(y, up), slope), L::mul(y, L::mul(gate, s))]
    }
}

/// The gradient of `x`, given the gradient `y` of `gelu(x)`.
///
/// # Panics
///
/// When the two are not of one length.
pub fn gelu_gradient(x: &[f32], y: &[f32]) -> Vec<f32> {
    gelu_gradient_at(Level::best(), x, y)
}

pub(super) fn gelu_gradient_at(level: Level, x: &[f32], y: &[f32]) -> Vec<f32> {
    let [x] = map::<Gelu, 2, 1>(level, [x, y]);
    x
}

/// The gradients of gates and values, given the gradient `y` of `silu(gate) · up`.
///
/// # Panics
///
/// When the three are not of one length.
pub fn silu_mul_gradient(gate: &[f32], up: &[f32], y: &[f32]) -> [Vec<f32>; 2] {
    silu_mul_gradient_at(Level::best(), gate, up, y)
}

pub(super) fn silu_mul_gradient_at(
    level: Level,
    gate: &[f32],
    up: &[f32],
    y: &[f32],
) -> [Vec<f32>; 2] {
    map::<SiluMul, 3, 2>(level, [gate, up, y])
}
