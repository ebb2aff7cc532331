use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use plm_llm::KvCache;
use plm_processor::Prompt;

use crate::feature_cache::{MediaKey, media_key};

/// Fewer common tokens than these are read anew.
const LEAST_TOKENS: usize = 16;

/// What a sequence of tokens stands for: image tokens are all alike, so their pictures count too.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    /// The tokens.
    ids: Vec<u32>,
    /// Where pictures stand, in order.
    media: Vec<(Range<usize>, MediaKey)>,
}

impl Sequence {
    pub(crate) fn of(prompt: &Prompt) -> Self {
        let media = prompt.media.iter();
        Self {
            ids: prompt.token_ids.clone(),
            media: media
                .map(|media| (media.positions.clone(), media_key(media)))
                .collect(),
        }
    }

    /// The same with the tokens of an answer after the prompt's.
    pub(crate) fn extended(self, ids: &[u32]) -> Self {
        Self {
            ids: ids.to_vec(),
            ..self
        }
    }

    /// The keys of the pictures, in order.
    pub(crate) fn media_keys(&self) -> impl Iterator<Item = &MediaKey> {
        self.media.iter().map(|(_, key)| key)
    }

    /// Tokens at the beginning that stand for the same in both.
    fn common(&self, other: &Self) -> usize {
        let same = self.ids.iter().zip(&other.ids);
        let same = same.take_while(|(a, b)| a == b).count();
        let mut media = self.media.iter().zip(&other.media);
        let differs = media.find(|(a, b)| a != b);
        let more = self.media.len().min(other.media.len());
        let unmatched = [&self.media, &other.media].map(|media| media.get(more));
        let ends = differs
            .into_iter()
            .flat_map(|(a, b)| [a, b])
            .chain(unmatched.into_iter().flatten())
            .map(|(positions, _)| positions.start);
        ends.fold(same, usize::min)
    }
}

/// Caches of finished answers, for prompts that begin alike, within a number of bytes.
#[derive(Debug)]
pub(crate) struct PrefixCache {
    max_bytes: usize,
    /// The last used at the end.
    entries: Mutex<Vec<(Sequence, KvCache)>>,
}

impl PrefixCache {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            entries: Mutex::default(),
        }
    }

    /// Whether nothing is ever kept.
    pub(crate) fn is_off(&self) -> bool {
        self.max_bytes == 0
    }

    /// A cache that holds the beginning of a prompt, all but its last token at most.
    ///
    /// An entry of which most is used is given away and comes back with the answer; of another,
    /// the beginning is copied.
    pub(crate) fn take(&self, prompt: &Sequence) -> Option<KvCache> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let most = prompt.ids.len().saturating_sub(1);
        let (index, common) = entries
            .iter()
            .enumerate()
            .map(|(index, (held, _))| (index, held.common(prompt).min(most)))
            .max_by_key(|&(_, common)| common)?;
        if common < LEAST_TOKENS {
            return None;
        }
        if 2 * common < entries[index].1.len() {
            return Some(entries[index].1.copy_of_first(common));
        }
        let (_, mut cache) = entries.remove(index);
        cache.truncate(common);
        Some(cache)
    }

    /// Keeps the cache of a sequence, of which it holds the first tokens.
    pub(crate) fn put(&self, mut sequence: Sequence, cache: KvCache) {
        if cache.is_empty() || cache.num_bytes() > self.max_bytes {
            return;
        }
        sequence.ids.truncate(cache.len());
        let len = cache.len();
        sequence
            .media
            .retain(|(positions, _)| positions.start < len);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // A beginning of what comes serves nobody any more.
        entries.retain(|(held, _)| held.common(&sequence) < held.ids.len());
        entries.push((sequence, cache));
        let mut bytes: usize = entries.iter().map(|(_, cache)| cache.num_bytes()).sum();
        while bytes > self.max_bytes {
            bytes -= entries.remove(0).1.num_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(ids: &[u32], media: &[(Range<usize>, u8)]) -> Sequence {
        let media = media.iter();
        Sequence {
            ids: ids.to_vec(),
            media: media
                .map(|(positions, key)| (positions.clone(), [*key; 32]))
                .collect(),
        }
    }

    #[test]
    fn sequences_are_alike_up_to_another_token_or_picture() {
        let a = sequence(&[1, 9, 9, 2, 3], &[(1..3, 7)]);
        assert_eq!(a.common(&sequence(&[1, 9, 9, 2, 4], &[(1..3, 7)])), 4);
        assert_eq!(a.common(&sequence(&[1, 9, 9, 2, 3], &[(1..3, 8)])), 1);
        assert_eq!(a.common(&sequence(&[1, 9, 9, 2, 3], &[])), 1);
        assert_eq!(a.common(&sequence(&[1, 9, 9, 9, 2], &[(1..4, 7)])), 1);
        assert_eq!(a.common(&a.clone()), 5);
    }
}
