//! Samples that are read, decoded and tiled while the model learns from others.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use plm::{EncodeOptions, Processor};
use rayon::prelude::*;

use crate::config::{BadSamples, Config, Data, Labels};
use crate::order::Order;
use crate::rows::{RowFile, explain};
use crate::{Error, RowError, Sample};

/// Steps whose samples wait to be learnt from.
const QUEUE: usize = 2;

/// The samples of a step.
pub(crate) struct Step {
    pub(crate) samples: Vec<Sample>,
    /// Samples that could not be read.
    pub(crate) bad: Vec<RowError>,
    /// Turns that were left out of samples that are too long.
    pub(crate) turns_left_out: usize,
    /// Samples that were drawn up to here, since the run began.
    pub(crate) drawn: u64,
}

/// How lines become samples.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) processor: Arc<Processor>,
    pub(crate) config: Config,
}

impl Reader {
    pub(crate) fn options(&self, num_media: usize) -> Result<EncodeOptions, Error> {
        let mut vision_input_type = self.config.vision_input_type()?;
        if num_media > 1 {
            vision_input_type = Some(plm::VisionInputType::Vanilla);
        }
        Ok(EncodeOptions {
            vision_input_type,
            max_num_tiles: self.config.data.max_num_tiles,
            ..EncodeOptions::default()
        })
    }

    /// A sample, and how many turns were left out of it.
    pub(crate) fn sample(&self, file: &RowFile, index: usize) -> Result<(Sample, usize), RowError> {
        let error = |what| file.error(index, what);
        let conversation = file.conversation(index, self.config.frame_rule())?;
        let options = self.options(conversation.media().count());
        let options = options.map_err(|cause| error(explain(cause)))?;
        let max_tokens = self.config.data.max_seqlen;
        let encoded = self
            .processor
            .encode_for_training(&conversation, &options, max_tokens)
            .map_err(|cause| error(explain(cause)))?;
        let left_out = encoded.turns_left_out;
        let sample = match self.config.data.labels {
            Labels::Answers => Sample::of_answers(encoded),
            Labels::AllText => Sample::of_all_text(encoded.prompt),
        };
        match sample.num_labels() {
            0 => Err(error("nothing in it is to be learnt".into())),
            _ => Ok((sample, left_out)),
        }
    }
}

/// The files that samples are drawn from.
pub(crate) fn open(data: &Data) -> Result<Vec<RowFile>, Error> {
    let files = data.datamix.iter();
    let files = files.map(|file| RowFile::open(&file.path, file.root_dir.as_deref()));
    files.collect()
}

/// Begins to read samples in the background, from the place on where `drawn` were drawn.
pub(crate) fn read(
    reader: Reader,
    files: Vec<RowFile>,
    drawn: u64,
) -> Receiver<Result<Step, RowError>> {
    let data = &reader.config.data;
    let lens: Vec<usize> = files.iter().map(RowFile::len).collect();
    let weights = data.datamix.iter().zip(&lens);
    let weights: Vec<f64> = weights
        .map(|(file, &len)| file.weight.unwrap_or(len as f64))
        .collect();
    let mut order = Order::new(&lens, &weights, reader.config.seed);
    for _ in 0..drawn {
        order.next();
    }
    let (sender, receiver) = sync_channel(QUEUE);
    thread::spawn(move || {
        let mut drawn = drawn;
        loop {
            let step = next(&reader, &files, &mut order, &mut drawn);
            let ends = step.is_err();
            // The run may be over.
            if sender.send(step).is_err() || ends {
                return;
            }
        }
    });
    receiver
}

/// Reads the samples of a step, all at once.
fn next(
    reader: &Reader,
    files: &[RowFile],
    order: &mut Order,
    drawn: &mut u64,
) -> Result<Step, RowError> {
    let data = &reader.config.data;
    let wanted = data.batch_size * data.grad_acc_steps;
    let rows: usize = files.iter().map(RowFile::len).sum();
    let mut step = Step {
        samples: Vec::with_capacity(wanted),
        bad: Vec::new(),
        turns_left_out: 0,
        drawn: 0,
    };
    while step.samples.len() < wanted {
        let missing = wanted - step.samples.len();
        let places: Vec<(usize, usize)> = (0..missing).map(|_| order.next()).collect();
        *drawn += missing as u64;
        let samples: Vec<_> = places
            .into_par_iter()
            .map(|(file, row)| reader.sample(&files[file], row))
            .collect();
        for sample in samples {
            match sample {
                Ok((sample, left_out)) => {
                    step.samples.push(sample);
                    step.turns_left_out += left_out;
                }
                // Where all are bad, there is no use in going on.
                Err(error) if data.bad_samples == BadSamples::Stop || step.bad.len() > 2 * rows => {
                    return Err(error);
                }
                Err(error) => step.bad.push(error),
            }
        }
    }
    // Batches of like lengths are padded less; what a step learns does not depend on their order.
    step.samples.sort_by_key(|sample| sample.prompt.len());
    step.drawn = *drawn;
    Ok(step)
}
