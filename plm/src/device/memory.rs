//! How much memory a GPU has, and what of it is left.

use burn::tensor::Device;
use plm_linear::DeviceMemory;

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

/// Checks that a device can hold so many bytes of a tensor in one piece, as far as it says what it can.
///
/// # Errors
///
/// [`Error::Device`] with the tensor and both numbers.
pub(crate) fn check_piece(device: &Device, tensor: &str, bytes: u64) -> Result<(), Error> {
    match DeviceMemory::of(device) {
        Some(memory) if bytes > memory.largest_piece => {
            let what = too_large(tensor, bytes, memory.largest_piece);
            Err(Error::device(device, what))
        }
        _ => Ok(()),
    }
}

fn too_large(tensor: &str, bytes: u64, largest_piece: u64) -> String {
    let mb = |bytes: u64| bytes as f64 / 1e6;
    format!(
        "{tensor} takes {:.1} MB, and it holds at most {:.1} MB in one piece; in `q4` a model takes least, and \
         device `flex`, the CPU, holds all",
        mb(bytes),
        mb(largest_piece),
    )
}

/// Bytes of memory that a GPU says it has. Opens it.
pub(super) fn memory_bytes(device: &Device) -> Option<u64> {
    DeviceMemory::of(device).and_then(|memory| memory.bytes)
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

    #[test]
    fn a_tensor_that_is_larger_than_the_largest_piece_is_named() {
        let text = too_large("lm_head.weight", 525_337_600, 134_217_728);
        for part in ["lm_head.weight", "525.3 MB", "134.2 MB", "`q4`"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
