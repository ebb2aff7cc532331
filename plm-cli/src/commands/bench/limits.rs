//! What a device can do at most.

use std::time::Instant;

use plm::burn::tensor::{DType, Device, Distribution, Tensor};
use plm::plm_linear::DeviceMemory;
use plm::{DeviceChoice, devices};
use plm_kernels::{Level, machine};
use serde::{Deserialize, Serialize};

use super::figures::finish;
use crate::error::Error;

/// How often a limit is measured; of the CPU the median is given, of a GPU the best.
const REPEAT: usize = 5;

/// Seconds of work from which on a measurement on a GPU is not dominated by its start and end.
const ENOUGH_S: f64 = 0.02;

/// How often an operation is given to a GPU at most before it is waited for.
const MOST_AT_ONCE: usize = 64;

/// The limits of a device.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// As `--device` names it.
    pub(crate) device: String,
    /// The CPU's instructions, or the GPU's name.
    pub(crate) name: String,
    /// Threads that compute, on the CPU.
    pub(crate) threads: Option<usize>,
    /// Bytes a second that are read from memory.
    pub(crate) read_bytes_per_s: f64,
    /// f32 operations a second on vectors in registers, on the CPU: the most that there can be on
    /// vectors.
    pub(crate) arithmetic_flops: Option<f64>,
    /// Operations a second in a large product: on the CPU of f32 with weights in bf16, on a GPU of bf16
    /// if it computes in bf16, otherwise of f32.
    pub(crate) matrix_flops: f64,
}

impl Limits {
    /// Measures a device that is not [`DeviceChoice::Auto`].
    pub(crate) fn measure(choice: DeviceChoice) -> Result<Self, Error> {
        if choice == DeviceChoice::Flex {
            return Ok(Self {
                device: choice.to_string(),
                name: Level::best().name().to_owned(),
                threads: Some(plm_kernels::num_threads()),
                read_bytes_per_s: machine::read_bandwidth(REPEAT),
                arithmetic_flops: Some(machine::arithmetic_rate(REPEAT)),
                matrix_flops: machine::matrix_rate(REPEAT),
            });
        }
        let device = choice.resolve()?;
        let found = devices().into_iter().find(|info| info.choice == choice);
        Ok(Self {
            device: choice.to_string(),
            name: found.map_or_else(|| choice.to_string(), |info| info.name),
            threads: None,
            read_bytes_per_s: read_rate(&device)?,
            arithmetic_flops: None,
            matrix_flops: matrix_rate(&device)?,
        })
    }
}

/// Bytes a second in the sum of a large tensor.
fn read_rate(device: &Device) -> Result<f64, Error> {
    const WIDTH: usize = 4096;
    let sizes = [1 << 12, 1 << 14].into_iter();
    best_of_sizes(sizes.filter(|rows| fits(device, rows * WIDTH)), |rows| {
        let x = Tensor::<2>::ones([rows, WIDTH], (device, DType::F32));
        let seconds = seconds(|| x.clone().sum_dim(1))?;
        Ok(((rows * WIDTH * size_of::<f32>()) as f64, seconds))
    })
}

/// Operations a second in a product of square matrices.
fn matrix_rate(device: &Device) -> Result<f64, Error> {
    let dtype = match device.supports_dtype(DType::BF16) {
        true => DType::BF16,
        false => DType::F32,
    };
    let sizes = [512, 1024, 2048, 4096, 8192].into_iter();
    best_of_sizes(sizes.filter(|size| fits(device, size * size)), |size| {
        let random = || {
            let options = (device, DType::F32);
            Tensor::<2>::random([size, size], Distribution::Default, options).cast(dtype)
        };
        let (a, b) = (random(), random());
        let seconds = seconds(|| a.clone().matmul(b.clone()))?;
        Ok((2.0 * (size as f64).powi(3), seconds))
    })
}

/// Whether a device can hold so many f32 in one piece, as far as it says what it can.
fn fits(device: &Device, numbers: usize) -> bool {
    let bytes = (numbers * size_of::<f32>()) as u64;
    DeviceMemory::of(device).is_none_or(|memory| bytes <= memory.largest_piece)
}

/// The best rate of work of growing sizes, until it takes long enough.
fn best_of_sizes(
    sizes: impl Iterator<Item = usize>,
    mut measure: impl FnMut(usize) -> Result<(f64, f64), Error>,
) -> Result<f64, Error> {
    let mut best = 0.0;
    for size in sizes {
        let (work, seconds) = measure(size)?;
        best = f64::max(best, work / seconds);
        if seconds > ENOUGH_S {
            break;
        }
    }
    Ok(best)
}

/// The least seconds that an operation took, after once for the device to choose its kernel. What takes
/// little is done several times at once, so that the device need not wait for the next.
fn seconds(operation: impl Fn() -> Tensor<2>) -> Result<f64, Error> {
    let timed = |count: usize| {
        let start = Instant::now();
        let last = (0..count).map(|_| operation()).last();
        last.map(finish).transpose()?;
        Ok::<_, Error>(start.elapsed().as_secs_f64() / count as f64)
    };
    timed(1)?;
    let count = (ENOUGH_S / timed(1)?).ceil();
    let count = (count as usize).clamp(1, MOST_AT_ONCE);
    let mut least = f64::INFINITY;
    for _ in 0..REPEAT {
        least = least.min(timed(count)?);
    }
    Ok(least)
}
