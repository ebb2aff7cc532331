//! `consolidated.pth`: what `torch.save` writes of a dictionary of tensors.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use burn::tensor::DType;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::folder::{NewFolder, WriteError};
use super::{Planned, Written};
use crate::checkpoint::{CONSOLIDATED, EMBEDDING, Weights, leading_ones, meta_name};
use crate::{Config, Error};

/// The folder of the records, as `torch.save` names it after the file.
const FOLDER: &str = "consolidated";

/// Writes the tensors; returns the files' names.
pub(super) fn write(
    folder: &NewFolder,
    shards: &[Vec<Planned>],
    weights: &Weights,
    config: &Config,
    written: &mut Written,
) -> Result<Vec<String>, Error> {
    let names: Vec<String> = match shards.len() {
        1 => vec![CONSOLIDATED.to_owned()],
        count => (0..count)
            .map(|number| format!("consolidated.{number:02}.pth"))
            .collect(),
    };
    for (shard, file_name) in shards.iter().zip(&names) {
        let pickle = pickle(shard, weights, config);
        folder.write(file_name, |file| {
            write_archive(file, &pickle, shard, weights, written)
        })?;
    }
    Ok(names)
}

fn write_archive(
    file: &mut BufWriter<File>,
    pickle: &[u8],
    shard: &[Planned],
    weights: &Weights,
    written: &mut Written,
) -> Result<(), WriteError> {
    // Numbers begin where a memory map may read them.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .with_alignment(64);
    let mut archive = ZipWriter::new(file);
    let record = |name: &str| format!("{FOLDER}/{name}");
    for (name, contents) in [
        ("data.pkl", pickle),
        ("byteorder", b"little"),
        ("version", b"3\n"),
    ] {
        archive
            .start_file(record(name), options)
            .map_err(io_error)?;
        archive.write_all(contents)?;
    }
    for (index, tensor) in shard.iter().enumerate() {
        let options = options.large_file(tensor.num_bytes >= u64::from(u32::MAX));
        archive
            .start_file(record(&format!("data/{index}")), options)
            .map_err(io_error)?;
        weights.copy(&tensor.name, |bytes| {
            written.add(bytes.len());
            archive.write_all(bytes)
        })??;
    }
    archive.finish().map_err(io_error)?;
    Ok(())
}

fn io_error(error: zip::result::ZipError) -> io::Error {
    match error {
        zip::result::ZipError::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// The dictionary of the tensors: names, and views of the records `data/0`, `data/1`, …
fn pickle(shard: &[Planned], weights: &Weights, config: &Config) -> Vec<u8> {
    let mut pickle = Pickle(b"\x80\x02}(".to_vec());
    for (index, tensor) in shard.iter().enumerate() {
        let name = meta_name(&tensor.name).unwrap_or_else(|| tensor.name.clone());
        pickle.text(&name);
        let view = |pickle: &mut Pickle| pickle.tensor(index, &tensor.name, weights);
        view(&mut pickle);
        if tensor.name == EMBEDDING && config.text.tie_word_embeddings {
            // Meta's module of a tied output projection holds the embedding once more.
            pickle.text("output.tied_module.weight");
            view(&mut pickle);
        }
    }
    pickle.0.extend(b"u.");
    pickle.0
}

struct Pickle(Vec<u8>);

impl Pickle {
    fn text(&mut self, text: &str) {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    fn global(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").as_bytes());
    }

    fn int(&mut self, value: usize) {
        self.0.extend(b"\x8a\x08");
        self.0.extend((value as u64).to_le_bytes());
    }

    fn tuple(&mut self, items: &[usize]) {
        self.0.push(b'(');
        items.iter().for_each(|&item| self.int(item));
        self.0.push(b't');
    }

    /// A call that rebuilds a whole storage as a tensor.
    fn tensor(&mut self, index: usize, name: &str, weights: &Weights) {
        let shape = weights.shape(name).unwrap_or_default();
        let shape = &shape[leading_ones(name)..];
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.0.extend(b"((");
        self.text("storage");
        self.global(
            "torch",
            match weights.dtype(name) {
                Some(DType::F16) => "HalfStorage",
                Some(DType::BF16) => "BFloat16Storage",
                _ => "FloatStorage",
            },
        );
        self.text(&index.to_string());
        self.text("cpu");
        self.int(shape.iter().product());
        self.0.extend(b"tQ");
        self.int(0);
        self.tuple(shape);
        let strides: Vec<usize> = (0..shape.len())
            .map(|axis| shape[axis + 1..].iter().product())
            .collect();
        self.tuple(&strides);
        self.0.push(b'\x89');
        self.global("collections", "OrderedDict");
        self.0.extend(b")RtR");
    }
}
