use std::ops::Range;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use plm_linear::Linear;
use plm_linear::host::is_cpu;
use plm_llm::Decoder;
use plm_processor::{Media, Prompt};
use plm_projector::Projector;
use plm_vision::PerceptionEncoder;

use crate::checkpoint::{ParameterVisitor, linears, parameters, visit_parameters};
use crate::device::free_memory;
use crate::{Config, Error};

/// Pixels of a large tile.
const TILE_PIXELS: usize = 448 * 448;

/// Up to `most` tiles, one at least, for which there is room: bytes, where they are known, and those that a
/// tile takes of them.
fn tiles_that_fit(most: usize, room: Option<u64>, tile: u64) -> usize {
    let fits = room.and_then(|bytes| usize::try_from(bytes / tile.max(1)).ok());
    fits.map_or(most, |fits| fits.min(most)).max(1)
}

/// The network of a PerceptionLM: vision tower, projector and text decoder.
///
/// The fields are named as in the checkpoint.
#[derive(Module, Debug)]
pub struct Model {
    /// Tiles to patch features.
    pub vision_tower: PerceptionEncoder,
    /// Patch features to token embeddings.
    pub multi_modal_projector: Projector,
    /// Embeddings to hidden states and logits.
    pub language_model: Decoder,
}

/// What one picture becomes on its way to the decoder.
#[derive(Debug, Clone)]
pub struct MediaFeatures {
    /// Features of the vision tower, `[tiles, patches, vision_width]`.
    pub vision: Tensor<3>,
    /// Token embeddings, `[tiles, tokens_per_tile, text_width]`.
    pub projected: Tensor<3>,
}

impl Config {
    /// Builds the network with lazily drawn random weights.
    ///
    /// # Errors
    ///
    /// The stages' errors when their sizes contradict each other.
    pub fn init(&self, device: &Device) -> Result<Model, Error> {
        Ok(Model {
            vision_tower: self.vision.init(device)?,
            multi_modal_projector: self.projector.init(device),
            language_model: self.text.init(device)?,
        })
    }
}

impl Model {
    /// Names and shapes of the tensors that a checkpoint of this model holds.
    pub fn checkpoint_tensors(&self) -> Vec<(String, Vec<usize>)> {
        parameters(self)
    }

    /// Shows all float parameters, in the order of the model's structure.
    pub fn visit_parameters(&self, visitor: &mut impl ParameterVisitor) {
        visit_parameters(self, visitor);
    }

    /// The linear layers, with the names of their weights in a checkpoint; to add adapters to them.
    pub fn linears(&mut self) -> Vec<(String, &mut Linear)> {
        linears(self)
    }

    /// Tiles that go through the vision tower at once; it bounds the memory of activations.
    ///
    /// On the CPU a large tile goes alone, which was faster on two cores: memory for the activations of
    /// several comes anew from the system for each operation. On a GPU they take half of the memory that
    /// this process does not use at most; the rest is for keys, values and the decoder's activations.
    pub(crate) fn tiles_per_pass(&self, tile_size: u32, device: &Device) -> usize {
        let pixels = match is_cpu(device) {
            true => TILE_PIXELS,
            false => 4 * TILE_PIXELS,
        };
        let most = (pixels / (tile_size as usize).pow(2).max(1)).max(1);
        let room = free_memory(device).map(|free| free / 2);
        tiles_that_fit(most, room, self.vision_tower.activation_bytes())
    }

    /// Token embeddings of one picture, `[tiles · tokens_per_tile, text_width]`.
    ///
    /// # Errors
    ///
    /// The vision tower's error when the tiles are not of its size.
    pub fn embed_media(&self, media: &Media, device: &Device) -> Result<Tensor<2>, Error> {
        self.embed_media_observed(media, device, |_| {})
    }

    /// As [`embed_media`](Self::embed_media); `observe` is told how many tiles are done.
    pub(crate) fn embed_media_observed(
        &self,
        media: &Media,
        device: &Device,
        observe: impl Fn(usize),
    ) -> Result<Tensor<2>, Error> {
        let mut done = 0;
        let mut tokens = Vec::new();
        for tiles in self.tile_passes(media, device) {
            done += tiles.dims()[0];
            tokens.push(self.features(tiles)?.projected.flatten(0, 1));
            observe(done);
        }
        Ok(Tensor::cat(tokens, 0))
    }

