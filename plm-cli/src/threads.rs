use std::num::NonZeroUsize;

use crate::error::Error;

/// Limits the threads that compute; without a number, one a core.
pub(crate) fn limit(count: Option<NonZeroUsize>) -> Result<(), Error> {
    let Some(count) = count else {
        return Ok(());
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(count.get())
        .build_global()
        .map_err(|source| Error::Threads {
            count: count.get(),
            source,
        })
}
