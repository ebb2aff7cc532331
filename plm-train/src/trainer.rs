use std::time::Instant;

use burn::optim::{GradientsAccumulator, ModuleOptimizer};
use burn::tensor::Device;
use plm::Model;
use plm_linear::host::in_pool;
use serde::Serialize;

use crate::adamw::HostAdamW;
use crate::parallel::{Share, shares};
use crate::{Error, Sample, Schedule, gradients};

/// How steps are made.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainerConfig {
    /// The learning rate after the warm-up.
    pub learning_rate: f64,
    /// How it falls from there.
    pub schedule: Schedule,
    /// Steps of the warm-up.
    pub warmup_steps: usize,
    /// Steps of the whole run, which the schedule spans.
    pub steps: usize,
    /// AdamW's decay rates of the moments.
    pub betas: [f32; 2],
    /// AdamW's least denominator.
    pub epsilon: f32,
    /// AdamW's decay of all that is trained.
    pub weight_decay: f32,
    /// The largest norm of all gradients together; longer ones are shortened to it.
    pub max_grad_norm: Option<f64>,
    /// Whether the input of each block alone is kept for its gradients, and the rest computed a
    /// second time: less memory for up to a third more time. Gradients are the same, but that dropout
    /// draws other numbers. On one device only; with dropout nothing else in the process may draw
    /// random numbers from it meanwhile.
    pub activation_checkpointing: bool,
    /// Of dropout.
    pub seed: u64,
    /// The id that samples of a batch are filled up with.
    pub pad_id: u32,
    /// Further devices than the model's, among which the batches of a step are shared. Which of them
    /// draws what for dropout is left to chance.
    pub other_devices: Vec<Device>,
}

impl Default for TrainerConfig {
    /// PyTorch's AdamW with a constant learning rate of 1e-5.
    fn default() -> Self {
        Self {
            learning_rate: 1e-5,
            schedule: Schedule::Constant,
            warmup_steps: 0,
            steps: 0,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            weight_decay: 0.01,
            max_grad_norm: None,
            activation_checkpointing: false,
            seed: 0,
            pad_id: 0,
            other_devices: Vec::new(),
        }
    }
}

impl TrainerConfig {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.activation_checkpointing && !self.other_devices.is_empty() {
            // What dropout draws is the same twice on one thread alone.
            return Err(Error::Config {
                what: "activation_checkpointing works on one device, not on several".to_owned(),
            });
        }
        Ok(())
    }
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepReport {
    /// Its number, from 0.
    pub step: usize,
    /// Mean cross-entropy of the labels, before the step.
    pub loss: f64,
    /// Norm of all gradients, before it was limited.
    pub grad_norm: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// Tokens that were learnt from.
    pub num_labels: usize,
    /// Seconds that it took, without waiting for samples.
    pub seconds: f64,
}

/// Trains a model that [`prepare`](crate::prepare) made ready.
pub struct Trainer {
    model: Model,
    optimizer: ModuleOptimizer,
    config: TrainerConfig,
    step: usize,
    /// Steps that were made here, and not before the run was resumed.
    steps_here: usize,
}

impl Trainer {
    /// Begins a run.
    pub fn new(model: Model, config: TrainerConfig) -> Self {
        Self {
            model,
            optimizer: HostAdamW::new(&config).into(),
            config,
            step: 0,
            steps_here: 0,
        }
    }

    /// The model as it is now.
    pub fn model(&self) -> &Model {
        &self.model
    }

    pub(crate) fn optimizer(&self) -> &ModuleOptimizer {
        &self.optimizer
    }

    /// Goes on after so many steps, with an optimiser that remembers them.
    pub(crate) fn resume(
        &mut self,
        step: usize,
        load: impl FnOnce(ModuleOptimizer) -> Result<ModuleOptimizer, Error>,
    ) -> Result<(), Error> {
        self.optimizer = load(self.optimizer.clone())?;
        self.step = step;
        Ok(())
    }

    /// Ends the run.
    pub fn into_model(self) -> Model {
        self.model
    }

    /// Makes a step on some batches, whose gradients are accumulated: that of the mean over all
    /// their labels, as if they were one batch.
    ///
    /// # Errors
    ///
    /// As [`loss`](crate::loss()); [`Error::Diverged`]; [`Error::Config`] for activation
    /// checkpointing on several devices. The model stays as it was.
    pub fn step(&mut self, batches: &[&[Sample]]) -> Result<StepReport, Error> {
        self.config.check()?;
        if !self.config.other_devices.is_empty() {
            return self.step_here(batches);
        }
        let device = self.model.language_model.embed_tokens.weight.device();
        in_pool(&device, || self.step_here(batches))
    }

    fn step_here(&mut self, batches: &[&[Sample]]) -> Result<StepReport, Error> {
        let start = Instant::now();
        let labels = |batch: &[Sample]| batch.iter().map(Sample::num_labels).sum::<usize>();
        let num_labels: usize = batches.iter().copied().map(labels).sum();
        // The same dropout in a run that was resumed.
        let device = self.model.language_model.embed_tokens.weight.device();
        device.seed(self.config.seed ^ self.step as u64);
        if num_labels == 0 {
            return Err(Error::NothingToLearn);
        }
        let batches: Vec<&[Sample]> = batches
            .iter()
            .copied()
            .filter(|batch| labels(batch) > 0)
            .collect();
        if self.steps_here == 1 {
            // A GPU keeps the memory of the weights that were loaded, in whose place others are now.
            device
                .sync()
                .map_err(|error| plm::Error::of_device(&device, &error))?;
            device.memory_cleanup();
        }
        let mut total = 0.0;
        let mut accumulator = GradientsAccumulator::new();
        let take = |share: Share| {
            total += share.loss;
            if let Some(gradients) = share.gradients {
                accumulator.accumulate(&self.model, gradients);
            }
        };
        let (model, config) = (&self.model, &self.config);
        shares(model, &batches, config, self.step, num_labels, take)?;
        let mut gradients = accumulator.grads();
        let grad_norm = gradients::norm(&self.model, &gradients)?;
        for (what, value) in [("loss", total), ("norm of the gradient", grad_norm)] {
            if !value.is_finite() {
                return Err(Error::Diverged {
                    step: self.step,
                    what,
                    value,
                });
            }
        }
        if let Some(max) = self.config.max_grad_norm
            && grad_norm > max
        {
            gradients::scale(&self.model, &mut gradients, max / (grad_norm + 1e-6));
        }
        let config = &self.config;
        let factor = config
            .schedule
            .factor(self.step, config.warmup_steps, config.steps);
        let learning_rate = config.learning_rate * factor;
        self.model = self
            .optimizer
            .step(learning_rate, self.model.clone(), gradients);
        self.step += 1;
        self.steps_here += 1;
        Ok(StepReport {
            step: self.step - 1,
            loss: total,
            grad_norm,
            learning_rate,
            num_labels,
            seconds: start.elapsed().as_secs_f64(),
        })
    }
}
