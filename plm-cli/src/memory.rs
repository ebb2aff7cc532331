/// The most memory that this process has had resident so far, where the system tells.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    if cfg!(target_os = "linux") {
        parse(&std::fs::read_to_string("/proc/self/status").ok()?)
    } else {
        None
    }
}

fn parse(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read_in_bytes() {
        assert_eq!(parse("Name:\tplm\nVmHWM:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(parse("Name:\tplm\n"), None);
        assert_eq!(peak_rss_bytes().is_some(), cfg!(target_os = "linux"));
    }
}
