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

/// How many files are looked at in one call. It takes about a millisecond of one thread, beside which the way to that thread
/// counts for little.
pub(super) const BATCH: usize = 128;

/// How many batches are read at the same time: enough for the cores of a small machine, and threads are left to others.
const CONCURRENT_BATCHES: usize = 4;

/// The longest file that is read as one of a batch, in bytes: nearly all manifests, configs and records. All batches
/// together hold 32 MiB at most.
pub(super) const MAX_IN_BATCH: u64 = 64 << 10;

/// The results of all batches, joined; the first error ends them.
pub(super) async fn in_batches<T>(
    batches: impl Iterator<Item = impl Future<Output = Result<Vec<T>, Error>>>,
) -> Result<Vec<T>, Error> {
    let batches: Vec<_> = batches.collect();
    stream::iter(batches).buffered(CONCURRENT_BATCHES).try_concat().await
}

/// Waits for all writes, also where one fails: what was begun is over then. The first error of them.
pub(super) async fn all_written(
    writes: impl Iterator<Item = impl Future<Output = Result<(), Error>>>,
) -> Result<(), Error> {
    let writes: Vec<_> = writes.collect();
    let written: Vec<_> = stream::iter(writes).buffered(CONCURRENT_WRITES).collect().await;
    written.into_iter().collect()
}
