use crate::activation::exp_lanes;
use crate::lanes::{Lanes, Level, Task, run};
use crate::threads::{Shared, for_each};

/// The cross-entropy of each row of scores, `log Σ e^row - row[target]`; the rows are replaced by its
/// gradient times `factor`: the shares, less 1 at the target.
///
/// # Panics
///
/// When the rows are not of one length, or a target is not in its row.
pub fn softmax_losses(logits: &mut [f32], targets: &[u32], factor: f32) -> Vec<f32> {
    let rows = targets.len();
    assert!(
        rows > 0 && logits.len().is_multiple_of(rows),
        "rows of scores"
    );
    let width = logits.len() / rows;
    let mut losses = vec![0.0; rows];
    let (scores, out) = (Shared(logits.as_mut_ptr()), Shared(losses.as_mut_ptr()));
    for_each(rows, |i| {
        let target = targets[i] as usize;
        assert!(target < width, "a target is in its row");
        // SAFETY: each row is another part of the scores, and each loss another number.
        unsafe {
            let row = std::slice::from_raw_parts_mut(scores.get().add(i * width), width);
            let score = row[target];
            let log_sum = run(Level::best(), Row(row, factor));
            row[target] -= factor;
            *out.get().add(i) = log_sum - score;
        }
    });
    losses
}

/// Replaces a row by its shares times a factor; gives `log Σ e^row`.
struct Row<'a>(&'a mut [f32], f32);

impl Task for Row<'_> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> f32 {
        let Self(row, factor) = self;
        let whole = row.len() / L::N * L::N;
        let (vectors, rest) = row.split_at_mut(whole);
        let mut most = L::splat(f32::NEG_INFINITY);
        for x in vectors.chunks_exact(L::N) {
            most = L::max(most, L::load(x.as_ptr()));
        }
        let most = rest.iter().fold(L::largest(most), |most, x| most.max(*x));
        let shift = L::splat(most);
        let mut sum = L::splat(0.0);
        for x in vectors.chunks_exact_mut(L::N) {
            let e = exp_lanes::<L>(L::sub(L::load(x.as_ptr()), shift));
            L::store(x.as_mut_ptr(), e);
            sum = L::add(sum, e);
        }
        let mut sum = L::sum(sum);
        for x in rest {
            *x = (*x - most).exp();
            sum += *x;
        }
        let share = factor / sum;
        row.iter_mut().for_each(|x| *x *= share);
        most + sum.ln()
    }
}
