//! What a device cannot do is an error where something is read back.

use plm::burn::tensor::Tensor;
use plm_linear::{DeviceMemory, read_back};

use crate::reference_data::*;

#[test]
fn what_does_not_fit_is_an_error_of_reading_and_what_comes_after_is_computed() {
    let device = device().resolve().unwrap();
    // The CPU says nothing of its memory.
    let Some(memory) = DeviceMemory::of(&device) else {
        return;
    };
    let numbers = usize::try_from(memory.largest_piece / 4).unwrap() + 1;
    let ones = Tensor::<1>::ones([numbers], &device);
    let error = read_back((ones * 2.0).narrow(0, 0, 1))
        .unwrap_err()
        .to_string();
    assert!(error.contains("allocate"), "{error}");
    let two = Tensor::<1>::ones([1], &device) * 2.0;
    let two: Vec<f32> = read_back(two).unwrap().try_into_vec().unwrap();
    assert_eq!(two, [2.0]);
}
