//! Attention heads: rotary positions, and keys and values where attention reads them.

use crate::threads::{Shared, for_each};

/// Which features of a head rotary positions turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// Feature `i` of the first half and feature `i` of the second.
    Halves,
    /// Neighbours.
    Adjacent,
}

/// Rotary positions: each pair of features becomes `(a·cos - b·sin, b·cos + a·sin)`.
#[derive(Debug, Clone, Copy)]
pub struct Rotation<'a> {
    /// Cosines, `[positions, head_dim / 2]`, a position for each row of a sequence or of a batch.
    pub cos: &'a [f32],
    /// Sines, as the cosines.
    pub sin: &'a [f32],
    /// What a pair is.
    pub pairs: Pairs,
}

/// Heads side by side in rows of activations.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Sequences.
    pub batch: usize,
    /// Rows of a sequence.
    pub seq: usize,
    /// Numbers between rows.
    pub stride: usize,
    /// Heads.
    pub heads: usize,
    /// Features of a head.
    pub head_dim: usize,
}

impl Heads {
    fn check(&self, numbers: usize) {
        let width = self.heads * self.head_dim;
        let rows = self.batch * self.seq;
        assert!(self.stride >= width, "rows of heads");
        assert!(rows == 0 || numbers >= (rows - 1) * self.stride + width);
    }
}

impl Rotation<'_> {
    fn check(&self, heads: &Heads) {
        assert!(heads.head_dim.is_multiple_of(2), "pairs of features");
        assert_eq!(self.cos.len(), self.sin.len());
        let half = heads.head_dim / 2;
        let positions = [heads.seq * half, heads.batch * heads.seq * half];
        assert!(
            positions.contains(&self.cos.len()),
            "positions of a rotation"
        );
    }

    /// Where a row's cosines and sines begin.
    fn at(&self, heads: &Heads, row: usize) -> usize {
        let half = heads.head_dim / 2;
        let row = if self.cos.len() == heads.seq * half {
            row % heads.seq
        } else {
            row
        };
        row * half
    }
}

/// Turns heads where they are.
///
/// # Panics
///
/// When shapes do not match.
pub fn rotate(x: &mut [f32], heads: &Heads, rotation: &Rotation<'_>) {
    heads.check(x.len());
    rotation.check(heads);
    let x = Shared(x.as_mut_ptr());
    for_each_row(heads, |row| {
        for head in 0..heads.heads {
            // SAFETY: each row is another part of `x`, and inside it.
            let at = unsafe { x.get().add(row * heads.stride + head * heads.head_dim) };
            turn(at, at, heads, rotation, row);
        }
    });
}

/// Copies heads into a cache `[batch, heads, capacity, head_dim]` from position `start` on, turned
/// where there is a rotation.
///
/// # Panics
///
/// When shapes do not match or the cache has not enough room.
pub fn store_heads(
    x: &[f32],
    heads: &Heads,
    rotation: Option<&Rotation<'_>>,
    cache: &mut [f32],
    capacity: usize,
    start: usize,
) {
    heads.check(x.len());
    if let Some(rotation) = rotation {
        rotation.check(heads);
    }
    assert!(start + heads.seq <= capacity, "room in the cache");
    let numbers = heads.batch * heads.heads * capacity * heads.head_dim;
    assert_eq!(cache.len(), numbers, "numbers of the cache");
    let cache = Shared(cache.as_mut_ptr());
    for_each_row(heads, |row| {
        let (sequence, position) = (row / heads.seq, start + row % heads.seq);
        for head in 0..heads.heads {
            let from = &x[row * heads.stride + head * heads.head_dim..][..heads.head_dim];
            let to = ((sequence * heads.heads + head) * capacity + position) * heads.head_dim;
            // SAFETY: it is inside the cache, and no other row's.
            let to = unsafe { cache.get().add(to) };
            match rotation {
                Some(rotation) => turn(from.as_ptr(), to, heads, rotation, row),
                // SAFETY: both are `head_dim` numbers long, in different slices.
                None => unsafe { to.copy_from_nonoverlapping(from.as_ptr(), from.len()) },
            }
        }
    });
}

