//! What is done with activations between the products, each by one kernel where burn launches five to eight: for
//! the few numbers of a token's step, a launch costs more than its work.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};
use burn::cubecl;
use burn::cubecl::calculate_cube_count_elemwise;
use burn::cubecl::prelude::*;
use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

/// Units of a cube that goes through a row.
const UNITS: usize = 256;

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
        let (x, weight) = (into_contiguous(x), into_contiguous(weight));
        let [groups, rows, width] = x.meta.shape().dims();
        let y = empty(&x, [groups, rows, width]);
        if groups * rows * width == 0 {
            return y;
        }
        let client = x.client.clone();
        // SAFETY: each cube reads a row of `x` and the weight, and writes a row of `y`.
        #[allow(unsafe_code, reason = "checks would be made for each number")]
        unsafe {
            rms_row::launch_unchecked(
                &client,
                CubeCount::Static(rows as u32, groups as u32, 1),
                CubeDim::new_1d(UNITS as u32),
                x.into_tensor_arg(),
                weight.into_tensor_arg(),
                y.clone().into_tensor_arg(),
                width,
                eps,
                UNITS,
            );
        }
        y
    }

    fn softmaxed(x: CubeTensor) -> CubeTensor {
        let x = into_contiguous(x);
        let [groups, rows, width] = x.meta.shape().dims();
        let y = empty(&x, [groups, rows, width]);
        if groups * rows * width == 0 {
            return y;
        }
        let client = x.client.clone();
        // SAFETY: each cube reads a row of `x`, and writes a row of `y`.
        #[allow(unsafe_code, reason = "checks would be made for each number")]
        unsafe {
            softmax_row::launch_unchecked(
                &client,
                CubeCount::Static(rows as u32, groups as u32, 1),
                CubeDim::new_1d(UNITS as u32),
                x.into_tensor_arg(),
                y.clone().into_tensor_arg(),
                width,
                UNITS,
            );
        }
        y
    }

    fn rotated_heads(x: CubeTensor, cos: CubeTensor, sin: CubeTensor) -> CubeTensor {
        let [x, cos, sin] = [x, cos, sin].map(into_contiguous);
        let [batch, seq, heads, head_dim] = x.meta.shape().dims();
        let y = empty(&x, [batch, heads, seq, head_dim]);
        let pairs = batch * seq * heads * head_dim / 2;
        if pairs == 0 {
            return y;
        }
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

fn empty<const D: usize>(like: &CubeTensor, shape: [usize; D]) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, Shape::new(shape), like.dtype)
}

/// Where the row of a cube begins.
#[cube]
fn row_start(width: usize) -> usize {
    let row = CUBE_POS_Y as usize * CUBE_COUNT_X as usize + CUBE_POS_X as usize;
    row * width
}

/// The sum of what the units of a cube have.
#[cube]
fn sum_of_units(own: f32, #[comptime] units: usize) -> f32 {
    let unit = UNIT_POS_X as usize;
    let mut shared = Shared::new_slice(units);
    shared[unit] = own;
    sync_cube();
    let mut half = comptime!(units / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            shared[unit] += other;
        }
        sync_cube();
        half /= 2;
    }
    shared[0]
}

/// The greatest of what the units of a cube have.
#[cube]
fn greatest_of_units(own: f32, #[comptime] units: usize) -> f32 {
    let unit = UNIT_POS_X as usize;
    let mut shared = Shared::new_slice(units);
    shared[unit] = own;
    sync_cube();
    let mut half = comptime!(units / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            shared[unit] = max(shared[unit], other);
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
    let start = row_start(width);
    let mut sum = 0.0f32;
    let mut at = UNIT_POS_X as usize;
    while at < width {
        let number = x[start + at];
        sum += number * number;
        at += units;
    }
    let mean = sum_of_units(sum, units) / f32::cast_from(width);
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
    let start = row_start(width);
    let mut greatest = x[start];
    let mut at = UNIT_POS_X as usize;
    while at < width {
        greatest = max(greatest, x[start + at]);
        at += units;
    }
    let greatest = greatest_of_units(greatest, units);
    let mut sum = 0.0f32;
    at = UNIT_POS_X as usize;
    while at < width {
        let power = (x[start + at] - greatest).exp();
        y[start + at] = power;
        sum += power;
        at += units;
    }
    let sum = sum_of_units(sum, units);
    at = UNIT_POS_X as usize;
    while at < width {
        y[start + at] /= sum;
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
