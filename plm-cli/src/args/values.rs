//! What numbers on the command line may be.

pub(super) fn frame_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("a frame rate is a number above 0".to_owned()),
    }
}

/// A number of bytes, with a unit of thousands (`GB`) or of 1024 (`GiB`).
pub(super) fn byte_count(text: &str) -> Result<u64, String> {
    let units = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("", 1),
    ];
    let number = units.iter().find_map(|(unit, bytes)| {
        let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        let count = number * *bytes as f64;
        (1.0..1e18).contains(&count).then_some(count as u64)
    });
    number.ok_or_else(|| "a size is a number of bytes, such as 5GB, 500MB or 2GiB".to_owned())
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(seconds),
        _ => Err("a time is a number of seconds, 0 or above".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_rates_are_above_zero() {
        assert_eq!(frame_rate("0.5"), Ok(0.5));
        for rate in ["0", "-1", "nan", "inf", "", "two"] {
            assert!(frame_rate(rate).is_err(), "{rate}");
        }
    }

    #[test]
    fn times_are_not_before_zero() {
        assert_eq!(seconds("0"), Ok(0.0));
        assert_eq!(seconds("2.5"), Ok(2.5));
        for time in ["-1", "nan", "inf", "", "1:20"] {
            assert!(seconds(time).is_err(), "{time}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(byte_count("5GB"), Ok(5_000_000_000));
        assert_eq!(byte_count("1.5 MiB"), Ok(1_572_864));
        assert_eq!(byte_count("7"), Ok(7));
        for size in ["", "GB", "-1", "0", "1TB", "nan", "1e30"] {
            assert!(byte_count(size).is_err(), "{size}");
        }
    }
}
