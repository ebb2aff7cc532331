//! What is done with activations between the products, each by one kernel where burn launches five to eight: for
//! the few numbers of a token's step, a launch costs more than its work.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};
use burn::cubecl;
use burn::cubecl::calculate_cube_count_elemwise;
use burn::cubecl::client::Client;
use burn::cubecl::prelude::*;
use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

/// Units of a cube that goes through a row, if it is long and a device has so many.
const MOST_UNITS: usize = 1024;

/// Numbers that a unit takes of a shorter row.
const EACH: usize = 4;

/// Operations on tensors of which no gradient is taken.
#[backend_extension(Cube, Fusion)]
pub(crate) trait ActivationOps: Backend {
    /// `x / √(mean(x²) + eps) · weight` of each row, `[groups, rows, width]`.
    #[fusion(dtype = x, shape = Shape::new([x[0], x[1], x[2]]))]
    fn rms_normalized(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self>;

    /// The softmax of each row, `[groups, rows, width]`.
    #[fusion(dtype = x, shape = Shape::new([x[0], x[1], x[2]]))]
    fn softmaxed(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Heads `[batch, seq, heads, head_dim]`, turned by `[batch, 1, seq, head_dim / 2]` and each for itself:
    /// `[batch, heads, seq, head_dim]`.
    #[fusion(dtype = x, shape = Shape::new([x[0], x[2], x[1], x[3]]))]
    fn rotated_heads(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl ActivationOps for CubeBackend {
    fn rms_normalized(x: CubeTensor, weight: CubeTensor, eps: f32) -> CubeTensor {
        let weight = into_contiguous(weight);
        of_rows(x, |client, cubes, units, x, y, width| {
            let dim = CubeDim::new_1d(units as u32);
            // SAFETY: each cube reads a row of `x` and the weight, and writes a row of `y`.
            #[allow(unsafe_code, reason = "checks would be made for each number")]
            unsafe {
                let (x, weight, y) = (
                    x.into_tensor_arg(),
                    weight.into_tensor_arg(),
                    y.into_tensor_arg(),
                );
                rms_row::launch_unchecked(client, cubes, dim, x, weight, y, width, eps, units);
            }
        })
    }

    fn softmaxed(x: CubeTensor) -> CubeTensor {
        of_rows(x, |client, cubes, units, x, y, width| {
            let dim = CubeDim::new_1d(units as u32);
            // SAFETY: each cube reads a row of `x`, and writes a row of `y`.
            #[allow(unsafe_code, reason = "checks would be made for each number")]
            unsafe {
                let (x, y) = (x.into_tensor_arg(), y.into_tensor_arg());
                softmax_row::launch_unchecked(client, cubes, dim, x, y, width, units);
            }
        })
    }

    fn rotated_heads(x: CubeTensor, cos: CubeTensor, sin: CubeTensor) -> CubeTensor {
        let [x, cos, sin] = [x, cos, sin].map(into_contiguous);
        let [batch, seq, heads, head_dim] = x.meta.shape().dims();
        let y = empty(&x, [batch, heads, seq, head_dim]);
        let pairs = batch * seq * heads * head_dim / 2;
        let client = x.client.clone();
        let cube_dim = CubeDim::new(&client, pairs);
        // SAFETY: each unit reads a pair of `x` and the angle of its row, and writes a pair of `y`.
        #[allow(unsafe_code, reason = "checks would be made for each number")]
        unsafe {
            rotated_pair::launch_unchecked(
                &client,
                calculate_cube_count_elemwise(&client, pairs, cube_dim),
                cube_dim,
                x.into_tensor_arg(),
                cos.into_tensor_arg(),
                sin.into_tensor_arg(),
                y.clone().into_tensor_arg(),
            );
        }
        y
    }
}

/// What a kernel makes of the rows of `x`, `[groups, rows, width]`, with a cube of so many units for each.
fn of_rows(
    x: CubeTensor,
    launch: impl FnOnce(&Client, CubeCount, usize, CubeTensor, CubeTensor, usize),
) -> CubeTensor {
    let x = into_contiguous(x);
    let [groups, rows, width] = x.meta.shape().dims();
    let y = empty(&x, [groups, rows, width]);
    let client = x.client.clone();
    let cubes = CubeCount::Static(rows as u32, groups as u32, 1);
    let most = client.properties().hardware.max_units_per_cube as usize;
    let most = 1 << most.clamp(1, MOST_UNITS).ilog2();
    let units = (width / EACH).next_power_of_two().min(most);
    launch(&client, cubes, units, x, y.clone(), width);
    y
}

fn empty<const D: usize>(like: &CubeTensor, shape: [usize; D]) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, Shape::new(shape), like.dtype)
}

/// How the numbers of units become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    Sum,
    Greatest,
}

/// One number of those that the units of a cube have.
#[cube]
fn of_units(own: f32, #[comptime] of: Of, #[comptime] units: usize) -> f32 {
    let unit = UNIT_POS_X as usize;
    let mut shared = Shared::new_slice(units);
    shared[unit] = own;
    sync_cube();
    let mut half = comptime!(units / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            match of {
                Of::Sum => shared[unit] += other,
                Of::Greatest => shared[unit] = max(shared[unit], other),
            }
        }
        sync_cube();
        half /= 2;
    }
    shared[0]
}

