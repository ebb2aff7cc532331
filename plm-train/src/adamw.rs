//! AdamW in one pass over weights and moments, where they are in this process's memory.

use burn::optim::{
    AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer, RecordState, StateSink,
    StateSource,
};
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

/// The state, which is read from a file into this process's memory. burn would take its default device
/// for that, a GPU where one is built in, be it there or not.
#[derive(Clone)]
pub(crate) struct HostState<const D: usize>(AdamWState<D>);

impl<const D: usize> RecordState for HostState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        self.0.state_flatten(prefix, out);
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, device: &Device) -> Option<Self> {
        #[cfg(feature = "flex")]
        let device = {
            let _ = device;
            &Device::flex()
        };
        AdamWState::state_unflatten(prefix, src, device).map(Self)
    }
}

impl Optimizer for HostAdamW {
    type State<const D: usize> = HostState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: f64,
        weights: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<HostState<D>>,
    ) -> (Tensor<D>, Option<HostState<D>>) {
        let state = state.map(|HostState(state)| state);
        let on_host = host::is_f32(&weights)
            && state.as_ref().is_none_or(|AdamWState { momentum }| {
                host::is_f32(&momentum.moment_1) && host::is_f32(&momentum.moment_2)
            });
        let Some(numbers) = host::f32s(&gradient).filter(|_| on_host) else {
            let (weights, state) = self.burn.step(learning_rate, weights, gradient, state);
            return (weights, state.map(HostState));
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
        (moved, Some(HostState(AdamWState::new(momentum))))
    }

    fn to_device<const D: usize>(state: HostState<D>, device: &Device) -> HostState<D> {
        HostState(AdamW::to_device(state.0, device))
    }
}
