//! Whole sequences, for training: nothing is kept for more tokens.

use std::sync::OnceLock;

use burn::tensor::{Bool, Device, Tensor, TensorData};

use crate::cache::Step;
use crate::rope::RopeTable;
use crate::{Decoder, DecoderLayer, Error};

/// A batch of whole sequences, as [`Decoder::sequences`] makes it.
#[derive(Debug)]
pub struct Sequences {
    rope: RopeTable,
    no_padding: Vec<usize>,
    mask: Option<Tensor<4, Bool>>,
    unseen: OnceLock<Option<Tensor<4, Bool>>>,
}

impl Sequences {
    /// Runs one of the decoder's layers.
    ///
    /// # Shapes
    ///
    /// - `x` and result: `[batch, seq, hidden_size]`
    pub fn forward(&self, layer: &DecoderLayer, x: Tensor<3>) -> Tensor<3> {
        let step = Step {
            rope: &self.rope,
            len: 0,
            end: x.dims()[1],
            padding: &self.no_padding,
            mask: self.mask.clone(),
            unseen: &self.unseen,
        };
        layer.forward(x, &step, None)
    }
}

impl Decoder {
    /// Hidden states of whole sequences after the final norm, for training: nothing is kept for more
    /// tokens.
    ///
    /// # Shapes
    ///
    /// - `embeddings` and result: `[batch, seq, hidden_size]`
    ///
    /// # Errors
    ///
    /// As [`sequences`](Self::sequences).
    ///
    /// # Panics
    ///
    /// As [`sequences`](Self::sequences).
    pub fn forward(
        &self,
        embeddings: Tensor<3>,
        lengths: Option<&[usize]>,
    ) -> Result<Tensor<3>, Error> {
        let [batch, seq, _] = embeddings.dims();
        if batch == 0 || seq == 0 {
            return Ok(embeddings);
        }
        let sequences = self.sequences([batch, seq], lengths, &embeddings.device())?;
        let layers = self.layers.iter();
        let x = layers.fold(embeddings, |x, layer| sequences.forward(layer, x));
        Ok(self.norm.forward(x))
    }

    /// What the layers need to know of a batch of whole sequences, of which there is at least one.
    /// Sequences are filled up at their end with padding, which no token of theirs sees. With `lengths`,
    /// of which there is one for each sequence, the padding itself sees the sequence's own tokens alone;
    /// that matters where something is learnt from it.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyPositions`] when the sequences are longer than the model's positions.
    ///
    /// # Panics
    ///
    /// When there are lengths, but not one for each sequence.
    pub fn sequences(
        &self,
        [batch, seq]: [usize; 2],
        lengths: Option<&[usize]>,
        device: &Device,
    ) -> Result<Sequences, Error> {
        let lengths = lengths.unwrap_or(&[]);
        assert!(
            lengths.is_empty() || lengths.len() == batch,
            "a length for each sequence"
        );
        let no_padding = vec![0; batch];
        self.check_room(&self.new_padded_cache(no_padding.clone()), seq)?;
        let positions: Vec<usize> = (0..batch).flat_map(|_| 0..seq).collect();
        let mask = lengths.iter().any(|&length| length < seq).then(|| {
            let padding: Vec<bool> = lengths
                .iter()
                .flat_map(|&length| (0..seq).map(move |i| i >= length))
                .collect();
            let padding = TensorData::new(padding, [batch, 1, 1, seq]);
            Tensor::<4, Bool>::from_data(padding, device)
        });
        Ok(Sequences {
            rope: self.rope.table(&positions, batch, self.head_dim, device),
            no_padding,
            mask,
            unseen: OnceLock::new(),
        })
    }
}
