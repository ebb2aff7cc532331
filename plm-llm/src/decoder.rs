use std::sync::OnceLock;

use burn::module::Module;
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use plm_linear::{Linear, LinearConfig, Weight, host, linear};

use crate::cache::Step;
use crate::{DecoderConfig, DecoderLayer, Error, KvCache, RmsNorm, Rope};

/// New tokens that go through the layers at once on the CPU. It bounds the memory of a long prefill, and
/// keeps the attention of early tokens from running over late ones that they may not see.
const PREFILL_CHUNK: usize = 512;

/// The same on a GPU, of all sequences together. A half or quantised weight is widened anew for each chunk: by
/// the bytes that are moved for it, that would take about as long as the products of 512 tokens.
const GPU_PREFILL_CHUNK: usize = 2048;

/// Standard deviation of a freshly drawn embedding.
const EMBEDDING_STD: f64 = 0.02;

/// The token embedding.
#[derive(Module, Debug)]
pub struct Embedding {
    /// One row per token, `[vocab_size, hidden_size]`.
    pub weight: Weight,
}

/// The text decoder: embeddings in, hidden states and logits out.
#[derive(Module, Debug)]
pub struct Decoder {
    /// Token embedding, and output projection where the two are tied.
    pub embed_tokens: Embedding,
    /// Decoder layers.
    pub layers: Vec<DecoderLayer>,
    /// Norm after the last layer.
    pub norm: RmsNorm,
    /// Output projection, absent where tied to the embedding.
    pub lm_head: Option<Linear>,
    #[module(skip)]
    pub(crate) rope: Rope,
    pub(crate) head_dim: usize,
    max_positions: usize,
}

impl DecoderConfig {
    /// Builds the decoder with lazily drawn random weights.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConfig`] when the sizes contradict each other.
    pub fn init(&self, device: &Device) -> Result<Decoder, Error> {
        self.check()?;
        let embedding = Initializer::Normal {
            mean: 0.0,
            std: EMBEDDING_STD,
        };
        Ok(Decoder {
            embed_tokens: Embedding {
                weight: Weight::Float(embedding.init([self.vocab_size, self.hidden_size], device)),
            },
            layers: (0..self.num_layers)
                .map(|_| DecoderLayer::init(self, device))
                .collect(),
            norm: RmsNorm::init(self.hidden_size, self.rms_norm_eps, device),
            lm_head: (!self.tie_word_embeddings)
                .then(|| LinearConfig::new(self.hidden_size, self.vocab_size).init(device)),
            rope: self.rope,
            head_dim: self.head_dim,
            max_positions: self.max_positions,
        })
    }
}

impl Decoder {
    /// Positions that the model was trained for.
    pub fn max_positions(&self) -> usize {
        self.max_positions
    }

    /// Bytes of weights that are read for one token: all layers, and the output projection.
    pub fn bytes_per_token(&self) -> u64 {
        let layers = self.layers.iter().flat_map(|layer| {
            let (attention, mlp) = (&layer.self_attn, &layer.mlp);
            [
                &attention.q_proj,
                &attention.k_proj,
                &attention.v_proj,
                &attention.o_proj,
                &mlp.gate_proj,
                &mlp.up_proj,
                &mlp.down_proj,
            ]
        });
        let output = match &self.lm_head {
            Some(head) => &head.weight,
            None => &self.embed_tokens.weight,
        };
        let layers: u64 = layers.map(|linear| linear.weight.num_bytes()).sum();
        layers + output.num_bytes()
    }

    /// An empty cache for one sequence.
    pub fn new_cache(&self) -> KvCache {
        self.new_padded_cache(vec![0])
    }

    /// An empty cache for a batch, whose sequences will start with so many padded entries each.
    pub fn new_padded_cache(&self, padding: Vec<usize>) -> KvCache {
        KvCache::new(self.layers.len(), padding)
    }

