//! Functions of single numbers over whole arrays.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use crate::lanes::{Lanes, Level, Task, run};
use crate::threads::{Shared, for_each};

/// Numbers that a thread takes at a time.
const PIECE: usize = 16 << 10;

/// A function of `I` numbers with `O` results.
pub(crate) trait Function<const I: usize, const O: usize> {
    unsafe fn of<L: Lanes>(x: [L::V; I]) -> [L::V; O];
}

/// Applies a function to the numbers that stand at one place in all arrays.
///
/// # Panics
///
/// When the arrays are not of one length.
pub(crate) fn map<F: Function<I, O>, const I: usize, const O: usize>(
    level: Level,
    inputs: [&[f32]; I],
) -> [Vec<f32>; O] {
    let len = inputs[0].len();
    assert!(
        inputs.iter().all(|input| input.len() == len),
        "numbers of a function's arguments"
    );
    let mut results: [Box<[MaybeUninit<f32>]>; O] =
        std::array::from_fn(|_| Box::new_uninit_slice(len));
    let outputs = results.each_mut().map(|result| result.as_mut_ptr().cast());
    // SAFETY: all arrays are of one length, and the results are written.
    unsafe {
        map_to::<F, I, O>(level, len, inputs.map(<[f32]>::as_ptr), outputs);
        results.map(|result| result.assume_init().into_vec())
    }
}

/// As [`map`], to where the results are wanted, which may be where an argument is.
///
/// # Safety
///
/// All must be valid for `len` numbers, and what is written may share memory with nothing but an
/// argument as a whole.
pub(crate) unsafe fn map_to<F: Function<I, O>, const I: usize, const O: usize>(
    level: Level,
    len: usize,
    inputs: [*const f32; I],
    outputs: [*mut f32; O],
) {
    let inputs = inputs.map(|input| Shared(input.cast_mut()));
    let outputs = outputs.map(Shared);
    for_each(len.div_ceil(PIECE), |i| {
        let start = i * PIECE;
        let piece = Piece::<F, I, O> {
            inputs: inputs.map(|input| input.get().add(start).cast_const()),
            outputs: outputs.map(|output| output.get().add(start)),
            len: PIECE.min(len - start),
            function: PhantomData,
        };
        run(level, piece);
    });
}

struct Piece<F, const I: usize, const O: usize> {
    inputs: [*const f32; I],
    outputs: [*mut f32; O],
    len: usize,
    function: PhantomData<F>,
}

impl<F: Function<I, O>, const I: usize, const O: usize> Task for Piece<F, I, O> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let whole = self.len / L::N * L::N;
        for i in (0..whole).step_by(L::N) {
            let y = F::of::<L>(self.inputs.map(|input| L::load(input.add(i))));
            for o in 0..O {
                L::store(self.outputs[o].add(i), y[o]);
            }
        }
        let rest = self.len - whole;
        if rest > 0 {
            let edge = |input: *const f32| {
                let mut edge = [0.0; 16];
                edge.as_mut_ptr()
                    .copy_from_nonoverlapping(input.add(whole), rest);
                L::load(edge.as_ptr())
            };
            let y = F::of::<L>(self.inputs.map(edge));
            for o in 0..O {
                let mut edge = [0.0; 16];
                L::store(edge.as_mut_ptr(), y[o]);
                self.outputs[o]
                    .add(whole)
                    .copy_from_nonoverlapping(edge.as_ptr(), rest);
            }
        }
    }
}
