//! AdamW in one pass over weights and moments, where they are in this process's memory.

use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer};
use burn::tensor::{Device, Tensor};
use plm_linear::host;

use crate::TrainerConfig;

/// burn's AdamW, and the same by a kernel. Both keep the same state.
#[derive(Clone)]
pub(crate) struct HostAdamW {
    burn: AdamW,
    betas: [f32; 2],
    epsilon: f32,
    weight_decay: f32,
}

impl HostAdamW {
    pub(crate) fn new(config: &TrainerConfig) -> Self {
        Self {
            burn: AdamWConfig::new()
                .with_beta_1(config.betas[0])
                .with_beta_2(config.betas[1])
                .with_epsilon(config.epsilon)
                .with_weight_decay(config.weight_decay)
                .build(),
            betas: config.betas,
            epsilon: config.epsilon,
            weight_decay: config.weight_decay,
        }
    }
}

impl Optimizer for HostAdamW {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: f64,
        weights: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let on_host = host::is_f32(&weights)
            && state.as_ref().is_none_or(|AdamWState { momentum }| {
                host::is_f32(&momentum.moment_1) && host::is_f32(&momentum.moment_2)
            });
        let Some(numbers) = host::f32s(&gradient).filter(|_| on_host) else {
            return self.burn.step(learning_rate, weights, gradient, state);
        };
        let (dims, device) = (weights.dims(), weights.device());
        let zeros = || host::tensor(vec![0.0; numbers.len()], dims, &device);
        let (time, moment_1, moment_2) = match state {
            Some(AdamWState { momentum }) => (momentum.time, momentum.moment_1, momentum.moment_2),
            None => (0, zeros(), zeros()),
        };
        let step = plm_kernels::AdamW {
            learning_rate: learning_rate as f32,
            betas: self.betas,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            time: time as i32 + 1,
        };
        let (mut moved, mut second) = (None, None);
        let first = host::update(moment_1, |first| {
            second = Some(host::update(moment_2, |second| {
                moved = Some(host::update(weights, |weights| {
                    step.step(weights, &numbers, [first, second]);
                }));
            }));
        });
        let (moved, second) = moved.zip(second).expect("both were changed");
        let momentum = AdaptiveMomentumState::new(time + 1, first, second);
        (moved, Some(AdamWState::new(momentum)))
    }

    fn to_device<const D: usize>(state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        AdamW::to_device(state, device)
    }
}
