use std::sync::OnceLock;

use burn::tensor::{Bool, DType, Device, Int, Tensor, s};

use crate::RopeTable;

/// Keys and values of the tokens that a decoder has read, for one or more sequences.
///
/// The cache grows with what is put in, with some room to spare. Sequences of a batch that start with
/// padding keep it in the cache: padded entries are masked and take no position.
#[derive(Debug, Clone)]
pub struct KvCache {
    pub(crate) layers: Vec<Option<LayerCache>>,
    padding: Vec<usize>,
    len: usize,
}

/// Keys and values of one layer, each `[batch, kv_heads, capacity, head_dim]`, of which the cache's
/// `len` are there. They grow in steps, so that a token is written where it belongs and nothing
/// is copied for it.
#[derive(Debug, Clone)]
pub(crate) struct LayerCache {
    pub(crate) keys: Tensor<4>,
    pub(crate) values: Tensor<4>,
}

impl KvCache {
    pub(crate) fn new(num_layers: usize, padding: Vec<usize>) -> Self {
        Self {
            layers: vec![None; num_layers],
            padding,
            len: 0,
        }
    }

    /// Entries held for each sequence, padding included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been read yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of sequences.
    pub fn batch(&self) -> usize {
        self.padding.len()
    }

    /// Leading entries of each sequence that are padding.
    pub fn padding(&self) -> &[usize] {
        &self.padding
    }

    /// Forgets all but the first `len` entries.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        self.len = len;
    }

    /// A cache of its own with the first `len` entries.
    pub fn copy_of_first(&self, len: usize) -> Self {
        let len = len.min(self.len);
        let copy = |held: &Tensor<4>| {
            let [batch, kv_heads, _, head_dim] = held.dims();
            let room = Tensor::zeros(
                [batch, kv_heads, len, head_dim],
                (&held.device(), DType::F32),
            );
            room.slice_assign(s![.., .., .., ..], held.clone().narrow(2, 0, len))
        };
        Self {
            layers: self
                .layers
                .iter()
                .map(|layer| {
                    layer.as_ref().filter(|_| len > 0).map(|layer| LayerCache {
                        keys: copy(&layer.keys),
                        values: copy(&layer.values),
                    })
                })
                .collect(),
            padding: self.padding.clone(),
            len,
        }
    }

    /// Bytes that keys and values take, with the room to spare.
    pub fn num_bytes(&self) -> usize {
        let layers = self.layers.iter().flatten();
        let tensors = layers.flat_map(|layer| [&layer.keys, &layer.values]);
        tensors
            .map(|tensor| tensor.shape().num_elements() * tensor.dtype().size())
            .sum()
    }

    /// Replaces the sequences by copies of the sequences at `rows`, in this order.
    ///
    /// # Panics
    ///
    /// When a row is outside the batch.
    pub fn select(&mut self, rows: &[usize]) {
        if rows.iter().copied().eq(0..self.padding.len()) {
            return;
        }
        self.padding = rows.iter().map(|&row| self.padding[row]).collect();
        let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        let mut indices = None;
        for layer in self.layers.iter_mut().flatten() {
            let indices = indices
                .get_or_insert_with(|| {
                    Tensor::<1, Int>::from_data(rows.as_slice(), &layer.keys.device())
                })
                .clone();
            layer.keys = layer.keys.clone().select(0, indices.clone());
            layer.values = layer.values.clone().select(0, indices);
        }
    }

    /// Rope positions of the next `count` entries of every sequence, row by row; padding is 0.
    pub(crate) fn next_positions(&self, count: usize) -> Vec<usize> {
        self.padding
            .iter()
            .flat_map(|&pad| (self.len..self.len + count).map(move |i| i.saturating_sub(pad)))
            .collect()
    }

    /// Which of the first `len` entries are padding, `[batch, 1, 1, len]`, if any is.
    pub(crate) fn padding_mask(&self, len: usize, device: &Device) -> Option<Tensor<4, Bool>> {
        if self.padding.iter().all(|&pad| pad == 0) {
            return None;
        }
        let padding: Vec<i64> = self.padding.iter().map(|&pad| pad as i64).collect();
        let padding = Tensor::<1, Int>::from_data(padding.as_slice(), device).reshape([
            self.batch(),
            1,
            1,
            1,
        ]);
        let index = Tensor::<1, Int>::arange(0..len as i64, device).reshape([1, 1, 1, len]);
        Some(index.lower(padding))
    }

    pub(crate) fn advance(&mut self, count: usize) {
        self.len += count;
    }
}

