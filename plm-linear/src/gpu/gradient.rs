//! The gradient that is taken through a product with a packed weight.

use std::marker::PhantomData;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, Backend};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, unary};

use super::nf4::Nf4Parts;
use super::ops::{Packed, PackedOps};

#[derive(Debug)]
struct Product<B>(PhantomData<B>);

impl<B: PackedOps> Backward<B, 1> for Product<B> {
    type State = Packed<B>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        unary::<B, _>(ops.parents, ops.node, gradients, |y| {
            B::packed_input_gradient(y, ops.state)
        });
    }
}

impl<B: PackedOps, C: CheckpointStrategy> PackedOps for Autodiff<B, C> {
    fn packed_product(x: FloatTensor<Self>, weight: Packed<Self>) -> FloatTensor<Self> {
        let weight = inner(weight);
        let (x, node) = x.into_parts();
        let prepared = Product::<B>(PhantomData)
            .prepare::<C>([node])
            .compute_bound()
            .stateful();
        let y = B::packed_product(x, weight.clone());
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(weight, y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }

    /// No gradient is taken of a gradient.
    fn packed_input_gradient(y: FloatTensor<Self>, weight: Packed<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::packed_input_gradient(y.into_primitive(), inner(weight)))
    }

    fn packed_rows(weight: Packed<Self>, rows: IntTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::packed_rows(inner(weight), rows))
    }
}

/// The weight without what would take its gradient.
fn inner<B: Backend, C: CheckpointStrategy>(weight: Packed<Autodiff<B, C>>) -> Packed<B> {
    match weight {
        Packed::Halves(weight) => Packed::Halves(weight.into_primitive()),
        Packed::Blocks(codes, scales) => Packed::Blocks(codes, scales.into_primitive()),
        Packed::Nf4(parts) => Packed::Nf4(Nf4Parts {
            codes: parts.codes,
            absmax: parts.absmax,
            nested_absmax: parts.nested_absmax.into_primitive(),
            map: parts.map.into_primitive(),
            offset: parts.offset,
            dims: parts.dims,
        }),
    }
}
