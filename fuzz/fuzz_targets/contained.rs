//! Panics that the library contains are no findings.

/// Lets libFuzzer's hook end the process for every panic but those of the H.264 decoder, which
/// the library turns into errors.
pub fn except_the_decoders() {
    let end = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let file = panic.location().map_or("", |location| location.file());
        if !file.contains("/rust_h264-") {
            end(panic);
        }
    }));
}
