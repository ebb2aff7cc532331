//! Tensors whose numbers are in this process's memory.
//!
//! Those are the flex backend's that no gradient is taken of. A stage that has a kernel of its own
//! asks for the [`Numbers`] of its tensors and computes with burn's operations where there are
//! none: on other devices, in training, or without feature `flex`.

use std::ops::Deref;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use half::{bf16, f16};

#[cfg(feature = "flex")]
type Primitive = <burn::backend::Flex as burn::backend::BackendTypes>::FloatTensorPrimitive;

/// The numbers of a tensor, row-major. They are shared with the tensor, not copied, unless it is a
/// view of another order.
#[derive(Debug, Clone)]
pub struct Numbers {
    #[cfg(feature = "flex")]
    primitive: Primitive,
    #[cfg(not(feature = "flex"))]
    none: std::convert::Infallible,
}

/// Whether the numbers of a device's tensors can be had.
pub fn is_host(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return *device == Device::flex() && !device.is_autodiff();
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}

/// Whether a device is the CPU, with gradients or without.
pub fn is_cpu(device: &Device) -> bool {
    is_host(&device.clone().without_autodiff())
}

/// Runs `work` on one of the threads that the kernels of the CPU use, if it is for the CPU. On a GPU
/// each thread would have a queue and memory of its own, so that it stays on this one.
pub fn in_pool<R: Send>(device: &Device, work: impl FnOnce() -> R + Send) -> R {
    match is_cpu(device) {
        true => plm_kernels::in_pool(work),
        false => work(),
    }
}

/// Whether a tensor's numbers are f32 and can be had, so that [`update`] may change them.
pub fn is_f32<const D: usize>(tensor: &Tensor<D>) -> bool {
    is_host(&tensor.device()) && tensor.dtype() == DType::F32
}

/// The numbers of a float tensor.
pub fn floats<const D: usize>(tensor: &Tensor<D>) -> Option<Numbers> {
    #[cfg(feature = "flex")]
    {
        if !is_host(&tensor.device()) {
            return None;
        }
        let primitive = tensor.clone().try_into_primitive::<burn::backend::Flex>();
        primitive.ok().map(Numbers::new)
    }
    #[cfg(not(feature = "flex"))]
    {
        let _ = tensor;
        None
    }
}

/// The numbers of a tensor that are f32, as activations are.
#[derive(Debug, Clone)]
pub struct F32s(Numbers);

impl Deref for F32s {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        self.0
            .f32()
            .expect("they were looked at when this was made")
    }
}

/// The numbers of a float tensor, if they are f32.
pub fn f32s<const D: usize>(tensor: &Tensor<D>) -> Option<F32s> {
    let numbers = floats(tensor)?;
    numbers.f32()?;
    Some(F32s(numbers))
}

/// The numbers of an integer tensor.
pub fn integers<const D: usize>(tensor: &Tensor<D, Int>) -> Option<Numbers> {
    #[cfg(feature = "flex")]
    {
        if !is_host(&tensor.device()) {
            return None;
        }
        let primitive = tensor.clone().try_into_primitive::<burn::backend::Flex>();
        primitive.ok().map(Numbers::new)
    }
    #[cfg(not(feature = "flex"))]
    {
        let _ = tensor;
        None
    }
}

/// Changes a tensor's f32 numbers in place, or in a copy where another tensor shares them.
///
/// # Panics
///
/// When its numbers cannot be had or are not f32; [`is_f32`] tells.
pub fn update<const D: usize>(tensor: Tensor<D>, change: impl FnOnce(&mut [f32])) -> Tensor<D> {
    #[cfg(feature = "flex")]
    {
        let primitive = tensor.try_into_primitive::<burn::backend::Flex>();
        let mut primitive = whole(primitive.expect("a float tensor of the flex backend"));
        change(primitive.storage_mut::<f32>());
        Tensor::from_primitive::<burn::backend::Flex>(primitive)
    }
    #[cfg(not(feature = "flex"))]
    {
        let _ = (tensor, change);
        unreachable!("no tensor is on the host without feature `flex`")
    }
}

