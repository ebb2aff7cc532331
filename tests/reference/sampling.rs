//! Probabilities against the reference's logits processors.

use plm::{Penalties, RandomSampling};
use safetensors::SafeTensors;
use serde::Deserialize;

use crate::reference_data::{assert_close, golden, read_f32_tensors};

#[derive(Deserialize)]
struct Row {
    id: usize,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    no_repeat_ngram_size: Option<usize>,
    kept: usize,
}

#[derive(Deserialize)]
struct File {
    rows: Vec<Row>,
}

#[test]
fn probabilities_equal_the_reference() {
    let Some(golden) = golden() else { return };
    let file: File =
        serde_json::from_slice(&std::fs::read(golden.join("sampling.json")).unwrap()).unwrap();
    let path = golden.join("sampling.safetensors");
    let tensors = read_f32_tensors(&path);
    let bytes = std::fs::read(&path).unwrap();
    let integers = SafeTensors::deserialize(&bytes).unwrap();
    assert!(!file.rows.is_empty());
    for row in &file.rows {
        let mut logits = tensors[&format!("{}/logits", row.id)].1.clone();
        let expected = &tensors[&format!("{}/probs", row.id)].1;
        let previous = integers.tensor(&format!("{}/prev", row.id)).unwrap();
        let previous: Vec<u32> = previous
            .data()
            .as_chunks::<8>()
            .0
            .iter()
            .map(|&bytes| i64::from_le_bytes(bytes) as u32)
            .collect();
        Penalties {
            repetition: row.repetition_penalty.unwrap_or(1.0),
            no_repeat_ngram: row.no_repeat_ngram_size.unwrap_or(0),
        }
        .apply(&mut logits, &previous);
        let random = RandomSampling {
            temperature: row.temperature.unwrap_or(1.0),
            top_k: row.top_k,
            top_p: row.top_p,
            min_p: row.min_p,
        };
        let found = random.probabilities(&logits);
        assert_close(&format!("row {}", row.id), &found, expected, 1e-5);
        let kept = found.iter().filter(|&&p| p > 0.0).count();
        assert_eq!(kept, row.kept, "row {}", row.id);
    }
}
