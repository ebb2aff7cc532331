//! Embeddings of several prompts at once, as training needs them.

use burn::tensor::{Device, Tensor, TensorData};
use plm_linear::select_rows;
use plm_processor::{Media, Prompt};

use crate::{Error, Model};

impl Model {
    /// Embeddings of whole prompts, filled up at their end with that of `pad_id`. The tiles of all
    /// pictures go through the vision tower together, as many at a time as memory is meant for.
    ///
    /// # Shapes
    ///
    /// - result: `[prompts.len(), seq, text_width]`
    ///
    /// # Errors
    ///
    /// [`Error::Prompt`] when a prompt is longer than `seq`, or its pictures do not stand where it
    /// says; the stages' errors when tiles or ids are not the model's.
    pub fn embed_batch(
        &self,
        prompts: &[&Prompt],
        seq: usize,
        pad_id: u32,
        device: &Device,
    ) -> Result<Tensor<3>, Error> {
        let encode = |tiles| Ok(self.vision_tower.forward(tiles)?);
        self.embed_batch_with(prompts, seq, pad_id, device, encode)
    }

    /// The same, with features of tiles that `encode` computes as the vision tower does.
    ///
    /// # Shapes
    ///
    /// - `encode`: `[tiles, 3, size, size]` to `[tiles, patches, vision_width]`
    /// - result: `[prompts.len(), seq, text_width]`
    ///
    /// # Errors
    ///
    /// As [`embed_batch`](Self::embed_batch); those of `encode`.
    pub fn embed_batch_with(
        &self,
        prompts: &[&Prompt],
        seq: usize,
        pad_id: u32,
        device: &Device,
        mut encode: impl FnMut(Tensor<4>) -> Result<Tensor<3>, Error>,
    ) -> Result<Tensor<3>, Error> {
        let num_rows = prompts.len() * seq;
        let mut ids = Vec::with_capacity(num_rows);
        // Where each token's embedding stands: first those of all texts, then those of the pictures.
        let mut places: Vec<u32> = (0..num_rows as u32).collect();
        let mut next = num_rows as u32;
        for (row, prompt) in prompts.iter().enumerate() {
            if prompt.len() > seq {
                return Err(Error::Prompt {
                    what: format!("{} tokens, where there is room for {seq}", prompt.len()),
                });
            }
            let start = ids.len();
            ids.extend_from_slice(&prompt.token_ids);
            ids.resize(start + seq, pad_id);
            for media in &prompt.media {
                let positions = media.positions.clone();
                if positions.end > prompt.len() {
                    return Err(Error::Prompt {
                        what: format!(
                            "a picture stands at tokens {positions:?} of {}",
                            prompt.len()
                        ),
                    });
                }
                for position in positions {
                    places[row * seq + position] = next;
                    next += 1;
                }
            }
        }
        let texts = self.language_model.embed(&ids, device)?;
        let media: Vec<&Media> = prompts.iter().flat_map(|prompt| &prompt.media).collect();
        let mut parts = vec![texts];
        for tiles in self.passes(&media, device) {
            let features = self.multi_modal_projector.forward(encode(tiles)?)?;
            parts.push(features.flatten(0, 1));
        }
        let found: usize = parts[1..].iter().map(|part| part.dims()[0]).sum();
        if found != next as usize - num_rows {
            return Err(Error::Prompt {
                what: format!(
                    "pictures have {} placeholders, but {found} features",
                    next as usize - num_rows
                ),
            });
        }
        let all = match parts.len() {
            1 => parts.remove(0),
            _ => select_rows(Tensor::cat(parts, 0), &places),
        };
        let width = all.dims()[1];
        Ok(all.reshape([prompts.len(), seq, width]))
    }

    /// Normalised tiles of several pictures, `[tiles, 3, size, size]`, some at a time.
    fn passes(&self, media: &[&Media], device: &Device) -> Vec<Tensor<4>> {
        let Some(size) = media.first().map(|media| media.tiles.tile_size()) else {
            return Vec::new();
        };
        let all: Vec<(&Media, usize)> = media
            .iter()
            .flat_map(|media| (0..media.tiles.len()).map(|tile| (*media, tile)))
            .collect();
        let pass = |tiles: &[(&Media, usize)]| {
            let values: Vec<f32> = tiles
                .iter()
                .flat_map(|(media, tile)| media.tiles.normalized_tile(*tile, &media.normalization))
                .collect();
            let shape = [tiles.len(), 3, size as usize, size as usize];
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        all.chunks(self.tiles_per_pass(size, device))
            .map(pass)
            .collect()
    }
}
