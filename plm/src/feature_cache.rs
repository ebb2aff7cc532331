use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::Tensor;
use plm_processor::Media;
use sha2::{Digest, Sha256};

/// What a picture is known by: a digest of its tiles and of how they are normalised.
///
/// All settings that matter (tile size, grid, resampling) show in the tiles themselves.
pub(crate) type MediaKey = [u8; 32];

/// The key of one picture or video of a prompt.
pub(crate) fn media_key(media: &Media) -> MediaKey {
    let mut digest = Sha256::new();
    digest.update(media.tiles.as_u8());
    digest.update(media.tiles.tile_size().to_le_bytes());
    digest.update(format!("{:?}", media.normalization));
    digest.finalize().into()
}

/// Token embeddings of the pictures and videos that were seen last, within a number of bytes.
#[derive(Debug)]
pub(crate) struct FeatureCache {
    max_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<MediaKey, Entry>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    features: Tensor<2>,
    bytes: usize,
    last_used: u64,
}

impl FeatureCache {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            state: Mutex::default(),
        }
    }

    /// Whether nothing is ever kept.
    pub(crate) fn is_off(&self) -> bool {
        self.max_bytes == 0
    }

    pub(crate) fn get(&self, key: &MediaKey) -> Option<Tensor<2>> {
        let mut state = self.lock();
        state.clock += 1;
        let clock = state.clock;
        let entry = state.entries.get_mut(key)?;
        entry.last_used = clock;
        Some(entry.features.clone())
    }

    /// Keeps the features of a picture; those that were not asked for the longest go.
    pub(crate) fn put(&self, key: MediaKey, features: &Tensor<2>) {
        let bytes = features.shape().num_elements() * features.dtype().size();
        if bytes > self.max_bytes {
            return;
        }
        let mut state = self.lock();
        state.clock += 1;
        let entry = Entry {
            features: features.clone(),
            bytes,
            last_used: state.clock,
        };
        state.bytes += bytes;
        if let Some(old) = state.entries.insert(key, entry) {
            state.bytes -= old.bytes;
        }
        while state.bytes > self.max_bytes {
            let oldest = state
                .entries
                .iter()
                .min_by_key(|(_, entry)| entry.last_used);
            let Some(oldest) = oldest.map(|(key, _)| *key) else {
                break;
            };
            if let Some(gone) = state.entries.remove(&oldest) {
                state.bytes -= gone.bytes;
            }
        }
    }

    /// A panic between two steps leaves at worst a wrong count of bytes.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[cfg(feature = "flex")]
    #[test]
    fn the_longest_unused_features_go() {
        let features = Tensor::zeros([4, 4], &Device::flex()); // 64 bytes
        let cache = FeatureCache::new(150);
        let key = |i: u8| [i; 32];
        cache.put(key(1), &features);
        cache.put(key(2), &features);
        assert!(cache.get(&key(1)).is_some());
        cache.put(key(3), &features);
        assert!(cache.get(&key(1)).is_some());
        assert!(cache.get(&key(2)).is_none());
        assert!(cache.get(&key(3)).is_some());
        // What is put again is counted once.
        cache.put(key(3), &features);
        assert!(cache.get(&key(1)).is_some());
        cache.put(key(4), &Tensor::zeros([40, 4], &Device::flex()));
        assert!(cache.get(&key(4)).is_none());
    }
}