/// What the layers need to know about the tokens that they read.
pub(crate) struct Step<'a> {
    /// Their positions.
    pub(crate) rope: &'a RopeTable,
    /// Entries that the cache holds already.
    pub(crate) len: usize,
    /// Entries that it will hold when all chunks of the tokens are read, so that it grows once for them.
    pub(crate) end: usize,
    /// Leading entries of each sequence that are padding.
    pub(crate) padding: &'a [usize],
    /// The padding as a mask for burn's operations, `[batch, 1, 1, len + seq]`.
    pub(crate) mask: Option<Tensor<4, Bool>>,
    /// What [`unseen`](Self::unseen) made.
    pub(crate) unseen: &'a OnceLock<Option<Tensor<4, Bool>>>,
}

impl Step<'_> {
    /// Which entries each of `seq` new tokens does not see, `[1 or batch, 1, 1 or seq, len + seq]`, for
    /// burn's operations: those after it, and padding. It is made once for all layers.
    pub(crate) fn unseen(&self, seq: usize, device: &Device) -> Option<Tensor<4, Bool>> {
        let make = || {
            let total = self.len + seq;
            let later = (seq > 1).then(|| {
                let queries: Vec<i32> = (self.len..total).map(|i| i as i32).collect();
                let entries: Vec<i32> = (0..total).map(|i| i as i32).collect();
                let queries = Tensor::<1, Int>::from_data(queries.as_slice(), device);
                let entries = Tensor::<1, Int>::from_data(entries.as_slice(), device);
                entries
                    .reshape([1, 1, 1, total])
                    .greater(queries.reshape([1, 1, seq, 1]))
            });
            match (later, &self.mask) {
                (Some(later), Some(mask)) => {
                    let shape = [mask.dims()[0], 1, seq, total];
                    Some(later.expand(shape).bool_or(mask.clone().expand(shape)))
                }
                (later, mask) => later.or_else(|| mask.clone()),
            }
        };
        self.unseen.get_or_init(make).clone()
    }
}

/// The least number of entries that a cache grows by.
const LEAST_GROWTH: usize = 64;

impl LayerCache {
    /// Entries that there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.keys.dims()[2]
    }

    /// What is held, of which the step's `len` entries are there, with room for all that it will hold.
    pub(crate) fn with_room(
        held: Option<Self>,
        [batch, kv_heads, head_dim]: [usize; 3],
        step: &Step<'_>,
        device: &Device,
    ) -> Self {
        let (len, end) = (step.len, step.end);
        let held = match held {
            Some(held) if held.capacity() >= end => return held,
            held => held,
        };
        let capacity = end + (end / 8).max(LEAST_GROWTH);
        let grown = |old: Option<Tensor<4>>| {
            let shape = [batch, kv_heads, capacity, head_dim];
            let new = Tensor::zeros(shape, (device, DType::F32));
            match old {
                Some(old) if len > 0 => {
                    new.slice_assign(s![.., .., 0..len, ..], old.narrow(2, 0, len))
                }
                _ => new,
            }
        };
        let (keys, values) = held.map(|held| (held.keys, held.values)).unzip();
        Self {
            keys: grown(keys),
            values: grown(values),
        }
    }

    /// Appends keys and values to what a layer holds and returns the whole, each
    /// `[batch, kv_heads, len + seq, head_dim]`.
    pub(crate) fn append(
        slot: &mut Option<Self>,
        keys: Tensor<4>,
        values: Tensor<4>,
        step: &Step<'_>,
    ) -> (Tensor<4>, Tensor<4>) {
        let [batch, kv_heads, seq, head_dim] = keys.dims();
        let (start, end) = (step.len, step.len + seq);
        let sizes = [batch, kv_heads, head_dim];
        let held = Self::with_room(slot.take(), sizes, step, &keys.device());
        let whole = slot.insert(Self {
            keys: held.keys.slice_assign(s![.., .., start..end, ..], keys),
            values: held.values.slice_assign(s![.., .., start..end, ..], values),
        });
        (
            whole.keys.clone().narrow(2, 0, end),
            whole.values.clone().narrow(2, 0, end),
        )
    }
}
