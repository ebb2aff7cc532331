use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that counts bytes; invisible unless standard error is a terminal.
pub(crate) fn bytes(what: &str) -> ProgressBar {
    bar(
        "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}",
        what,
    )
}

/// A bar that counts things; invisible unless standard error is a terminal.
pub(crate) fn count(what: &str, total: usize) -> ProgressBar {
    let bar = bar("{msg} {wide_bar} {pos}/{len}", what);
    bar.set_length(total as u64);
    bar
}

/// A sign that something is going on; invisible unless standard error is a terminal.
pub(crate) fn busy(what: &str) -> ProgressBar {
    let bar = bar("{spinner} {msg} {elapsed}", what);
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}

fn bar(template: &str, what: &str) -> ProgressBar {
    let target = if stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(0), target)
        .with_style(style)
        .with_message(what.to_owned())
}
