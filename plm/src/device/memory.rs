//! How much memory a GPU has, and what of it is left.

#[cfg(feature = "gpu")]
use burn::backend::DispatchDevice;
use burn::tensor::Device;

use super::{DeviceChoice, GpuApi};
use crate::Error;

/// Checks that weights of so many bytes are not more than the memory of a card, as far as it is known:
/// what Vulkan and Metal say is what they advise, and may be exceeded.
///
/// # Errors
///
/// [`Error::Device`] with both numbers.
pub(crate) fn check_memory(
    device: &Device,
    choice: DeviceChoice,
    weight_bytes: u64,
) -> Result<(), Error> {
    match (choice, memory_bytes(device)) {
        (DeviceChoice::Gpu(GpuApi::Cuda | GpuApi::Rocm, _), Some(memory)) => {
            check_fits(choice, weight_bytes, memory)
        }
        _ => Ok(()),
    }
}

fn check_fits(choice: DeviceChoice, weight_bytes: u64, memory: u64) -> Result<(), Error> {
    if weight_bytes <= memory {
        return Ok(());
    }
    let gb = |bytes: u64| bytes as f64 / 1e9;
    Err(choice.error(format!(
        "the weights take {:.1} GB, and its memory is {:.1} GB; in `q4` they take least, and device `flex`, \
         the CPU, may have more",
        gb(weight_bytes),
        gb(memory),
    )))
}

/// Bytes of memory that a GPU says it has. Opens it.
pub(super) fn memory_bytes(device: &Device) -> Option<u64> {
    memory_limits(device).and_then(|[all, _]| all)
}

/// Bytes that a GPU can hold in one piece.
pub(crate) fn largest_piece(device: &Device) -> Option<u64> {
    memory_limits(device).and_then(|[_, piece]| piece)
}

/// Bytes of a GPU's memory, and of the largest piece of it. Opens it.
#[cfg(feature = "gpu")]
fn memory_limits(device: &Device) -> Option<[Option<u64>; 2]> {
    match device.clone().without_autodiff().as_dispatch() {
        DispatchDevice::Cube(device) => {
            let client = device.client();
            let memory = &client.properties().memory;
            Some([memory.max_memory(), Some(memory.max_page_size)])
        }
        #[allow(
            unreachable_patterns,
            reason = "nothing is left where no other backend is built in"
        )]
        _ => None,
    }
}

#[cfg(not(feature = "gpu"))]
fn memory_limits(_: &Device) -> Option<[Option<u64>; 2]> {
    None
}

/// Bytes of a GPU's memory that this process does not use, as far as it is known how much there is.
pub(crate) fn free_memory(device: &Device) -> Option<u64> {
    let all = memory_bytes(device)?;
    let usage = device.memory_pool_usage()?;
    Some(all.saturating_sub(usage.bytes_in_use + usage.bytes_padding))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_are_larger_than_the_memory_are_an_error() {
        let gpu = DeviceChoice::Gpu(GpuApi::Cuda, 0);
        assert!(check_fits(gpu, 6_920_000_000, 8_000_000_000).is_ok());
        let error = check_fits(gpu, 19_590_000_000, 12_000_000_000).unwrap_err();
        let error = error.to_string();
        for part in ["`cuda`", "19.6 GB", "12.0 GB", "`q4`"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
