//! Operations by the kernels that gradients are taken through, where numbers are in this process's
//! memory.

mod activation;
mod attention;
mod cross_entropy;
mod norm;
mod product;
mod residual;
mod rows;

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use burn::backend::{Autodiff, BackendTypes, Flex};
use burn::tensor::Tensor;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::NoCheckpointing;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use crate::host::{self, F32s};

pub(crate) use activation::{gelu, silu_mul};
pub(crate) use attention::{attend, attend_fused};
pub(crate) use cross_entropy::cross_entropy;
pub(crate) use norm::normalize;
pub(crate) use product::product;
pub(crate) use residual::residual;
pub(crate) use rows::select_rows;

/// An operation with `N` arguments, and what its backward pass needs.
trait Operation<const N: usize>: Debug + Send + Sync + 'static {
    /// The gradients of the arguments for which one is wanted, given that of the result.
    fn gradients(&self, y: &[f32], wanted: [bool; N]) -> [Option<Vec<f32>>; N];
}

/// A tensor as an argument, if its numbers are f32 and in this process's memory.
struct Argument {
    tensor: <Autodiff<Flex> as BackendTypes>::FloatTensorPrimitive,
    shape: Vec<usize>,
    values: F32s,
}

impl Argument {
    fn new<const D: usize>(tensor: &Tensor<D>) -> Option<Self> {
        let values = host::f32s(&tensor.clone().without_autodiff())?;
        let shape = tensor.dims().to_vec();
        let tensor = tensor.clone().autodiff();
        let tensor = tensor.try_into_primitive::<Autodiff<Flex>>().ok()?;
        Some(Self {
            tensor,
            shape,
            values,
        })
    }
}

/// The result of an operation, with what its backward pass will do.
fn record<O: Operation<N>, const N: usize, const D: usize>(
    arguments: [Argument; N],
    y: Tensor<D>,
    operation: O,
) -> Tensor<D> {
    let y = y.try_into_primitive::<Flex>();
    let y = y.expect("a result of the flex backend");
    let nodes = arguments.each_ref().map(|argument| argument.tensor.node());
    let shapes = arguments.map(|argument| argument.shape);
    let prepared = Recorded::<O>(PhantomData)
        .prepare::<NoCheckpointing>(nodes)
        .compute_bound()
        .stateful();
    let y = match prepared {
        OpsKind::Tracked(prepared) => prepared.finish((Arc::new(operation), shapes), y),
        OpsKind::UnTracked(prepared) => prepared.finish(y),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(y)
}

/// The backward pass of an operation.
#[derive(Debug)]
struct Recorded<O>(PhantomData<O>);

impl<O: Operation<N>, const N: usize> Backward<Flex, N> for Recorded<O> {
    /// The operation, and the shapes of its arguments.
    type State = (Arc<O>, [Vec<usize>; N]);

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let y = host::of_primitive(gradients.consume::<Flex>(&ops.node));
        let (operation, shapes) = &ops.state;
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = operation.gradients(&y, wanted);
        for ((parent, values), shape) in ops.parents.iter().zip(found).zip(shapes) {
            if let (Some(parent), Some(values)) = (parent, values) {
                gradients.register::<Flex>(parent.id, host::primitive(values, shape));
            }
        }
    }
}