    /// Embeddings of token ids, in f32.
    ///
    /// # Shapes
    ///
    /// - result: `[ids.len(), hidden_size]`
    ///
    /// # Errors
    ///
    /// [`Error::TokenOutOfRange`] with the first id that the vocabulary does not hold.
    pub fn embed(&self, ids: &[u32], device: &Device) -> Result<Tensor<2>, Error> {
        let weight = &self.embed_tokens.weight;
        let [vocab_size, _] = weight.dims();
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(Error::TokenOutOfRange { id, vocab_size });
        }
        Ok(weight.rows(ids, device))
    }

    /// Reads new tokens and returns their hidden states after the final norm.
    ///
    /// # Shapes
    ///
    /// - `embeddings`: `[batch, seq, hidden_size]`; `batch` is the cache's
    /// - result: `[batch, seq, hidden_size]`
    ///
    /// # Errors
    ///
    /// [`Error::TooManyPositions`] when the longest sequence would pass the model's positions.
    /// The cache is unchanged then.
    ///
    /// # Panics
    ///
    /// When `batch` is not the cache's.
    pub fn extend(&self, embeddings: Tensor<3>, cache: &mut KvCache) -> Result<Tensor<3>, Error> {
        if embeddings.dims()[1] == 0 {
            return Ok(embeddings);
        }
        let mut hidden = Vec::new();
        self.extend_chunks(embeddings, cache, |_, chunk| hidden.push(chunk))?;
        Ok(match hidden.len() {
            1 => hidden.remove(0),
            _ => Tensor::cat(hidden, 1),
        })
    }

    /// Reads new tokens and returns the hidden state of the last alone; `observe` is told how many
    /// tokens have been read, now and then.
    ///
    /// # Shapes
    ///
    /// - `embeddings`: `[batch, seq, hidden_size]`, `seq` above 0; `batch` is the cache's
    /// - result: `[batch, 1, hidden_size]`
    ///
    /// # Errors
    ///
    /// As [`extend`](Self::extend).
    ///
    /// # Panics
    ///
    /// When there is no token, or `batch` is not the cache's.
    pub fn extend_to_last(
        &self,
        embeddings: Tensor<3>,
        cache: &mut KvCache,
        observe: impl Fn(usize),
    ) -> Result<Tensor<3>, Error> {
        let mut last = None;
        self.extend_chunks(embeddings, cache, |done, chunk| {
            let size = chunk.dims()[1];
            last = Some(chunk.narrow(1, size - 1, 1));
            observe(done);
        })?;
        Ok(last.expect("there is a token"))
    }

    /// Reads new tokens chunk by chunk; `take` gets how many have been read and their states.
    fn extend_chunks(
        &self,
        embeddings: Tensor<3>,
        cache: &mut KvCache,
        mut take: impl FnMut(usize, Tensor<3>),
    ) -> Result<(), Error> {
        let [batch, seq, _] = embeddings.dims();
        assert_eq!(batch, cache.batch(), "a cache row for each sequence");
        self.check_room(cache, seq)?;
        let end = cache.len() + seq;
        let most = match host::is_cpu(&embeddings.device()) {
            true => PREFILL_CHUNK,
            false => (GPU_PREFILL_CHUNK / batch.max(1)).max(1),
        };
        for start in (0..seq).step_by(most) {
            let size = most.min(seq - start);
            let chunk = embeddings.clone().narrow(1, start, size);
            take(start + size, self.run_layers(chunk, cache, end, |_| {}));
        }
        Ok(())
    }

    /// Checks that `count` more tokens fit the model's positions.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyPositions`] when they do not.
    pub fn check_room(&self, cache: &KvCache, count: usize) -> Result<(), Error> {
        let least_padding = cache.padding().iter().min().copied().unwrap_or(0);
        let needed = (cache.len() + count).saturating_sub(least_padding);
        if needed > self.max_positions {
            return Err(Error::TooManyPositions {
                needed,
                limit: self.max_positions,
            });
        }
        Ok(())
    }

    /// Reads new tokens and returns every stage, for comparison with another implementation: the
    /// embeddings, what each layer but the last gives, and the last one's after the final norm.
    ///
    /// # Shapes
    ///
    /// As [`extend`](Self::extend), `num_layers + 1` times.
    ///
    /// # Errors
    ///
    /// As [`extend`](Self::extend).
    pub fn hidden_states(
        &self,
        embeddings: Tensor<3>,
        cache: &mut KvCache,
    ) -> Result<Vec<Tensor<3>>, Error> {
        let seq = embeddings.dims()[1];
        self.check_room(cache, seq)?;
        let mut states = vec![embeddings.clone()];
        let end = cache.len() + seq;
        let last = self.run_layers(embeddings, cache, end, |x| states.push(x.clone()));
        states.pop();
        states.push(last);
        Ok(states)
    }

    /// Runs all layers and the final norm; `observe` sees what each layer gives. The cache will hold `end`
    /// entries soon.
    fn run_layers(
        &self,
        embeddings: Tensor<3>,
        cache: &mut KvCache,
        end: usize,
        mut observe: impl FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        let [batch, seq, _] = embeddings.dims();
        let device = embeddings.device();
        let positions = cache.next_positions(seq);
        let rope = self.rope.table(&positions, batch, self.head_dim, &device);
        let mask = match host::is_host(&device) {
            true => None,
            false => cache.padding_mask(cache.len() + seq, &device),
        };
        let padding = cache.padding().to_vec();
        let step = Step {
            rope: &rope,
            len: cache.len(),
            end,
            padding: &padding,
            mask,
            unseen: &OnceLock::new(),
        };

        let mut x = embeddings;
        for (layer, layer_cache) in self.layers.iter().zip(&mut cache.layers) {
            x = layer.forward(x, &step, Some(layer_cache));
            observe(&x);
        }
        cache.advance(seq);
        self.norm.forward(x)
    }

    /// Scores of every vocabulary entry for the token after each hidden state.
    ///
    /// # Shapes
    ///
    /// - `hidden`: `[..., hidden_size]`
    /// - result: `[..., vocab_size]`
    pub fn logits<const D: usize>(&self, hidden: Tensor<D>) -> Tensor<D> {
        match &self.lm_head {
            Some(head) => head.forward(hidden),
            None => linear(hidden, &self.embed_tokens.weight, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, Tolerance};

    use super::*;

    fn decoder() -> Decoder {
        let config = DecoderConfig {
            vocab_size: 40,
            hidden_size: 24,
            intermediate_size: 32,
            num_layers: 2,
            num_heads: 6,
            num_kv_heads: 2,
            head_dim: 4,
            rms_norm_eps: 1e-5,
            rope: Rope {
                theta: 10_000.0,
                scaling: None,
            },
            max_positions: 1300,
            tie_word_embeddings: true,
        };
        config.init(&Device::flex()).unwrap()
    }

    fn random(batch: usize, seq: usize) -> Tensor<3> {
        Tensor::random([batch, seq, 24], Distribution::Default, &Device::flex())
    }

    fn assert_close(a: Tensor<3>, b: Tensor<3>) {
        a.into_data()
            .assert_approx_eq::<f32>(&b.into_data(), Tolerance::absolute(1e-4));
    }

    #[test]
    fn token_by_token_equals_all_at_once() {
        let decoder = decoder();
        let x = random(1, 9);
        let whole = decoder.extend(x.clone(), &mut decoder.new_cache()).unwrap();
        let mut cache = decoder.new_cache();
        let steps = (0..9)
            .map(|i| {
                decoder
                    .extend(x.clone().narrow(1, i, 1), &mut cache)
                    .unwrap()
            })
            .collect();
        assert_close(Tensor::cat(steps, 1), whole);
    }

    #[test]
    fn chunks_of_a_long_prefill_equal_single_tokens() {
        let decoder = decoder();
        let x = random(1, PREFILL_CHUNK + 3);
        let mut cache = decoder.new_cache();
        let whole = decoder.extend(x.clone(), &mut cache).unwrap();
        cache.truncate(PREFILL_CHUNK);
        let tail = decoder
            .extend(x.narrow(1, PREFILL_CHUNK, 3), &mut cache)
            .unwrap();
        assert_close(tail, whole.narrow(1, PREFILL_CHUNK, 3));
    }

    #[test]
    fn left_padding_changes_nothing() {
        let decoder = decoder();
        let (long, short) = (random(1, 7), random(1, 4));
        let padded = Tensor::cat(vec![random(1, 3), short.clone()], 1);
        let mut batch_cache = decoder.new_padded_cache(vec![0, 3]);
        let batch = decoder
            .extend(Tensor::cat(vec![long.clone(), padded], 0), &mut batch_cache)
            .unwrap();
        let mut cache = decoder.new_cache();
        let single = decoder.extend(short, &mut cache).unwrap();
        assert_close(batch.clone().narrow(0, 1, 1).narrow(1, 3, 4), single);

        let next = random(1, 1);
        let step = decoder
            .extend(next.clone().repeat_dim(0, 2), &mut batch_cache)
            .unwrap();
        let single = decoder.extend(next, &mut cache).unwrap();
        assert_close(step.narrow(0, 1, 1), single);
    }

    #[test]
    fn selected_sequences_go_on_as_copies() {
        let decoder = decoder();
        let x = random(2, 5);
        let mut cache = decoder.new_padded_cache(vec![0, 0]);
        decoder.extend(x.clone(), &mut cache).unwrap();
        cache.select(&[1, 1, 0]);
        let next = random(3, 1);
        let found = decoder.extend(next.clone(), &mut cache).unwrap();
        for (row, source) in [1, 1, 0].into_iter().enumerate() {
            let mut single = decoder.new_cache();
            decoder
                .extend(x.clone().narrow(0, source, 1), &mut single)
                .unwrap();
            let expected = decoder
                .extend(next.clone().narrow(0, row, 1), &mut single)
                .unwrap();
            assert_close(found.clone().narrow(0, row, 1), expected);
        }
    }

    #[test]
    fn positions_beyond_the_limit_are_refused_before_anything_changes() {
        let decoder = decoder();
        let mut cache = decoder.new_cache();
        let error = decoder.extend(random(1, 1301), &mut cache).unwrap_err();
        assert_eq!(
            error,
            Error::TooManyPositions {
                needed: 1301,
                limit: 1300
            }
        );
        assert!(cache.is_empty());
    }

    #[test]
    fn ids_outside_the_vocabulary_are_refused() {
        let error = decoder().embed(&[1, 40], &Device::flex()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "token id 40 is outside the vocabulary of 40"
        );
    }
}
