use std::borrow::Cow;
use std::collections::BTreeMap;

use plm::{HostTensor, Trace};
use safetensors::tensor::{Dtype, View};
use serde::Serialize;

use super::generate::work;
use crate::args::TraceArgs;
use crate::error::Error;
use crate::new_file::NewFile;
use crate::request::{ModelRequest, conversation, conversation_encoding};
use crate::{output, progress};

#[derive(Debug, Serialize)]
struct Report<'a> {
    out: String,
    tensors: BTreeMap<&'a str, &'a [usize]>,
}

pub(crate) fn run(args: TraceArgs) -> Result<(), Error> {
    let encoding = conversation_encoding(&args.conversation);
    let fit = args.conversation.fit;
    let source = conversation(args.conversation)?;
    let model = ModelRequest::check(args.run, encoding)?.fitting(fit);

    let conversation = source.read()?;
    let file = NewFile::create(&args.out)?;
    let plm = model.load()?;
    let prompt = model.encode(&plm, &conversation, 1);
    let prompt = prompt.map_err(|e| source.blame(e))?;
    let busy = progress::busy(&work(&prompt));
    let trace = plm.trace(&prompt, args.all_logits);
    busy.finish_and_clear();
    let trace = trace.map_err(|e| source.blame(e))?;

    let stages = stages(&trace, args.all_logits);
    let shapes = stages
        .iter()
        .map(|(name, stage)| (name.clone(), stage.shape.clone()));
    let shapes: Vec<(String, Vec<usize>)> = shapes.collect();
    file.write(stages)?;
    model.source.note_embedded_model();
    let report = Report {
        out: args.out.display().to_string(),
        tensors: shapes
            .iter()
            .map(|(name, shape)| (name.as_str(), shape.as_slice()))
            .collect(),
    };
    if args.json {
        return output::json(&report);
    }
    output::piece(&table(&report))
}

fn table(report: &Report<'_>) -> String {
    let rows = report.tensors.iter();
    let rows: String = rows
        .map(|(name, shape)| format!("  {name} {shape:?}\n"))
        .collect();
    format!("{}\n{rows}", report.out)
}

/// The tensors of a trace under the names that the file gives them.
fn stages(trace: &Trace, all_logits: bool) -> Vec<(String, Stage<'_>)> {
    let ids = Stage {
        shape: vec![trace.input_ids.len()],
        values: Values::Ids(&trace.input_ids),
    };
    let mut stages = vec![("input_ids".to_owned(), ids)];
    for (index, media) in trace.media.iter().enumerate() {
        stages.extend([
            (
                format!("pixel_values.{index}"),
                Stage::from(&media.pixel_values),
            ),
            (
                format!("vision_features.{index}"),
                Stage::from(&media.vision_features),
            ),
            (format!("projected.{index}"), Stage::from(&media.projected)),
        ]);
    }
    let name = if all_logits { "logits" } else { "logits_last" };
    stages.push((name.to_owned(), Stage::from(&trace.logits)));
    stages
}

/// One tensor of the file.
struct Stage<'a> {
    shape: Vec<usize>,
    values: Values<'a>,
}

enum Values<'a> {
    /// Written as i64, as the reference holds them.
    Ids(&'a [u32]),
    Floats(&'a [f32]),
}

impl<'a> From<&'a HostTensor> for Stage<'a> {
    fn from(tensor: &'a HostTensor) -> Self {
        Self {
            shape: tensor.shape.clone(),
            values: Values::Floats(&tensor.values),
        }
    }
}

impl View for Stage<'_> {
    fn dtype(&self) -> Dtype {
        match self.values {
            Values::Ids(_) => Dtype::I64,
            Values::Floats(_) => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes: Vec<u8> = match self.values {
            Values::Ids(ids) => ids
                .iter()
                .flat_map(|&id| i64::from(id).to_le_bytes())
                .collect(),
            Values::Floats(floats) => floats.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        bytes.into()
    }

    fn data_len(&self) -> usize {
        match self.values {
            Values::Ids(ids) => size_of::<i64>() * ids.len(),
            Values::Floats(floats) => size_of_val(floats),
        }
    }
}

#[cfg(test)]
mod tests {
    use plm::MediaTrace;

    use super::*;

    fn tensor(shape: &[usize]) -> HostTensor {
        HostTensor {
            shape: shape.to_vec(),
            values: vec![0.5; shape.iter().product()],
        }
    }

    #[test]
    fn tensors_are_named_by_stage_and_place() {
        let trace = Trace {
            input_ids: vec![1, 2],
            media: vec![MediaTrace {
                pixel_values: tensor(&[1, 3, 2, 2]),
                vision_features: tensor(&[1, 4, 2]),
                projected: tensor(&[1, 1, 2]),
            }],
            logits: tensor(&[2, 5]),
        };
        let bytes = safetensors::serialize(stages(&trace, true), None).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut names = file.names();
        names.sort();
        assert_eq!(
            names,
            [
                "input_ids",
                "logits",
                "pixel_values.0",
                "projected.0",
                "vision_features.0"
            ]
        );
        let ids = file.tensor("input_ids").unwrap();
        assert_eq!((ids.dtype(), ids.shape()), (Dtype::I64, &[2][..]));
        assert_eq!(ids.data()[8..], 2_i64.to_le_bytes());
        assert_eq!(stages(&trace, false)[4].0, "logits_last");
    }
}
