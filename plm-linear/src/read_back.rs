use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{Element, Tensor, TensorData, kind::Basic};

/// Why the numbers of a tensor cannot be read: its device failed, as for want of memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct ReadBackError {
    what: String,
}

impl ReadBackError {
    fn new(error: impl ToString) -> Self {
        let what = cause(&error.to_string()).to_owned();
        Self { what }
    }
}

/// Waits for a tensor and copies its numbers to this process's memory.
///
/// What a GPU fails at shows here and not before. burn reads when the numbers are first looked at, and
/// panics then; this looks at them, and takes the panic of a device's thread for the error that it is.
///
/// # Errors
///
/// [`ReadBackError`] when the device failed.
pub fn read_back<const D: usize, K: Basic>(
    tensor: Tensor<D, K>,
) -> Result<TensorData, ReadBackError> {
    let read = || {
        let data = tensor.try_into_data().map_err(ReadBackError::new)?;
        match data.bytes().read(Default::default()) {
            Ok(_) => Ok(data),
            Err(error) => Err(ReadBackError::new(error)),
        }
    };
    // The tensor is gone afterwards, and what is left of a device that failed says so itself.
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|panic| Err(ReadBackError::new(said(&*panic))))
}

/// As [`read_back`], in the type that is wanted.
///
/// # Errors
///
/// As [`read_back`].
pub fn read_back_as<E: Element, const D: usize, K: Basic>(
    tensor: Tensor<D, K>,
) -> Result<Vec<E>, ReadBackError> {
    let data = read_back(tensor)?;
    data.try_into_vec_as().map_err(ReadBackError::new)
}

/// The last of the causes that burn's backends write one below the other, without where it was and the source
/// of a kernel.
fn cause(text: &str) -> &str {
    let ends = ["[Source]", "No backtrace", "Backtrace"].map(|end| text.find(end));
    let told = &text[..ends.into_iter().flatten().min().unwrap_or(text.len())];
    let cause = told.rsplit("Caused by:").next().unwrap_or(told).trim();
    match cause {
        "" => text,
        _ => cause,
    }
}

/// What a thread said when it panicked.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a thread of the device panicked")
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Int};

    use super::*;

    #[test]
    fn numbers_come_as_they_are_wanted() {
        let device = Device::flex();
        let x = Tensor::<2>::from_data([[1.5f32, -2.0]], &device);
        assert_eq!(read_back_as::<f32, _, _>(x.clone()), Ok(vec![1.5, -2.0]));
        assert_eq!(read_back(x).unwrap().shape().as_slice(), [1, 2]);
        let ids = Tensor::<1, Int>::from_data([3, 4], &device);
        assert_eq!(read_back_as::<u32, _, _>(ids), Ok(vec![3, 4]));
    }

    #[test]
    fn the_last_cause_is_told() {
        let text = "An error happened during execution\nCaused by:\n  An IO error happened\nCaused by:\n  \
            can't allocate buffer of size: 268435456\nNo backtrace available\nAsked at:\nNo backtrace available";
        let told = "can't allocate buffer of size: 268435456";
        assert_eq!(ReadBackError::new(text).to_string(), told);
        assert_eq!(ReadBackError::new(told).to_string(), told);
        assert_eq!(ReadBackError::new("Backtrace:").to_string(), "Backtrace:");
        let text = "Caused by:\n  [Compilation Error]\n  no type `half`\n[Source]\nvoid f() {\n}\nBacktrace:\n";
        let told = "[Compilation Error]\n  no type `half`";
        assert_eq!(ReadBackError::new(text).to_string(), told);
    }

    #[test]
    fn what_a_thread_said_is_kept() {
        for panic in [
            catch_unwind(|| panic!("no memory")).unwrap_err(),
            catch_unwind(|| panic!("no {}", "memory")).unwrap_err(),
        ] {
            assert_eq!(said(&*panic), "no memory");
        }
    }
}
