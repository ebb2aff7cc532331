//! The 256 numbers that scales are rounded to.

use std::sync::OnceLock;

use super::MAP;

/// The numbers that the bytes of NF4's scales stand for: bitsandbytes' `create_dynamic_map()`, to the
/// last bit.
///
/// Seven powers of ten, each with twice the fractions of the one below, of both signs; zero; and one.
pub fn dynamic_map() -> &'static [f32; MAP] {
    static NUMBERS: OnceLock<[f32; MAP]> = OnceLock::new();
    NUMBERS.get_or_init(|| {
        let mut numbers = vec![0.0, 1.0];
        for exponent in 0..7 {
            let power = 10f64.powi(exponent - 6) as f32;
            let edges = fractions((1 << exponent) + 1);
            for pair in edges.windows(2) {
                let number = power * ((pair[0] + pair[1]) / 2.0);
                numbers.extend([number, -number]);
            }
        }
        numbers.sort_by(f32::total_cmp);
        numbers.try_into().expect("2 · (2⁷ - 1) + 2 numbers")
    })
}

/// `torch.linspace(0.1, 1, count)`, which counts its second half from the end.
fn fractions(count: usize) -> Vec<f32> {
    let (start, end) = (0.1f32, 1.0f32);
    let step = (end - start) / (count - 1) as f32;
    let number = |i: usize| match i < count / 2 {
        true => step.mul_add(i as f32, start),
        false => (-step).mul_add((count - 1 - i) as f32, end),
    };
    (0..count).map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_sorted_and_all_but_the_ends_come_in_both_signs() {
        let map = dynamic_map();
        assert!(map.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!([map[127], map[255]], [0.0, 1.0]);
        (1..128).for_each(|i| assert_eq!(map[127 + i], -map[127 - i]));
    }
}
