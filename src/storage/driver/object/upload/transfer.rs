//! Copies from one key to another.

use std::ops::Range;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, future::ready, stream};
use tracing::warn;

use crate::storage::driver::{Error, StoragePath, object::fault::broken};

use super::{
    StagedObject,
    state::{Marker, in_folder, new_name},
};

/// How many parts the store copies at the same time. At 50 to 100 MiB/s for each, which is what a copy does on S3, six
/// gibibytes are there in some ten seconds.
const COPIED_AT_ONCE: usize = 16;

/// How many parts pass through this process at the same time, as far as the budget goes.
const STREAMED_AT_ONCE: usize = 4;

impl StagedObject {
    /// Copies what was sealed. The store does it itself, in parts where it can; where it cannot, and it is more than the
    /// store copies in one request, through this process.
    pub(super) async fn transfer(&self, from: &StoragePath, to: &StoragePath) -> Result<(), Error> {
        let (length, sizes) = (self.state.sent_bytes(), &self.shared.sizes);
        let has_parts = self.bucket().copies_parts() && length > sizes.copied_part(length).saturating_mul(2);
        if length <= sizes.longest_copy && !has_parts {
            self.bucket().copy(from, to).await?;
        } else {
            self.in_parts(from, to, length).await?;
        }
        self.check_size(to, length).await
    }

    async fn in_parts(&self, from: &StoragePath, to: &StoragePath, length: u64) -> Result<(), Error> {
        let id = self.bucket().begin_parts(to).await?;
        let name = format!("copies/{}", new_name());
        let marker = Marker { path: to.to_string(), id: id.clone() };
        let path = in_folder(&self.at, &name)?;
        let marker = serde_json::to_vec(&marker).map_err(|error| broken("write", &path, error.to_string()))?;
        self.bucket().put(&path, marker).await?;
        let sent = match self.copy_ranges(from, to, &id, length).await? {
            Some(sent) => sent,
            None => self.send_ranges(from, to, &id, length).await?,
        };
        self.bucket().join_parts(to, &id, &sent).await?;
        self.remove_quietly(&name).await;
        Ok(())
    }

    /// Has the store copy all parts; `None` where it cannot, which the first one tells.
    async fn copy_ranges(
        &self,
        from: &StoragePath,
        to: &StoragePath,
        id: &str,
        length: u64,
    ) -> Result<Option<Vec<String>>, Error> {
        let size = self.shared.sizes.copied_part(length);
        let mut ranges = ranges(length, |_| Some(size)).collect::<Vec<_>>().into_iter();
        let Some(range) = ranges.next() else { return Ok(None) };
        let first = match self.bucket().copy_part((from, range), to, id, 0).await {
            Ok(Some(first)) => first,
            Ok(None) => return Ok(None),
            // There are stores that know no such request, and stores whose rules do not allow it.
            Err(error @ (Error::Io { .. } | Error::Rejected { .. } | Error::Denied { .. })) => {
                let error = &error as &dyn std::error::Error;
                warn!(path = %from, error, "the store does not copy in parts: a blob is read and written again");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let copies = (1..).zip(ranges).map(|(number, range)| async move {
            let copied = self.bucket().copy_part((from, range), to, id, number).await?;
            copied.ok_or_else(|| broken("copy", from, "it is not copied in parts any more"))
        });
        let copies: Vec<_> = copies.collect();
        let rest = stream::iter(copies).buffered(COPIED_AT_ONCE);
        stream::once(ready(Ok(first))).chain(rest).try_collect().await.map(Some)
    }

    /// Reads and writes all parts, each with its share of the budget, which is held by nobody who waits.
    async fn send_ranges(
        &self,
        from: &StoragePath,
        to: &StoragePath,
        id: &String,
        length: u64,
    ) -> Result<Vec<String>, Error> {
        let sizes = self.shared.sizes;
        let ranges: Vec<_> = ranges(length, |number| sizes.part(number).map(|size| size as u64)).collect();
        if ranges.last().is_none_or(|last| last.end < length) {
            return Err(broken("copy", from, "it has as many parts as there can be"));
        }
        let parts = ranges.into_iter().enumerate().map(|(number, range)| async move {
            let size = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let _reservation = self.shared.budget.wait(size).await;
            let chunks: Vec<Bytes> = self.bucket().read(from, range).await?.try_collect().await?;
            self.bucket().put_part(to, id, number, chunks.into_iter().collect()).await
        });
        let parts: Vec<_> = parts.collect();
        stream::iter(parts).buffered(STREAMED_AT_ONCE).try_collect().await
    }
}

/// The ranges of an object of this length whose parts have these sizes, up to the part that has none.
fn ranges(length: u64, size: impl Fn(usize) -> Option<u64>) -> impl Iterator<Item = Range<u64>> {
    (0..)
        .scan(0, move |at, number| {
            let start = *at;
            let end = length.min(start + size(number)?);
            *at = end;
            (start < end).then_some(start..end)
        })
        .fuse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_an_object_in_order() {
        let found: Vec<_> = ranges(10, |number| [Some(4), Some(4), Some(8)].get(number).copied().flatten()).collect();
        assert_eq!(found, [0..4, 4..8, 8..10]);
        assert_eq!(ranges(10, |number| (number < 2).then_some(4)).last(), Some(4..8));
        assert_eq!(ranges(0, |_| Some(4)).count(), 0);
    }
}
