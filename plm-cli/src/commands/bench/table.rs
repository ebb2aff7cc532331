use std::fmt::Write;

use super::Report;

/// The report as text: a line a figure, with its share of what the device can do.
pub(crate) fn of(report: &Report) -> String {
    let limits = &report.machine;
    let threads = limits.threads.map(|n| format!(", {n} threads"));
    let registers = limits
        .arithmetic_flops
        .map(|flops| format!(" ({:.0} in registers)", flops / 1e9));
    let mut text = format!(
        "{}{}: reads {:.1} GB/s, multiplies matrices at {:.0} GFLOP/s{}\n{}\n",
        limits.name,
        threads.unwrap_or_default(),
        limits.read_bytes_per_s / 1e9,
        limits.matrix_flops / 1e9,
        registers.unwrap_or_default(),
        report.model,
    );
    for figures in &report.formats {
        let mut line = |name: &str, value: String, share: Option<f64>| {
            let share = share.map(|share| format!("{:4.0} %", 100.0 * share));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "  {name:<30}{value:>14}  {}",
                share.unwrap_or_default()
            );
        };
        line(&figures.format, gigabytes(figures.weight_bytes), None);
        line("load", milliseconds(figures.load_s), None);
        let tiles = format!("preprocessing, {} tiles", figures.preprocess_tiles);
        line(&tiles, milliseconds(figures.preprocess_s), None);
        let share = |work: &super::figures::Work| {
            let limit = work.limit_flops.unwrap_or(limits.matrix_flops);
            Some(work.flops as f64 / work.seconds / limit)
        };
        let vision = &figures.vision;
        let name = match vision.count {
            1 => "vision, a tile".to_owned(),
            tiles => format!("vision, {tiles} tiles"),
        };
        line(&name, milliseconds(vision.seconds), share(vision));
        for work in &figures.prefill {
            let name = format!("prefill, {} tokens", work.count);
            line(&name, milliseconds(work.seconds), share(work));
        }
        for decode in &figures.decode {
            let name = format!("decode after {} tokens", decode.context);
            let read = decode.tokens_per_s * decode.bytes_per_token as f64;
            let value = format!("{:.2} tok/s", decode.tokens_per_s);
            let limit = decode.limit_bytes_per_s.unwrap_or(limits.read_bytes_per_s);
            line(&name, value, Some(read / limit));
        }
        let name = format!("decode, batch of {}", figures.batch.sequences);
        line(
            &name,
            format!("{:.2} tok/s", figures.batch.tokens_per_s),
            None,
        );
        line(
            "picture, question, 64 tokens",
            milliseconds(figures.answer_s),
            None,
        );
        let again = figures.second_question_vision_s;
        line("second question, vision", milliseconds(again), None);
        if let Some(peak) = figures.peak_rss_bytes {
            let name = match limits.threads {
                Some(_) => "peak memory",
                None => "peak memory of the host",
            };
            line(name, gigabytes(peak), None);
        }
        if let Some(held) = figures.device_bytes {
            line("memory held on the device", gigabytes(held), None);
        }
    }
    text.truncate(text.trim_end().len());
    text
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.0} ms", 1e3 * seconds)
}
