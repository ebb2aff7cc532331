//! Long prompts on a device, against the CPU.

use plm::burn::module::Module;
use plm::burn::tensor::{Device, Distribution, Tensor, Tolerance};
use plm_linear::read_back;
use plm_llm::{DecoderConfig, Rope};

use crate::reference_data::*;

/// More tokens than a GPU reads at once, which have more scores than a small one holds in one piece.
const TOKENS: usize = 2100;

#[test]
fn a_prompt_of_several_chunks_is_read_as_on_the_cpu() {
    let config = DecoderConfig {
        vocab_size: 16,
        hidden_size: 32,
        intermediate_size: 48,
        num_layers: 2,
        num_heads: 8,
        num_kv_heads: 2,
        head_dim: 4,
        rms_norm_eps: 1e-5,
        rope: Rope {
            theta: 10_000.0,
            scaling: None,
        },
        max_positions: 4096,
        tie_word_embeddings: true,
    };
    let cpu = Device::flex();
    let decoder = config.init(&cpu).unwrap();
    let x = Tensor::<3>::random([1, TOKENS, 32], Distribution::Default, &cpu);
    let states = |device: &Device| {
        let decoder = decoder.clone().to_device(device);
        let x = Tensor::<3>::from_data(x.clone().into_data(), device);
        let mut cache = decoder.new_cache();
        let whole = decoder.extend(x.clone(), &mut cache).unwrap();
        // One more goes on from what is in the cache.
        let next = decoder.extend(x.narrow(1, 0, 1), &mut cache).unwrap();
        assert_eq!(cache.len(), TOKENS + 1);
        read_back(Tensor::cat(vec![whole, next], 1)).unwrap()
    };
    let (expected, found) = (states(&cpu), states(&device().resolve().unwrap()));
    found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(logit_tolerance()));
}
