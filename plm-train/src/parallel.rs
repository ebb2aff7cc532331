//! Data parallelism: batches of a step on several devices, each with a copy of the model.

use std::thread;

use burn::module::Module;
use burn::optim::GradientsParams;
use plm::Model;
use plm_linear::host::{in_pool, is_cpu};

use crate::gradients::{norm, read};
use crate::{Error, Sample, TrainerConfig, checkpointing, loss};

/// What a batch contributes to a step.
pub(crate) struct Share {
    /// Its part of the mean loss over all labels.
    pub(crate) loss: f64,
    /// That part's gradients; none where nothing that is trained took part, as texts teach a projector
    /// nothing.
    pub(crate) gradients: Option<GradientsParams>,
}

/// Computes what batches contribute to step number `step`, with `num_labels` labels in all, and hands it
/// to `take` in their order.
///
/// On one device one batch comes after the other. With others as many batches as there are devices
/// are computed at a time, each in a thread of its own, and their gradients are brought to the model's
/// device; that is the data parallelism of burn's own learner. The model is copied for every step, and
/// this thread must not be one of the kernels', which the others need.
///
/// # Errors
///
/// As [`loss`](crate::loss()).
pub(crate) fn shares(
    model: &Model,
    batches: &[&[Sample]],
    config: &TrainerConfig,
    step: usize,
    num_labels: usize,
    mut take: impl FnMut(Share),
) -> Result<(), Error> {
    let (others, pad_id) = (&config.other_devices, config.pad_id);
    if others.is_empty() || batches.len() < 2 {
        for (i, batch) in batches.iter().enumerate() {
            take(match config.activation_checkpointing {
                true => {
                    let seed = config.seed ^ (step as u64) << 16 ^ i as u64;
                    checkpointing::share(model, batch, num_labels, pad_id, seed)?
                }
                false => share(model, batch, num_labels, pad_id)?,
            });
        }
        return Ok(());
    }
    let copies = others.iter().map(|device| model.clone().fork(device));
    let mut replicas = vec![model.clone()];
    replicas.extend(copies.take(batches.len() - 1));
    let main = model.language_model.embed_tokens.weight.device();
    for round in batches.chunks(replicas.len()) {
        let found: Vec<Result<Share, Error>> = thread::scope(|scope| {
            let workers = round.iter().zip(&replicas).map(|(batch, replica)| {
                let device = replica.language_model.embed_tokens.weight.device();
                scope.spawn(move || {
                    in_pool(&device, || {
                        let share = share(replica, batch, num_labels, pad_id)?;
                        // To hand over what a GPU failed to compute would be a panic.
                        if let (false, Some(gradients)) = (is_cpu(&device), &share.gradients) {
                            norm(replica, gradients)?;
                        }
                        Ok(share)
                    })
                })
            });
            let workers: Vec<_> = workers.collect();
            let joined = workers.into_iter().map(|worker| worker.join());
            joined
                .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        for share in found {
            let Share { loss, gradients } = share?;
            let gradients = gradients.map(|gradients| gradients.to_device(&main, model));
            take(Share { loss, gradients });
        }
    }
    Ok(())
}

fn share(model: &Model, batch: &[Sample], num_labels: usize, pad_id: u32) -> Result<Share, Error> {
    let (loss, count) = loss(model, batch, pad_id)?;
    let loss = loss * (count as f64 / num_labels as f64);
    let gradients = loss
        .is_tracked()
        .then(|| GradientsParams::from_grads(loss.backward(), model));
    Ok(Share {
        loss: read(loss)?,
        gradients,
    })
}
