use std::path::Path;

use plm_processor::{SpecialTokens, Tokenizer, model_of_tokenizer_json, tokenizer_json_of_model};

use crate::{golden, json, numbers, processor, rows, text};

#[test]
fn every_string_has_the_ids_and_the_text_of_the_reference() {
    let Some(golden) = golden() else { return };
    compare_strings(&golden, processor(&golden, "tinyL").tokenizer());
}

#[test]
fn metas_tokenizer_model_gives_every_string_the_same_ids() {
    let Some(golden) = golden() else { return };
    let model = golden.join("models/tinyL_original/tokenizer.model");
    let model = std::fs::read(model).expect("the file is readable");
    let (json, _) = tokenizer_json_of_model(&model, "tokenizer.model").expect("converts");
    let tokenizer = Tokenizer::from_bytes(&json, "tokenizer.json").expect("loads");
    compare_strings(&golden, &tokenizer);
    assert_eq!(
        model_of_tokenizer_json(&json, "tokenizer.json").expect("converts"),
        model
    );
}

#[test]
fn the_hugging_face_tokenizer_becomes_metas_to_the_byte() {
    let Some(golden) = golden() else { return };
    let model = golden.join("models/tinyL_original/tokenizer.model");
    let json = golden.join("models/tinyL/tokenizer.json");
    let json = std::fs::read(json).expect("the file is readable");
    assert_eq!(
        model_of_tokenizer_json(&json, "tokenizer.json").expect("converts"),
        std::fs::read(model).expect("the file is readable")
    );
}

fn compare_strings(golden: &Path, tokenizer: &Tokenizer) {
    let table = json(golden.join("tokenizer.json"));
    assert!(rows(&table, "rows").len() > 240);
    for row in rows(&table, "rows") {
        let ids = tokenizer.encode(text(row, "text"), SpecialTokens::Parse);
        assert_eq!(ids.expect("encodes"), numbers(&row["ids"]), "{row}");
        compare_decoding(tokenizer, row);
    }
}

#[test]
fn every_id_sequence_has_the_text_of_the_reference() {
    let Some(golden) = golden() else { return };
    let processor = processor(&golden, "tinyL");
    for row in rows(&json(golden.join("tokenizer.json")), "decode_only") {
        compare_decoding(processor.tokenizer(), row);
    }
}

fn compare_decoding(tokenizer: &Tokenizer, row: &serde_json::Value) {
    let ids = numbers(&row["ids"]);
    for (skip_special, field) in [(false, "decoded"), (true, "decoded_skip_special")] {
        assert_eq!(
            tokenizer.decode(&ids, skip_special).expect("decodes"),
            text(row, field)
        );
        let mut stream = tokenizer.stream(skip_special);
        let mut streamed: String = ids
            .iter()
            .map(|id| stream.push(*id).expect("decodes"))
            .collect();
        streamed.push_str(&stream.finish());
        assert_eq!(streamed, text(row, field));
    }
}

#[test]
fn special_names_are_text_when_asked() {
    let Some(golden) = golden() else { return };
    let processor = processor(&golden, "tinyL");
    let tokenizer = processor.tokenizer();
    let name = "a<|eot_id|>b";
    let ids = tokenizer
        .encode(name, SpecialTokens::AsText)
        .expect("encodes");
    assert!(ids.iter().all(|id| !tokenizer.is_special(*id)));
    assert_eq!(tokenizer.decode(&ids, true).expect("decodes"), name);
    let parsed = tokenizer
        .encode(name, SpecialTokens::Parse)
        .expect("encodes");
    assert_eq!(parsed.len(), 3);
}

#[test]
fn an_id_beyond_the_vocabulary_is_refused() {
    let Some(golden) = golden() else { return };
    let processor = processor(&golden, "tinyL");
    let message = processor.text(&[5, 4_000_000]).unwrap_err().to_string();
    let vocab_size = processor.tokenizer().vocab_size();
    assert_eq!(
        message,
        format!("token id 4000000 is not in the vocabulary of {vocab_size} tokens")
    );
    let mut stream = processor.tokenizer().stream(true);
    assert!(stream.push(u32::MAX).is_err());
}
