//! The norm of all gradients together.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use plm::Model;
use plm_kernels::sum_of_squares;
use plm_linear::{host, read_back_as};

/// The Euclidean norm of all gradients.
///
/// # Errors
///
/// [`plm::Error::Device`] when a device fails before it can be read.
pub(crate) fn norm(model: &Model, gradients: &GradientsParams) -> Result<f64, plm::Error> {
    struct Squares<'a> {
        gradients: &'a GradientsParams,
        on_host: f64,
        /// On a GPU, read once in the end.
        on_device: Option<Tensor<1>>,
    }
    impl ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Some(gradient) = self.gradients.get::<D>(param.id) else {
                return;
            };
            if let Some(numbers) = host::f32s(&gradient) {
                self.on_host += sum_of_squares(&numbers);
                return;
            }
            let sum = gradient.square().sum();
            self.on_device = Some(match self.on_device.take() {
                Some(others) => others + sum,
                None => sum,
            });
        }
    }
    let mut squares = Squares {
        gradients,
        on_host: 0.0,
        on_device: None,
    };
    model.visit(&mut squares);
    let on_device = squares.on_device.map(read).transpose()?;
    Ok((squares.on_host + on_device.unwrap_or(0.0)).sqrt())
}

/// The number of a tensor that has one.
///
/// # Errors
///
/// [`plm::Error::Device`] when its device fails before it can be read.
pub(crate) fn read(number: Tensor<1>) -> Result<f64, plm::Error> {
    let device = number.device();
    match read_back_as::<f64, 1, _>(number) {
        Ok(numbers) => Ok(numbers[0]),
        Err(error) => Err(plm::Error::of_device(&device, &error)),
    }
}

/// Multiplies all gradients.
pub(crate) fn scale(model: &Model, gradients: &mut GradientsParams, factor: f64) {
    struct Scale<'a>(&'a mut GradientsParams, f64);
    impl ModuleVisitor for Scale<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.remove::<D>(param.id) {
                self.0.register(param.id, gradient * self.1);
            }
        }
    }
    model.visit(&mut Scale(gradients, factor));
}
