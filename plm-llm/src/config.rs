use crate::Rope;

/// What a caller can get wrong with a decoder.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A size that no decoder can have.
    #[error("text decoder: {what}")]
    InvalidConfig {
        /// The rule that is broken, with the values.
        what: String,
    },
    /// More tokens than the model has positions for.
    #[error(
        "{needed} tokens exceed the model's {limit} positions; use fewer or smaller pictures (`max_num_tiles`, `vanilla`), fewer turns or fewer new tokens"
    )]
    TooManyPositions {
        /// Positions that would be used.
        needed: usize,
        /// Positions that the model has.
        limit: usize,
    },
    /// A token id that the vocabulary does not hold.
    #[error("token id {id} is outside the vocabulary of {vocab_size}")]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// A sampling setting outside its range.
    #[error("{setting} is {value}; {rule}")]
    InvalidSampling {
        /// Name of the setting.
        setting: &'static str,
        /// The value given.
        value: f64,
        /// What is allowed.
        rule: &'static str,
    },
    /// Logits that are not numbers, from broken weights or overflow in half precision.
    #[error(
        "the model gave no token a finite score; its weights are damaged or overflow their precision (try dtype f32), or every token is forbidden"
    )]
    NotFinite,
}

/// Sizes and constants of a [`Decoder`](crate::Decoder).
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Features of a token.
    pub hidden_size: usize,
    /// Hidden features of the MLP.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; a divisor of `num_heads`.
    pub num_kv_heads: usize,
    /// Features of one head, even.
    pub head_dim: usize,
    /// Epsilon of the RMS norms.
    pub rms_norm_eps: f64,
    /// Rotary positions.
    pub rope: Rope,
    /// Positions that the model was trained for.
    pub max_positions: usize,
    /// Whether the embedding is also the output projection.
    pub tie_word_embeddings: bool,
}

impl DecoderConfig {
    /// Checks the sizes against each other.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConfig`] with the first rule that is broken.
    pub fn check(&self) -> Result<(), Error> {
        let fail = |what: String| Err(Error::InvalidConfig { what });
        let positive = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_layers),
            ("num_attention_heads", self.num_heads),
            ("num_key_value_heads", self.num_kv_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_positions),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return fail(format!("{name} must be positive"));
        }
        if !self.num_heads.is_multiple_of(self.num_kv_heads) {
            return fail(format!(
                "{} attention heads cannot share {} key-value heads evenly",
                self.num_heads, self.num_kv_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return fail(format!("head_dim {} must be even", self.head_dim));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return fail(format!("rms_norm_eps is {}", self.rms_norm_eps));
        }
        self.rope.check()
    }

    /// Bytes that the KV cache takes for `tokens` positions of one sequence in f32.
    pub fn kv_cache_bytes(&self, tokens: usize) -> u64 {
        let per_token = 2 * self.num_layers * self.num_kv_heads * self.head_dim;
        (per_token as u64 * size_of::<f32>() as u64).saturating_mul(tokens as u64)
    }
}
