//! Working memory that a thread keeps, so that kernels do not allocate.

use std::cell::{Cell, RefCell};

/// A cache line of f32; vectors that straddle two lines load at half the speed.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Numbers that begin at a cache line. What is in them at the beginning is not said.
#[derive(Default)]
pub(crate) struct Aligned(Vec<Line>);

impl Aligned {
    /// Room for `len` numbers.
    pub(crate) fn room(&mut self, len: usize) -> &mut [f32] {
        let lines = len.div_ceil(16);
        if self.0.len() < lines {
            self.0 = vec![Line([0.0; 16]); lines];
        }
        // SAFETY: a line is sixteen f32 without padding.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), len) }
    }
}

thread_local! {
    static SCRATCH: RefCell<Aligned> = RefCell::default();
}

/// Lends `len` numbers of this thread's working memory.
pub(crate) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    // A kernel does not wait for other work while it holds its scratch, so that none begins on
    // this thread meanwhile.
    SCRATCH.with_borrow_mut(|scratch| f(scratch.room(len)))
}

/// Lends memory of this thread to work that waits for other threads.
pub(crate) fn with_shared_scratch<R>(f: impl FnOnce(&mut Aligned) -> R) -> R {
    thread_local! {
        static SHARED: Cell<Aligned> = Cell::default();
    }
    // Taken rather than borrowed: while this thread waits, it may begin other such work.
    let mut shared = SHARED.take();
    let result = f(&mut shared);
    SHARED.set(shared);
    result
}
