//! The greatest of many logits on a device, against the CPU's.

use plm::burn::tensor::{Device, Tensor, TensorData};
use plm_linear::greatest;

use crate::reference_data::*;

/// What stands in a row, and where, beside numbers below 0; and what is found.
type Row = (&'static [(usize, f32)], Option<u32>);

#[test]
fn the_first_of_the_greatest_is_found_among_many() {
    const WIDTH: usize = 5003;
    const LOW: f32 = f32::NEG_INFINITY;
    let rows: [Row; 11] = [
        (&[(0, 0.5)], Some(0)),
        (&[(44, 0.0), (WIDTH - 1, 1e-40)], Some(WIDTH as u32 - 1)),
        (&[(44, -1e-40), (45, -0.0)], Some(45)),
        // Of a GPU, the same unit looks at 44 and 812, others at the rest, other cubes at what is far.
        (&[(812, 2.0), (300, 2.0), (44, 1.0), (256, 2.0)], Some(256)),
        (&[(513, 0.0), (300, -0.0), (400, LOW)], Some(300)),
        (&[(4700, 3.0), (2300, 3.0), (9, 1.0)], Some(2300)),
        (&[(4999, f32::INFINITY), (3, 1.0)], None),
        (&[(500, f32::NAN)], None),
        (&[(500, -f32::NAN), (3, 1.0)], None),
        (&[(17, -0.25)], Some(17)),
        (&[], None),
    ];
    let mut values = Vec::new();
    for (placed, found) in &rows {
        let start = values.len();
        let filled = if placed.is_empty() { LOW } else { -1.0 };
        values.extend((0..WIDTH).map(|i| filled - (i % 7) as f32));
        for &(at, value) in *placed {
            values[start + at] = value;
        }
        let row = TensorData::new(values[start..].to_vec(), [1, WIDTH]);
        let row = Tensor::<2>::from_data(row, &Device::flex());
        assert_eq!(greatest(row).unwrap(), [*found], "{placed:?} on the CPU");
    }
    let device = device().resolve().unwrap();
    let x = TensorData::new(values, [rows.len(), WIDTH]);
    let found = greatest(Tensor::<2>::from_data(x, &device));
    assert_eq!(found.unwrap(), rows.map(|(_, found)| found));
}
