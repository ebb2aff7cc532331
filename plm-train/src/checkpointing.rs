//! Activation checkpointing: of each block of the model only the input is kept; what is in it is
//! computed a second time when its gradients are due.

use std::cell::Cell;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Gradients, Tensor};
use plm::Model;

use crate::gradients::read;
use crate::loss::{Batch, device};
use crate::parallel::Share;
use crate::{Error, Sample};

/// What a batch contributes to a step with `num_labels` labels in all: as a backward pass of
/// [`loss`](crate::loss()) gives it, but that dropout is drawn from `seed` for each block.
///
/// # Errors
///
/// As [`loss`](crate::loss()).
pub(crate) fn share(
    model: &Model,
    samples: &[Sample],
    num_labels: usize,
    pad_id: u32,
    seed: u64,
) -> Result<Share, Error> {
    let batch = Batch::new(samples)?;
    let device = device(model);
    let (tower, decoder) = (&model.vision_tower, &model.language_model);
    let rope = tower.rope(&device);
    let tower_is_trained = is_trained(tower);
    let seeds = Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let next_seed = || seeds.replace(seeds.get().wrapping_add(1));

    let mut towers = Vec::new();
    let encode = |tiles| {
        if !tower_is_trained {
            return Ok(tower.forward(tiles)?);
        }
        let mut chain = Chain::new(tower.embed(tiles)?);
        for block in &tower.blocks {
            chain.push(block, next_seed(), |block, x| block.forward(x, &rope));
        }
        let end = chain.end.clone();
        towers.push(chain);
        Ok(tower.finish(end))
    };
    let embeddings = model.embed_batch_with(&batch.prompts, batch.seq, pad_id, &device, encode)?;
    let shape = [batch.prompts.len(), batch.seq];
    let sequences = decoder.sequences(shape, batch.lengths(), &device);
    let sequences = sequences.map_err(plm::Error::from)?;
    let mut layers = Chain::new(embeddings);
    for layer in &decoder.layers {
        layers.push(layer, next_seed(), |layer, x| sequences.forward(layer, x));
    }
    let hidden = decoder.norm.forward(layers.end.clone());
    let loss = batch.loss(model, hidden) * (batch.num_labels() as f64 / num_labels as f64);
    let value = read(loss.clone())?;

    let is_tracked = loss.is_tracked();
    let mut found = Found {
        model,
        gradients: GradientsAccumulator::new(),
    };
    if is_tracked {
        let mut of_head = loss.backward();
        found.add(&mut of_head);
        if let Some(of_embeddings) = layers.backward(&of_head, &mut found) {
            for tower in towers {
                tower.backward(&of_embeddings, &mut found);
            }
        }
    }
    Ok(Share {
        loss: value,
        gradients: is_tracked.then(|| found.gradients.grads()),
    })
}

/// Whether a module has parameters that gradients are wanted of.
fn is_trained(module: &impl Module) -> bool {
    struct Any(bool);
    impl ModuleVisitor for Any {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= param.is_require_grad();
        }
    }
    let mut any = Any(false);
    module.visit(&mut any);
    any.0
}

/// Gradients of the model's parameters.
struct Found<'a> {
    model: &'a Model,
    gradients: GradientsAccumulator<Model>,
}

impl Found<'_> {
    fn add(&mut self, gradients: &mut Gradients) {
        let gradients = GradientsParams::from_module(gradients, self.model);
        self.gradients.accumulate(self.model, gradients);
    }
}

/// Blocks that run one after the other, each of which is a graph of its own.
struct Chain<'a> {
    /// What goes into the first, with the graph that it comes from, if there is one.
    start: Tensor<3>,
    blocks: Vec<Recomputed<'a>>,
    /// What came out of the last; another graph begins with it.
    end: Tensor<3>,
}

/// A block that is computed a second time.
struct Recomputed<'a> {
    /// What went into it, `[.., .., width]`, without a graph.
    x: Tensor<3>,
    /// Whether a gradient of that is wanted.
    is_tracked: bool,
    seed: u64,
    run: Box<dyn Fn(Tensor<3>) -> Tensor<3> + 'a>,
}

impl Recomputed<'_> {
    /// Computes it on a new graph; gives where that begins and ends.
    fn run(&self) -> [Tensor<3>; 2] {
        let x = beginning(&self.x, self.is_tracked);
        self.x.device().seed(self.seed);
        let y = (self.run)(x.clone());
        [x, y]
    }
}

/// The same numbers without their graph, where a new one begins if it is wanted.
fn beginning(x: &Tensor<3>, is_tracked: bool) -> Tensor<3> {
    let x = x.clone().without_autodiff();
    match is_tracked {
        true => x.autodiff().require_grad(),
        false => x,
    }
}

impl<'a> Chain<'a> {
    fn new(start: Tensor<3>) -> Self {
        Self {
            end: beginning(&start, start.is_tracked()),
            start,
            blocks: Vec::new(),
        }
    }

    /// Runs one more block, without a graph, but drawing what is dropped as if there were one. What it
    /// draws at random is drawn from `seed`.
    fn push<B: Module>(
        &mut self,
        block: &'a B,
        seed: u64,
        run: impl Fn(&B, Tensor<3>) -> Tensor<3> + 'a,
    ) {
        let is_tracked = self.end.is_tracked();
        let x = self.end.clone().without_autodiff();
        x.device().seed(seed);
        let input = match is_tracked {
            true => x.clone().autodiff(),
            false => x.clone(),
        };
        let is_trained = is_trained(block);
        let y = match is_trained {
            true => run(&block.clone().no_grad(), input),
            false => run(block, input),
        };
        self.end = beginning(&y, is_tracked || is_trained);
        self.blocks.push(Recomputed {
            x,
            is_tracked,
            seed,
            run: Box::new(move |x| run(block, x)),
        });
    }

    /// Goes back from the end, whose gradient is among `gradients`, if one is wanted; gives those of
    /// the graph that the chain starts from, if there is one.
    fn backward(self, gradients: &Gradients, found: &mut Found<'_>) -> Option<Gradients> {
        let mut of_y = self.end.grad(gradients)?;
        for block in self.blocks.into_iter().rev() {
            let [x, y] = block.run();
            let mut gradients = (y * of_y.autodiff()).sum().backward();
            found.add(&mut gradients);
            of_y = x.grad_remove(&mut gradients)?;
        }
        let mut gradients = (self.start * of_y.autodiff()).sum().backward();
        found.add(&mut gradients);
        Some(gradients)
    }
}
