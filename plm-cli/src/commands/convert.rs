use plm::{ConvertOptions, Converted, Layout, Precision, layout_of};
use serde::Serialize;

use crate::args::{ConvertArgs, LayoutName, Quantize};
use crate::error::Error;
use crate::model::ModelSource;
use crate::{output, progress};

/// Most bytes of a safetensors file, as transformers writes them.
const MAX_SHARD_BYTES: u64 = 5_000_000_000;

/// What was written, as it is printed for programs.
#[derive(Debug, Serialize)]
struct ConvertReport {
    out: String,
    layout: &'static str,
    weight_files: Vec<String>,
    num_tensors: usize,
    num_bytes: u64,
}

pub(crate) fn run(args: ConvertArgs) -> Result<(), Error> {
    let from = ModelSource::parse(Some(args.model))?.require_folder()?;
    let layout = match args.to {
        Some(LayoutName::Hf) => Layout::HuggingFace,
        Some(LayoutName::Original) => Layout::Original,
        None if args.quantize != Quantize::None => Layout::HuggingFace,
        None if !args.merge.is_empty() || args.dtype != Precision::Auto => layout_of(&from),
        None => match layout_of(&from) {
            Layout::HuggingFace => Layout::Original,
            Layout::Original => Layout::HuggingFace,
        },
    };
    let options = ConvertOptions {
        layout,
        max_shard_bytes: match layout {
            Layout::HuggingFace => args.max_shard_size.or(Some(MAX_SHARD_BYTES)),
            Layout::Original => args.max_shard_size,
        },
        precision: args.dtype,
        quantize: args.quantize.format(),
        merge: args.merge,
        progress: Some(progress::of_bytes("converting")),
    };
    let converted = plm::convert(&from, &args.out, &options)?;
    if args.json {
        return output::json(&report(converted, layout));
    }
    output::line(&format!(
        "{}: {} tensors, {:.3} GB in {}",
        converted.dir.display(),
        converted.num_tensors,
        converted.num_bytes as f64 / 1e9,
        converted.weight_files.join(", ")
    ))
}

fn report(converted: Converted, layout: Layout) -> ConvertReport {
    ConvertReport {
        out: converted.dir.display().to_string(),
        layout: match layout {
            Layout::HuggingFace => "hf",
            Layout::Original => "original",
        },
        weight_files: converted.weight_files,
        num_tensors: converted.num_tensors,
        num_bytes: converted.num_bytes,
    }
}