    /// Both stages of one picture, for comparison with another implementation.
    ///
    /// # Errors
    ///
    /// The vision tower's error when the tiles are not of its size.
    pub fn media_features(&self, media: &Media, device: &Device) -> Result<MediaFeatures, Error> {
        let passes = self.tile_passes(media, device);
        let parts: Vec<MediaFeatures> = passes
            .map(|tiles| self.features(tiles))
            .collect::<Result<_, Error>>()?;
        let (vision, projected) = parts.into_iter().map(|p| (p.vision, p.projected)).unzip();
        Ok(MediaFeatures {
            vision: Tensor::cat(vision, 0),
            projected: Tensor::cat(projected, 0),
        })
    }

    /// A picture's normalised tiles, a few at a time, `[tiles, 3, size, size]`.
    fn tile_passes(&self, media: &Media, device: &Device) -> impl Iterator<Item = Tensor<4>> {
        let num_tiles = media.tiles.len();
        let pass = self.tiles_per_pass(media.tiles.tile_size(), device);
        (0..num_tiles)
            .step_by(pass)
            .map(move |start| pixel_values(media, start..(start + pass).min(num_tiles), device))
    }

    pub(crate) fn features(&self, tiles: Tensor<4>) -> Result<MediaFeatures, Error> {
        let vision = self.vision_tower.forward(tiles)?;
        let projected = self.multi_modal_projector.forward(vision.clone())?;
        Ok(MediaFeatures { vision, projected })
    }

    /// Embeddings of a prompt from token `start` on, `[tokens - start, text_width]`: the text's
    /// from the vocabulary, the pictures' from `media_features`, in the prompt's order.
    ///
    /// # Errors
    ///
    /// [`Error::Prompt`] when there are not as many features as image tokens; the decoder's error
    /// when an id is outside the vocabulary.
    pub fn embed(
        &self,
        prompt: &Prompt,
        media_features: &[Tensor<2>],
        start: usize,
        device: &Device,
    ) -> Result<Tensor<2>, Error> {
        let ids = &prompt.token_ids;
        let mut parts = Vec::new();
        let mut next = start;
        let mut end_of_last = 0;
        let push_text = |parts: &mut Vec<Tensor<2>>, from: usize, to: usize| {
            if from < to {
                parts.push(self.language_model.embed(&ids[from..to], device)?);
            }
            Ok::<_, Error>(())
        };
        if media_features.len() != prompt.media.len() {
            return Err(Error::Prompt {
                what: format!(
                    "{} pictures, but features of {}",
                    prompt.media.len(),
                    media_features.len()
                ),
            });
        }
        for (media, features) in prompt.media.iter().zip(media_features) {
            let positions = media.positions.clone();
            if positions.start < end_of_last || positions.end > ids.len() {
                return Err(Error::Prompt {
                    what: format!("a picture stands at tokens {positions:?} of {}", ids.len()),
                });
            }
            end_of_last = positions.end;
            if positions.end <= next {
                continue;
            }
            if features.dims()[0] != positions.len() {
                return Err(Error::Prompt {
                    what: format!(
                        "a picture has {} placeholders, but {} features",
                        positions.len(),
                        features.dims()[0]
                    ),
                });
            }
            push_text(&mut parts, next, positions.start)?;
            let from = next.max(positions.start);
            parts.push(
                features
                    .clone()
                    .narrow(0, from - positions.start, positions.end - from),
            );
            next = positions.end;
        }
        push_text(&mut parts, next, ids.len())?;
        Ok(match parts.len() {
            0 => self.language_model.embed(&[], device)?,
            1 => parts.remove(0),
            _ => Tensor::cat(parts, 0),
        })
    }
}

/// Normalised pixels of some tiles, `[tiles, 3, size, size]` in -1..1.
pub(crate) fn pixel_values(media: &Media, tiles: Range<usize>, device: &Device) -> Tensor<4> {
    let size = media.tiles.tile_size() as usize;
    let shape = [tiles.len(), 3, size, size];
    let values: Vec<f32> = tiles
        .flat_map(|tile| media.tiles.normalized_tile(tile, &media.normalization))
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_take_no_more_than_there_is() {
        assert_eq!(tiles_that_fit(4, None, 168), 4);
        assert_eq!(tiles_that_fit(4, Some(10_000), 168), 4);
        assert_eq!(tiles_that_fit(4, Some(400), 168), 2);
        // One is tried where even that seems too much.
        assert_eq!(tiles_that_fit(4, Some(100), 168), 1);
    }
}
