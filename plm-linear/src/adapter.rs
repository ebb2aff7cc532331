use burn::module::{Module, Param, ParamId};
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::Tensor;

use crate::Weight;
use crate::product::{PANEL_ELEMENTS, linear, panel};

/// A low-rank addition to a [`Linear`](crate::Linear) layer, `y += scale · B(A(x))`
/// ([LoRA](https://arxiv.org/abs/2106.09685)).
///
/// With a magnitude, the rows of `W + scale · B·A` are brought to the lengths that it holds
/// ([DoRA](https://arxiv.org/abs/2402.09353)). Both are computed as PEFT does.
#[derive(Module, Debug)]
pub struct Adapter {
    /// Down to the rank, `[rank, d_input]`.
    pub lora_a: Weight,
    /// Up to the outputs, `[d_output, rank]`.
    pub lora_b: Weight,
    /// Lengths of the rows of the adapted weight, `[d_output]`.
    pub magnitude: Option<Param<Tensor<1>>>,
    /// Of what is fed to `A`, in training.
    pub dropout: Dropout,
    scale: f64,
    /// Lengths of the rows without the magnitude, where neither weight nor adapter changes.
    norms: Option<Tensor<1>>,
}

impl Adapter {
    /// An adapter whose parts may be trained.
    ///
    /// # Shapes
    ///
    /// - `lora_a`: `[rank, d_input]`
    /// - `lora_b`: `[d_output, rank]`
    pub fn new(lora_a: Tensor<2>, lora_b: Tensor<2>, scale: f64) -> Self {
        let param = |tensor| Weight::Float(Param::initialized(ParamId::new(), tensor));
        Self {
            lora_a: param(lora_a),
            lora_b: param(lora_b),
            magnitude: None,
            dropout: DropoutConfig::new(0.0).init(),
            scale,
            norms: None,
        }
    }

    /// The same with dropout of the input.
    #[must_use]
    pub fn with_dropout(mut self, probability: f64) -> Self {
        self.dropout = DropoutConfig::new(probability).init();
        self
    }

    /// The same with other lengths of the rows, `[d_output]`.
    #[must_use]
    pub fn with_magnitude(mut self, magnitude: Tensor<1>) -> Self {
        self.magnitude = Some(Param::initialized(ParamId::new(), magnitude));
        self
    }

    /// The same to be trained, with dropout of the input, whatever it was before.
    #[must_use]
    pub fn trainable(mut self, dropout: f64) -> Self {
        self.norms = None;
        self.with_dropout(dropout)
    }

    /// The same for answers alone: what depends on the weight but not on the input is computed
    /// once.
    #[must_use]
    pub fn frozen(mut self, weight: &Weight) -> Self {
        self.norms = self.magnitude.is_some().then(|| self.norms(weight));
        self
    }

    /// What `B(A(x))` is multiplied by: `alpha / rank`, and how much of the adapter is wanted.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Adds to the layer's output `y` what the adapter makes of its input `x`.
    ///
    /// # Shapes
    ///
    /// - `x`: `[..., d_input]`
    /// - `y` and result: `[..., d_output]`
    pub(crate) fn apply<const D: usize>(
        &self,
        x: Tensor<D>,
        y: Tensor<D>,
        weight: &Weight,
        bias: Option<Tensor<1>>,
    ) -> Tensor<D> {
        // The first layer's input has no gradient, but is dropped too where the adapter is trained.
        let drops = self.dropout.prob > 0.0 && self.lora_a.device().is_autodiff();
        let x = match drops {
            true => self.dropout.forward(x.autodiff()),
            false => x,
        };
        let low = linear(x.clone(), &self.lora_a, None);
        let low = linear(low, &self.lora_b, None) * self.scale;
        let Some(magnitude) = &self.magnitude else {
            return y + low;
        };
        let norms = match &self.norms {
            Some(norms) => norms.clone(),
            // No gradient is taken of them, as the paper proposes.
            None => self.norms(weight).detach(),
        };
        let factor = (magnitude.val() / norms).unsqueeze::<D>();
        let base = match (drops, bias) {
            (true, _) => linear(x, weight, None),
            (false, Some(bias)) => y.clone() - bias.unsqueeze(),
            (false, None) => y.clone(),
        };
        y + base * (factor.clone() - 1.0) + low * factor
    }

    /// Lengths of the rows of `W + scale · B·A`, `[d_output]`.
    pub fn norms(&self, weight: &Weight) -> Tensor<1> {
        let [d_output, d_input] = weight.dims();
        let rank = self.lora_a.dims()[0];
        let a = panel(&self.lora_a, 0, rank);
        let rows = (PANEL_ELEMENTS / d_input.max(1)).max(1);
        let parts = (0..d_output).step_by(rows).map(|start| {
            let end = (start + rows).min(d_output);
            let b = panel(&self.lora_b, start, end);
            let base = panel(weight, start, end).cast(a.dtype());
            let adapted = base + b.matmul(a.clone()) * self.scale;
            adapted.square().sum_dim(1).sqrt().squeeze_dim::<1>(1)
        });
        Tensor::cat(parts.collect(), 0)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, Tolerance};

    use super::*;
    use crate::LinearConfig;

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
    }

    /// The weight that a layer with an adapter stands for.
    fn merged(weight: Tensor<2>, adapter: &Adapter) -> Tensor<2> {
        let [Weight::Float(a), Weight::Float(b)] = [&adapter.lora_a, &adapter.lora_b] else {
            panic!("they are floats");
        };
        let adapted = weight + b.val().matmul(a.val()) * adapter.scale;
        match &adapter.magnitude {
            None => adapted,
            Some(magnitude) => {
                let norms = adapted.clone().square().sum_dim(1).sqrt();
                adapted / norms * magnitude.val().unsqueeze_dim(1)
            }
        }
    }

    fn check(magnitude: Option<Tensor<1>>, bias: bool) {
        let device = Device::flex();
        let config = LinearConfig::new(40, 30);
        let config = if bias { config.with_bias() } else { config };
        let mut layer = config.init(&device);
        let Weight::Float(weight) = &layer.weight else {
            panic!("a new layer is of floats");
        };
        let weight = weight.val();
        let (a, b) = (random([4, 40]), random([30, 4]));
        let mut adapter = Adapter::new(a, b, 0.5);
        if let Some(magnitude) = magnitude {
            adapter = adapter.with_magnitude(magnitude);
        }
        let mut whole = layer.clone();
        let merged = merged(weight, &adapter);
        whole.weight = Weight::Float(Param::initialized(ParamId::new(), merged));
        let x = random([2, 3, 40]);
        let expected = whole.forward_gelu(x.clone()).into_data();
        for adapter in [adapter.clone(), adapter.frozen(&layer.weight)] {
            layer.adapters = vec![adapter];
            let found = layer.forward_gelu(x.clone()).into_data();
            found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-4));
        }
    }

    #[test]
    fn a_layer_with_an_adapter_is_one_of_the_merged_weight() {
        check(None, false);
        check(None, true);
    }

    #[test]
    fn a_magnitude_gives_the_rows_their_lengths() {
        check(Some(random([30]).abs()), false);
        check(Some(random([30]).abs()), true);
    }
}
