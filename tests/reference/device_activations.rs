//! What a device does between products, against the CPU.

use plm::burn::tensor::{Bool, Device, Distribution, Tensor, TensorData, Tolerance};
use plm_linear::{grouped_attention, normalize, read_back, rotate_heads};

use crate::reference_data::*;

fn random<const D: usize>(shape: [usize; D]) -> TensorData {
    let device = Device::flex();
    Tensor::<D>::random(shape, Distribution::Normal(0.0, 1.0), &device).into_data()
}

/// What sums and sines of a kernel may differ by.
const EXACT: f32 = 2e-5;

/// Computes on the CPU and on the device, and compares.
fn check<const D: usize>(tolerance: f32, compute: impl Fn(&Device) -> Tensor<D>) {
    let [expected, found] = [Device::flex(), device().resolve().unwrap()]
        .map(|device| read_back(compute(&device)).unwrap());
    assert_eq!(found.shape(), expected.shape());
    found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(tolerance));
}

#[test]
fn rows_are_normalised() {
    // Fewer numbers than units of a cube, and more.
    for width in [24, 1100] {
        let (x, weight) = (random([2, 3, width]), random([width]));
        check(EXACT, |device| {
            let x = Tensor::<3>::from_data(x.clone(), device);
            let weight = Tensor::<1>::from_data(weight.clone(), device);
            normalize(x, weight, None, 1e-5)
        });
    }
}

#[test]
fn a_gradient_of_the_weight_alone_is_kept() {
    let device = device().resolve().unwrap();
    let x = Tensor::<3>::from_data(random([1, 3, 24]), &device);
    let weight = Tensor::<1>::ones([24], &device.clone().autodiff()).require_grad();
    let gradients = normalize(x.clone(), weight.clone(), None, 1e-5)
        .sum()
        .backward();
    let expected = read_back(normalize(x, Tensor::ones([24], &device), None, 1e-5).sum_dim(1));
    let found = read_back(weight.grad(&gradients).unwrap().reshape([1, 1, 24])).unwrap();
    found.assert_approx_eq::<f32>(&expected.unwrap(), Tolerance::absolute(EXACT));
}

#[test]
fn heads_are_turned() {
    let (x, cos, sin) = (
        random([2, 5, 3, 8]),
        random([2, 1, 5, 4]),
        random([2, 1, 5, 4]),
    );
    check(EXACT, |device| {
        let [x, cos, sin] = [&x, &cos, &sin].map(|x| Tensor::<4>::from_data(x.clone(), device));
        rotate_heads(x, &cos, &sin)
    });
}

#[test]
fn queries_attend_to_what_they_see() {
    for total in [7, 700] {
        let q = random([2, 6, 5, 8]);
        let [keys, values] = [(); 2].map(|()| random([2, 2, total, 8]));
        // The first entry is padding of the second sequence.
        let unseen: Vec<bool> = (0..2 * 5 * total)
            .map(|at| {
                let (batch, query, entry) = (at / (5 * total), at / total % 5, at % total);
                entry + 5 > query + total || batch == 1 && entry == 0
            })
            .collect();
        let unseen = TensorData::new(unseen, [2, 1, 5, total]);
        for masked in [false, true] {
            // Products of a GPU may be of fewer bits.
            check(logit_tolerance(), |device| {
                let [q, keys, values] =
                    [&q, &keys, &values].map(|x| Tensor::<4>::from_data(x.clone(), device));
                let unseen = Tensor::<4, Bool>::from_data(unseen.clone(), device);
                grouped_attention(q, keys, values, masked.then_some(unseen))
            });
        }
    }
}
