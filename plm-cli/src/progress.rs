use std::io::{IsTerminal, stderr};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use plm::{Progress, ProgressFn};

/// All bars, so that they do not write over each other; invisible unless standard error is a
/// terminal.
static BARS: LazyLock<MultiProgress> = LazyLock::new(|| {
    let target = if stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    MultiProgress::with_draw_target(target)
});

/// Shows what a model is doing, one bar for each stage while it lasts.
pub(crate) fn of_model() -> ProgressFn {
    let current: Mutex<Option<ProgressBar>> = Mutex::new(None);
    Arc::new(move |progress| {
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, total) = match progress {
            Progress::Loading { bytes, total_bytes } => (bytes, total_bytes),
            Progress::Encoding { tiles, total_tiles } => (tiles as u64, total_tiles as u64),
            Progress::Reading {
                tokens,
                total_tokens,
            } => (tokens as u64, total_tokens as u64),
        };
        let bar = current.get_or_insert_with(|| match progress {
            Progress::Loading { .. } => bytes("loading"),
            Progress::Encoding { .. } => count("encoding tiles", total as usize),
            Progress::Reading { .. } => count("reading tokens", total as usize),
        });
        bar.set_length(total);
        bar.set_position(done);
        if done >= total {
            bar.finish_and_clear();
            *current = None;
        }
    })
}

/// Shows how many bytes of a checkpoint are done.
pub(crate) fn of_bytes(what: &str) -> ProgressFn {
    let bar = bytes(what);
    Arc::new(move |progress| {
        if let Progress::Loading {
            bytes: done,
            total_bytes,
        } = progress
        {
            bar.set_length(total_bytes);
            bar.set_position(done);
            if done >= total_bytes {
                bar.finish_and_clear();
            }
        }
    })
}

/// A bar that counts bytes.
pub(crate) fn bytes(what: &str) -> ProgressBar {
    bar(
        "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}",
        what,
    )
}

/// A bar that counts things.
pub(crate) fn count(what: &str, total: usize) -> ProgressBar {
    let bar = bar("{msg} {wide_bar} {pos}/{len}", what);
    bar.set_length(total as u64);
    bar
}

/// A sign that something is going on.
pub(crate) fn busy(what: &str) -> ProgressBar {
    let bar = bar("{spinner} {msg} {elapsed}", what);
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}

fn bar(template: &str, what: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    BARS.add(ProgressBar::new(0))
        .with_style(style)
        .with_message(what.to_owned())
}
