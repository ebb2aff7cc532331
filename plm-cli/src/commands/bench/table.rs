use std::fmt::Write;

use super::Report;

/// The report as text: a line a figure, with its share of what the machine can do.
pub(crate) fn of(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "{}, {} threads: reads {:.1} GB/s, multiplies matrices at {:.0} GFLOP/s \
         ({:.0} in registers)\n{}\n",
        machine.instructions,
        machine.threads,
        machine.read_bytes_per_s / 1e9,
        machine.matrix_flops / 1e9,
        machine.arithmetic_flops / 1e9,
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
            Some(work.flops as f64 / work.seconds / machine.matrix_flops)
        };
        let vision = &figures.vision;
        line(
            "vision, a tile",
            milliseconds(vision.seconds),
            share(vision),
        );
        for work in &figures.prefill {
            let name = format!("prefill, {} tokens", work.count);
            line(&name, milliseconds(work.seconds), share(work));
        }
        for decode in &figures.decode {
            let name = format!("decode after {} tokens", decode.context);
            let read = decode.tokens_per_s * decode.bytes_per_token as f64;
            let value = format!("{:.2} tok/s", decode.tokens_per_s);
            line(&name, value, Some(read / machine.read_bytes_per_s));
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
            line("peak memory", gigabytes(peak), None);
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