/// The units of a cube take the numbers of a row in turns.
#[cube(launch_unchecked)]
fn rms_row(
    x: &Tensor<f32>,
    weight: &Tensor<f32>,
    y: &mut Tensor<f32>,
    width: usize,
    eps: f32,
    #[comptime] units: usize,
) {
    let start = CUBE_POS * width;
    let mut sum = 0.0f32;
    let mut at = UNIT_POS_X as usize;
    while at < width {
        let number = x[start + at];
        sum += number * number;
        at += units;
    }
    let mean = of_units(sum, Of::Sum, units) / f32::cast_from(width);
    let root = (mean + eps).sqrt();
    at = UNIT_POS_X as usize;
    while at < width {
        y[start + at] = x[start + at] / root * weight[at];
        at += units;
    }
}

/// As [`rms_row`].
#[cube(launch_unchecked)]
fn softmax_row(x: &Tensor<f32>, y: &mut Tensor<f32>, width: usize, #[comptime] units: usize) {
    let start = CUBE_POS * width;
    let mut greatest = x[start];
    let mut at = UNIT_POS_X as usize;
    while at < width {
        greatest = max(greatest, x[start + at]);
        at += units;
    }
    let greatest = of_units(greatest, Of::Greatest, units);
    let mut sum = 0.0f32;
    at = UNIT_POS_X as usize;
    while at < width {
        sum += (x[start + at] - greatest).exp();
        at += units;
    }
    let sum = of_units(sum, Of::Sum, units);
    at = UNIT_POS_X as usize;
    while at < width {
        y[start + at] = (x[start + at] - greatest).exp() / sum;
        at += units;
    }
}

/// A unit turns feature `i` of the first half of a head with feature `i` of the second half.
#[cube(launch_unchecked)]
fn rotated_pair(x: &Tensor<f32>, cos: &Tensor<f32>, sin: &Tensor<f32>, y: &mut Tensor<f32>) {
    let seq = x.shape(1);
    let heads = x.shape(2);
    let half = x.shape(3) / 2;
    let i = ABSOLUTE_POS % half;
    let head = ABSOLUTE_POS / half % heads;
    let row = ABSOLUTE_POS / half / heads;
    if row < x.shape(0) * seq {
        let from = (row * heads + head) * 2 * half + i;
        let to = ((row / seq * heads + head) * seq + row % seq) * 2 * half + i;
        let a = x[from];
        let b = x[from + half];
        let cos = cos[row * half + i];
        let sin = sin[row * half + i];
        y[to] = a * cos - b * sin;
        y[to + half] = b * cos + a * sin;
    }
}