/// Copies heads `[batch, heads, seq, head_dim]` to where they stand in rows, turned where there is
/// a rotation; what [`store_heads`] does, the other way round.
///
/// # Panics
///
/// When shapes do not match.
pub fn take_heads(x: &[f32], heads: &Heads, rotation: Option<&Rotation<'_>>, rows: &mut [f32]) {
    heads.check(rows.len());
    if let Some(rotation) = rotation {
        rotation.check(heads);
    }
    let numbers = heads.batch * heads.heads * heads.seq * heads.head_dim;
    assert_eq!(x.len(), numbers, "numbers of heads");
    let rows = Shared(rows.as_mut_ptr());
    for_each_row(heads, |row| {
        let (sequence, position) = (row / heads.seq, row % heads.seq);
        for head in 0..heads.heads {
            let from = (sequence * heads.heads + head) * heads.seq + position;
            let from = &x[from * heads.head_dim..][..heads.head_dim];
            // SAFETY: it is inside the rows, and no other row's.
            let to = unsafe { rows.get().add(row * heads.stride + head * heads.head_dim) };
            match rotation {
                Some(rotation) => turn(from.as_ptr(), to, heads, rotation, row),
                // SAFETY: both are `head_dim` numbers long, in different slices.
                None => unsafe { to.copy_from_nonoverlapping(from.as_ptr(), from.len()) },
            }
        }
    });
}

/// Calls `work` for each row, a stretch of rows on each thread.
fn for_each_row(heads: &Heads, work: impl Fn(usize) + Send + Sync) {
    let rows = heads.batch * heads.seq;
    let step = (16_384 / (heads.heads * heads.head_dim)).max(1);
    for_each(rows.div_ceil(step), |i| {
        for row in i * step..rows.min((i + 1) * step) {
            work(row);
        }
    });
}

/// Turns one head from `from` to `to`, which may be the same.
fn turn(from: *const f32, to: *mut f32, heads: &Heads, rotation: &Rotation<'_>, row: usize) {
    let at = rotation.at(heads, row);
    let half = heads.head_dim / 2;
    let (cos, sin) = (&rotation.cos[at..][..half], &rotation.sin[at..][..half]);
    let (step, b) = match rotation.pairs {
        Pairs::Halves => (1, half),
        Pairs::Adjacent => (2, 1),
    };
    for i in 0..half {
        // SAFETY: a head is `2 · half` numbers, which the callers have checked to be there.
        unsafe {
            let (x, y) = (*from.add(i * step), *from.add(i * step + b));
            *to.add(i * step) = x * cos[i] - y * sin[i];
            *to.add(i * step + b) = y * cos[i] + x * sin[i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADS: Heads = Heads {
        batch: 2,
        seq: 3,
        stride: 9,
        heads: 2,
        head_dim: 4,
    };

    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 0.7).sin()).collect()
    }

    #[test]
    fn heads_are_turned_in_place_as_on_the_way_to_the_cache() {
        let x = numbers(6 * 9);
        let (cos, sin) = (numbers(6), numbers(12)[6..].to_vec());
        for pairs in [Pairs::Halves, Pairs::Adjacent] {
            let rotation = Rotation {
                cos: &cos,
                sin: &sin,
                pairs,
            };
            let mut turned = x.clone();
            rotate(&mut turned, &HEADS, &rotation);
            let mut cache = vec![f32::NAN; 2 * 2 * 5 * 4];
            store_heads(&x, &HEADS, Some(&rotation), &mut cache, 5, 1);
            for row in 0..6 {
                for head in 0..2 {
                    for i in 0..2 {
                        let (a, b) = match pairs {
                            Pairs::Halves => (i, i + 2),
                            Pairs::Adjacent => (2 * i, 2 * i + 1),
                        };
                        let at = row * 9 + head * 4;
                        let (c, s) = (cos[row % 3 * 2 + i], sin[row % 3 * 2 + i]);
                        let expected = [
                            (a, x[at + a] * c - x[at + b] * s),
                            (b, x[at + b] * c + x[at + a] * s),
                        ];
                        for (feature, expected) in expected {
                            let slot = ((row / 3 * 2 + head) * 5 + 1 + row % 3) * 4;
                            assert!((turned[at + feature] - expected).abs() < 1e-6);
                            assert!((cache[slot + feature] - expected).abs() < 1e-6);
                        }
                    }
                }
                // What is no head stays.
                assert_eq!(turned[row * 9 + 8], x[row * 9 + 8]);
            }
        }
    }

    #[test]
    fn values_are_copied() {
        let x = numbers(6 * 9);
        let mut cache = vec![0.0; 2 * 2 * 3 * 4];
        store_heads(&x, &HEADS, None, &mut cache, 3, 0);
        assert_eq!(cache[((2 + 1) * 3 + 2) * 4..][..4], x[5 * 9 + 4..][..4]);
    }
}
