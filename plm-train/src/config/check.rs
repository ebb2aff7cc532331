use super::{Config, Init, Part};
use crate::Error;

impl Config {
    /// Checks values against their ranges and each other.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] that names the field and the rule.
    pub fn check(&self) -> Result<(), Error> {
        let (optim, data) = (&self.optim, &self.data);
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let part = |value: f64| (0.0..1.0).contains(&value);
        let weights = data.datamix.iter().filter_map(|file| file.weight);
        let rules = [
            (
                self.steps.is_some() != self.epochs.is_some(),
                "either steps or epochs must be given, and not both",
            ),
            (self.steps != Some(0), "steps must be at least 1"),
            (self.epochs.is_none_or(positive), "epochs must be above 0"),
            (
                part(self.drop_path),
                "drop_path must be at least 0 and below 1",
            ),
            (
                self.drop_path == 0.0 || matches!(self.train, Part::All | Part::FrozenDecoder),
                "drop_path needs a vision tower that is trained: train = \"all\" or \"frozen_decoder\"",
            ),
            (positive(optim.lr), "optim.lr must be above 0"),
            (
                (0.0..=1.0).contains(&optim.lr_min_ratio),
                "optim.lr_min_ratio must be 0 to 1",
            ),
            (
                optim.betas.iter().all(|&beta| part(beta.into())),
                "optim.betas must be at least 0 and below 1",
            ),
            (
                positive(optim.epsilon.into()),
                "optim.epsilon must be above 0",
            ),
            (
                optim.weight_decay.is_finite() && optim.weight_decay >= 0.0,
                "optim.weight_decay must be at least 0",
            ),
            (
                optim.clip.is_none_or(positive),
                "optim.clip must be above 0",
            ),
            (!data.datamix.is_empty(), "data.datamix must name a file"),
            (
                weights.clone().all(positive),
                "a weight in data.datamix must be above 0",
            ),
            (
                weights.count() == 0 || data.datamix.iter().all(|file| file.weight.is_some()),
                "all files of data.datamix must have a weight, or none",
            ),
            (data.batch_size > 0, "data.batch_size must be at least 1"),
            (
                data.grad_acc_steps > 0,
                "data.grad_acc_steps must be at least 1",
            ),
            (
                data.grad_acc_steps >= self.devices.len(),
                "data.grad_acc_steps must be at least the number of devices, which share its batches",
            ),
            (data.max_seqlen > 1, "data.max_seqlen must be at least 2"),
            (
                data.max_video_frames > 0,
                "data.max_video_frames must be at least 1",
            ),
            (
                self.checkpoint.every > 0,
                "checkpoint.every must be at least 1",
            ),
            (
                self.checkpoint.keep > 0,
                "checkpoint.keep must be at least 1",
            ),
            (self.eval.every > 0, "eval.every must be at least 1"),
            (
                self.init == Init::Checkpoint || self.train != Part::Lora,
                "init = \"random\" needs weights that are trained and saved: another train than \"lora\"",
            ),
            (
                self.quantize.is_none() || self.train == Part::Lora,
                "quantize needs train = \"lora\": rounded weights cannot be trained themselves",
            ),
        ];
        if let Some((_, rule)) = rules.iter().find(|(holds, _)| !holds) {
            return Err(Error::Config {
                what: (*rule).to_owned(),
            });
        }
        self.devices()?;
        self.quantization()?;
        self.vision_input_type().map(|_| ())
    }
}