/// A tensor of f32 numbers, which are not copied.
pub fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

/// The numbers of a gradient.
#[cfg(feature = "flex-autodiff")]
pub(crate) fn of_primitive(primitive: Primitive) -> F32s {
    let numbers = Numbers::new(primitive);
    assert!(numbers.f32().is_some(), "gradients are f32");
    F32s(numbers)
}

/// Numbers as a gradient.
#[cfg(feature = "flex-autodiff")]
pub(crate) fn primitive(numbers: Vec<f32>, shape: &[usize]) -> Primitive {
    Primitive::from_data(TensorData::new(numbers, shape.to_vec()))
}

/// A tensor whose storage holds its numbers alone, row-major.
#[cfg(feature = "flex")]
fn whole(primitive: Primitive) -> Primitive {
    let numbers = primitive.layout().num_elements() * primitive.dtype().size();
    if primitive.is_contiguous()
        && primitive.layout().start_offset() == 0
        && primitive.bytes().len() == numbers
    {
        primitive
    } else {
        primitive.to_contiguous()
    }
}

#[cfg(feature = "flex")]
impl Numbers {
    fn new(primitive: Primitive) -> Self {
        Self {
            primitive: if primitive.is_contiguous() {
                primitive
            } else {
                primitive.to_contiguous()
            },
        }
    }

    /// The numbers, if they are f32.
    pub fn f32(&self) -> Option<&[f32]> {
        self.primitive.as_slice()
    }

    /// The numbers, if they are bf16.
    pub fn bf16(&self) -> Option<&[bf16]> {
        self.primitive.as_slice()
    }

    /// The numbers, if they are f16.
    pub fn f16(&self) -> Option<&[f16]> {
        self.primitive.as_slice()
    }

    /// The numbers, if they are signed bytes.
    pub fn i8(&self) -> Option<&[i8]> {
        self.primitive.as_slice()
    }

    /// The numbers, if they are bytes.
    pub fn u8(&self) -> Option<&[u8]> {
        self.primitive.as_slice()
    }
}

#[cfg(not(feature = "flex"))]
impl Numbers {
    /// The numbers, if they are f32.
    pub fn f32(&self) -> Option<&[f32]> {
        match self.none {}
    }

    /// The numbers, if they are bf16.
    pub fn bf16(&self) -> Option<&[bf16]> {
        match self.none {}
    }

    /// The numbers, if they are f16.
    pub fn f16(&self) -> Option<&[f16]> {
        match self.none {}
    }

    /// The numbers, if they are signed bytes.
    pub fn i8(&self) -> Option<&[i8]> {
        match self.none {}
    }

    /// The numbers, if they are bytes.
    pub fn u8(&self) -> Option<&[u8]> {
        match self.none {}
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn views_give_their_own_numbers() {
        let device = Device::flex();
        let x = Tensor::<2>::from_data([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], &device);
        let all = floats(&x).unwrap();
        assert_eq!(all.f32(), Some([1.0, 2.0, 3.0, 4.0, 5.0, 6.0].as_slice()));
        assert_eq!(all.bf16(), None);
        let part = floats(&x.clone().narrow(0, 1, 2)).unwrap();
        assert_eq!(part.f32(), Some([3.0, 4.0, 5.0, 6.0].as_slice()));
        let transposed = floats(&x.clone().transpose()).unwrap();
        assert_eq!(transposed.f32().unwrap()[..3], [1.0, 3.0, 5.0]);
        // A part is changed in a copy.
        let changed = update(x.clone().narrow(0, 1, 1), |numbers| numbers[0] = 9.0);
        assert_eq!(floats(&changed).unwrap().f32(), Some([9.0, 4.0].as_slice()));
        assert_eq!(all.f32().unwrap()[2], 3.0);
    }
}
