//! The threads that kernels share their work among: rayon's.

use rayon::prelude::*;

/// A pointer into a buffer of which each piece of work writes its own part.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(pub(crate) *mut T);

// SAFETY: whoever shares the pointer sees to it that no two threads write the same place.
unsafe impl<T> Send for Shared<T> {}
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The pointer. A method, so that closures capture the whole value.
    #[inline(always)]
    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}

/// Does `count` pieces of work, on this thread alone where there is but one.
pub(crate) fn for_each(count: usize, work: impl Fn(usize) + Send + Sync) {
    if count <= 1 || rayon::current_num_threads() == 1 {
        (0..count).for_each(work);
    } else {
        (0..count).into_par_iter().with_max_len(1).for_each(work);
    }
}

/// Threads that kernels share their work among.
pub fn num_threads() -> usize {
    rayon::current_num_threads()
}

/// Runs `work` on one of the threads that kernels use, so that each kernel in it starts without
/// waking another thread to begin with.
pub fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}
