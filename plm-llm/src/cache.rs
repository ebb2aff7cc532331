use burn::tensor::{Device, Int, Tensor};

/// Keys and values of the tokens that a decoder has read, for one or more sequences.
///
/// The cache grows with what is put in; nothing is reserved. Sequences of a batch that start with
/// padding keep it in the cache: padded entries are masked and take no position.
#[derive(Debug, Clone)]
pub struct KvCache {
    pub(crate) layers: Vec<Option<LayerCache>>,
    padding: Vec<usize>,
    len: usize,
}

/// Keys and values of one layer, each `[batch, kv_heads, len, head_dim]`.
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
        for layer in &mut self.layers {
            *layer = match layer.take() {
                Some(LayerCache { keys, values }) if len > 0 => Some(LayerCache {
                    keys: keys.narrow(2, 0, len),
                    values: values.narrow(2, 0, len),
                }),
                _ => None,
            };
        }
    }

    /// Replaces the sequences by copies of the sequences at `rows`, in this order.
    ///
    /// # Panics
    ///
    /// When a row is outside the batch.
    pub fn select(&mut self, rows: &[usize]) {
        self.padding = rows.iter().map(|&row| self.padding[row]).collect();
        for layer in self.layers.iter_mut().flatten() {
            let indices: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
            let indices = Tensor::<1, Int>::from_data(indices.as_slice(), &layer.keys.device());
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
    pub(crate) fn padding_mask(
        &self,
        len: usize,
        device: &Device,
    ) -> Option<Tensor<4, burn::tensor::Bool>> {
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

impl LayerCache {
    /// Appends keys and values to what a layer holds and returns the whole.
    pub(crate) fn append(slot: &mut Option<Self>, keys: Tensor<4>, values: Tensor<4>) -> Self {
        let whole = match slot.take() {
            Some(held) => Self {
                keys: Tensor::cat(vec![held.keys, keys], 2),
                values: Tensor::cat(vec![held.values, values], 2),
            },
            None => Self { keys, values },
        };
        slot.insert(whole).clone()
    }
}
