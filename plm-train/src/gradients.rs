//! The norm of all gradients together.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use plm::Model;
use plm_kernels::sum_of_squares;
use plm_linear::host;

/// The Euclidean norm of all gradients.
pub(crate) fn norm(model: &Model, gradients: &GradientsParams) -> f64 {
    struct Squares<'a>(&'a GradientsParams, f64);
    impl ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.get::<D>(param.id) {
                self.1 += match host::f32s(&gradient) {
                    Some(numbers) => sum_of_squares(&numbers),
                    None => gradient.square().sum().into_scalar::<f64>(),
                };
            }
        }
    }
    let mut squares = Squares(gradients, 0.0);
    model.visit(&mut squares);
    squares.1.sqrt()
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
