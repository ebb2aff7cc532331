//! Memory that a kernel fills.

/// Numbers that `fill` writes; they are not set to zero before.
///
/// # Safety
///
/// `fill` must write all of them.
pub(crate) unsafe fn fresh(len: usize, fill: impl FnOnce(*mut f32)) -> Vec<f32> {
    let mut numbers = Box::<[f32]>::new_uninit_slice(len);
    fill(numbers.as_mut_ptr().cast());
    numbers.assume_init().into_vec()
}
