//! Products and rows of weights in every format on a device, against their definition.

use plm::burn::module::Param;
use plm::burn::tensor::{DType, Device, Tensor, TensorData};
use plm_kernels::{Matrix, Weights};
use plm_linear::{BlockFormat, Nf4, Weight, linear};

use crate::reference_data::*;

/// Numbers about zero, some of them too small for f16's normal range.
fn numbers(count: usize, seed: f32) -> Vec<f32> {
    let of = |i: usize| {
        let x = (i as f32 * 1.7 + seed).sin();
        if i.is_multiple_of(11) { x * 1e-5 } else { x }
    };
    (0..count).map(of).collect()
}

/// A weight on a device, and the numbers that it holds.
fn weight(format: &str, [d_output, d_input]: [usize; 2], device: &Device) -> (Weight, Vec<f32>) {
    let values = numbers(d_output * d_input, 0.3);
    let on = |device: &Device| match format {
        "nf4" => {
            let matrix = Matrix::new(d_output, d_input, Weights::F32(&values));
            Weight::Nf4(Nf4::quantize(&matrix, device))
        }
        "q8" | "q4" => {
            let matrix = Matrix::new(d_output, d_input, Weights::F32(&values));
            let format = if format == "q8" {
                BlockFormat::Q8
            } else {
                BlockFormat::Q4
            };
            Weight::quantize(&matrix, format, device)
        }
        _ => {
            let dtype = match format {
                "bf16" => DType::BF16,
                "f16" => DType::F16,
                _ => DType::F32,
            };
            let data = TensorData::new(values.clone(), [d_output, d_input]).convert_dtype(dtype);
            Weight::Float(Param::from_tensor(Tensor::from_data(data, (device, dtype))))
        }
    };
    let cpu = Device::flex();
    let all: Vec<u32> = (0..d_output as u32).collect();
    let held = on(&cpu)
        .rows(&all, &cpu)
        .into_data()
        .try_into_vec()
        .unwrap();
    (on(device), held)
}

/// `x · weightᵀ`, summed in f64.
fn product(x: &[f32], weight: &[f32], d_input: usize) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| {
        let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
        products.sum::<f64>() as f32
    };
    let rows = x.chunks(d_input);
    rows.flat_map(|x| weight.chunks(d_input).map(move |row| dot(x, row)))
        .collect()
}

/// The gradient of the sum of the product's numbers, each times a number of its own.
fn check_gradient(format: &str, x: &Tensor<2>, weight: &Weight, held: &[f32]) {
    let ([rows, d_input], [d_output, _]) = (x.dims(), weight.dims());
    let factors = numbers(rows * d_output, 0.1);
    let columns: Vec<f32> = (0..d_input)
        .flat_map(|column| held.iter().skip(column).step_by(d_input).copied())
        .collect();
    let expected = product(&factors, &columns, d_output);
    let x = x.clone().autodiff().require_grad();
    let y = linear(x.clone(), weight, None);
    let factors = TensorData::new(factors, [rows, d_output]);
    let factors = Tensor::<2>::from_data(factors, &x.device());
    let gradients = (y * factors).sum().backward();
    let found = x.grad(&gradients).unwrap().into_data();
    let found: Vec<f32> = found.try_into_vec().unwrap();
    let what = format!("{format} {:?}, {rows} rows: gradient", weight.dims());
    assert_close(&what, &found, &expected, 2e-3);
}

fn check(format: &str, sizes: [usize; 2], rows: &[usize]) {
    let choice = device();
    let device = choice.resolve().unwrap();
    if !plm::weight_formats(&device).contains(&format) {
        eprintln!("SKIPPED: {choice} does not hold {format}");
        return;
    }
    let [d_output, d_input] = sizes;
    let (weight, held) = weight(format, sizes, &device);
    let ids = [d_output as u32 - 1, 0, d_output as u32 / 2];
    let found: Vec<f32> = weight
        .rows(&ids, &device)
        .into_data()
        .try_into_vec()
        .unwrap();
    let expected = ids
        .map(|id| &held[id as usize * d_input..][..d_input])
        .concat();
    assert_eq!(found, expected, "{format} {sizes:?}: rows");
    for &rows in rows {
        let x = numbers(rows * d_input, 0.9);
        let expected = product(&x, &held, d_input);
        let x = Tensor::<2>::from_data(TensorData::new(x, [rows, d_input]), &device);
        // Each shape of burn's products is tuned, which takes long on a driver for CPUs.
        if rows > 32 {
            check_gradient(format, &x, &weight, &held);
        }
        let found = linear(x, &weight, None).into_data().try_into_vec().unwrap();
        // With blocks, the CPU rounds activations to 16 bits.
        assert_close(
            &format!("{format} {sizes:?}, {rows} rows"),
            &found,
            &expected,
            2e-3,
        );
    }
}

/// Numbers of rows for the kernels of few rows, with and without rows to spare, and for burn's products.
const ROWS: [usize; 5] = [1, 3, 8, 19, 40];

#[test]
fn halves_are_multiplied_as_they_are() {
    for format in ["bf16", "f16"] {
        check(format, [37, 160], &ROWS);
        check(format, [6, 1028], &[1]);
    }
}

#[test]
fn blocks_are_multiplied_as_they_are() {
    for format in ["q8", "q4"] {
        check(format, [37, 160], &ROWS);
        // A last block that is not whole, and an odd number of scales.
        check(format, [7, 90], &[1]);
        check(format, [6, 1024], &[1]);
    }
}

#[test]
fn nf4_is_widened() {
    check("nf4", [37, 160], &ROWS[3..]);
    // Blocks of scales that end within rows.
    check("nf4", [37, 132], &[1]);
}

#[test]
fn narrow_halves_are_widened() {
    if device() == plm::DeviceChoice::Flex {
        check("bf16", [5, 7], &[1, 3]);
    }
    check("f32", [5, 7], &[1, 3]);
}
