//! Runs one input through a reader of Meta's layout, for the corpus and for the fuzz targets.

use std::cell::RefCell;
use std::fs;
use std::io::{Cursor, Write};

use plm::burn::tensor::DType;
use plm::plm_processor::{
    SpecialTokens, Tokenizer, model_of_tokenizer_json, tokenizer_json_of_model,
};
use plm::{Checkpoint, Error, Weights};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Parameters of a model as small as one can be.
const PARAMS: &str = r#"{"model": {"dim": 8, "n_layers": 1, "n_heads": 2, "vocab_size": 512,
    "pooling_ratio": 1, "vision_model": {"image_size": 28, "patch_size": 14, "width": 8, "layers": 1,
    "heads": 2, "use_cls_token": true}}}"#;

thread_local! {
    /// A checkpoint's folder, of which each run writes one file anew.
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// Runs `read` on a folder with a sound `params.json` and `tokenizer.model` and a file of bytes.
fn with_file<T>(
    name: &str,
    bytes: &[u8],
    read: impl FnOnce(&std::path::Path) -> Result<T, Error>,
) -> Result<T, Error> {
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| {
            let folder = tempfile::tempdir().expect("a folder");
            fs::write(folder.path().join("params.json"), PARAMS).expect("a file");
            fs::write(folder.path().join("tokenizer.model"), byte_tokens()).expect("a file");
            folder
        });
        fs::write(folder.path().join(name), bytes).expect("a file");
        read(folder.path())
    })
}

/// A `tokenizer.model` of all bytes and nothing else.
fn byte_tokens() -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |value: u32| char::from(DIGITS[value as usize]);
    (0..256)
        .map(|byte| format!("{}{}== {byte}\n", digit(byte >> 2), digit((byte & 3) << 4)))
        .collect()
}

/// A `.pth` file, or the pickle of one with three storages of 4 KiB: every tensor is read, as it
/// is and as a part of a checkpoint.
pub(crate) fn pickle(bytes: &[u8]) -> Result<(), Error> {
    let file = if bytes.starts_with(b"PK") {
        bytes.to_vec()
    } else {
        archive(bytes)
    };
    with_file("consolidated.pth", &file, |dir| {
        read_all(&Weights::open_torch(dir.join("consolidated.pth"))?)?;
        read_all(&Weights::open(dir)?)
    })
}

fn read_all(weights: &Weights) -> Result<(), Error> {
    for name in weights.names().filter(|name| weights.dtype(name).is_some()) {
        weights.read(name, DType::F32)?;
    }
    Ok(())
}

fn archive(pickle: &[u8]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let zeros = [0; 4096];
    for (name, contents) in [
        ("c/data.pkl", pickle),
        ("c/data/0", &zeros),
        ("c/data/1", &zeros),
        ("c/data/7", &zeros),
    ] {
        archive.start_file(name, options).expect("a record");
        archive.write_all(contents).expect("a record");
    }
    archive.finish().expect("an archive").into_inner()
}

/// A `params.json`: the config and the processor are read.
pub(crate) fn params_json(bytes: &[u8]) -> Result<(), Error> {
    let result = with_file("params.json", bytes, |dir| Checkpoint::from_dir(dir));
    // What was read must be sound.
    with_file("params.json", PARAMS.as_bytes(), |_| Ok(()))?;
    let checkpoint = result?;
    assert!(checkpoint.config.tokens_per_tile() > 0);
    assert!(checkpoint.config.num_parameters() > 0);
    Ok(())
}

/// A `tokenizer.model`: it becomes a tokenizer, encodes a text, and becomes itself again.
pub(crate) fn tokenizer_model(bytes: &[u8]) -> Result<(), Error> {
    let (json, num_tokens) = tokenizer_json_of_model(bytes, "tokenizer.model")?;
    let tokenizer = Tokenizer::from_bytes(&json, "tokenizer.json")?;
    let text = "A tale of 3 cities:\n\n\tüber <|image|> \u{1F600}";
    let ids = tokenizer.encode(text, SpecialTokens::Parse)?;
    assert_eq!(tokenizer.decode(&ids, false)?, text);
    let model = model_of_tokenizer_json(&json, "tokenizer.json")?;
    let (again, same_number) = tokenizer_json_of_model(&model, "tokenizer.model")?;
    assert!(again == json && same_number == num_tokens);
    Ok(())
}
