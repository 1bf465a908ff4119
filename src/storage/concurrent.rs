//! Many small reads or writes at once.

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::Error;

/// How many small files are written or removed at the same time: enough that they share their barriers.
const CONCURRENT_WRITES: usize = 64;

/// How many small files are read at the same time: enough to keep a disk's queue filled, and few enough that a reading
/// of a large repository leaves threads to others.
const CONCURRENT_READS: usize = 16;

/// The results of all reads, in their order; the first error ends them.
pub(super) async fn concurrently<T>(
    reads: impl Iterator<Item = impl Future<Output = Result<T, Error>>>,
) -> Result<Vec<T>, Error> {
    // Collected first, because a future that holds the iterator's closures is not known to be `Send`.
    let reads: Vec<_> = reads.collect();
    stream::iter(reads).buffered(CONCURRENT_READS).try_collect().await
}

/// Waits for all writes, also where one fails: what was begun is over then. The first error of them.
pub(super) async fn all_written(
    writes: impl Iterator<Item = impl Future<Output = Result<(), Error>>>,
) -> Result<(), Error> {
    let writes: Vec<_> = writes.collect();
    let written: Vec<_> = stream::iter(writes).buffered(CONCURRENT_WRITES).collect().await;
    written.into_iter().collect()
}
