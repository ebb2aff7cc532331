use crate::error::Error;

/// Limits the threads that compute; without a number, one a core.
pub(crate) fn limit(count: Option<u16>) -> Result<(), Error> {
    let Some(count) = count else {
        return Ok(());
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(usize::from(count))
        .build_global()
        .map_err(|source| Error::Threads { count, source })
}
