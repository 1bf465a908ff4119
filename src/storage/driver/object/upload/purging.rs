//! Removing uploads that nobody uses.
//!
//! Nobody can ask a store to remove something unless it changed. So whoever removes an upload first writes that down
//! (`purging/`), and then looks once more when it was used last. Whoever goes on with an upload, on any replica, looks
//! whether it is alive after it has written its first object there. One of the two sees the other (docs/protocol.md,
//! assumption A1), and perhaps both do: then the upload goes, and its client is told so before any of its new bytes is
//! acknowledged. A mark stays until everything else is gone, or until the one that wrote it, and no other, takes it
//! back; so an upload whose removal was interrupted is never used again, and the next purge removes it.

use std::time::Duration;

use jiff::Timestamp;

use crate::storage::driver::{Error, Purge, StagedFile as _, Staging, object::listing::Listed};

use super::{
    Arc, Shared, StagedObject,
    state::{Folder, PURGING, State, in_folder, new_name},
};

/// How long an upload that bytes arrive for may be without a trace of it in the store. Half an hour: far less than the
/// day that nobody must have used an upload for before it may be removed, and more than most uploads take.
const LONGEST_SILENCE: Duration = Duration::from_secs(30 * 60);

impl StagedObject {
    pub(in crate::storage::driver::object) async fn last_use(
        shared: &Shared,
        at: &Staging,
    ) -> Result<Timestamp, Error> {
        let found = shared.bucket.aged_tree(&at.folder).await?;
        match Use::of(&found) {
            Use::Last(last) => Ok(last),
            Use::Unknown => Ok(Timestamp::MAX),
            Use::None => Err(Error::NotFound { path: at.folder.clone() }),
        }
    }

    pub(in crate::storage::driver::object) async fn purge(
        shared: &Arc<Shared>,
        at: &Staging,
        unused_since: Timestamp,
    ) -> Result<Purge, Error> {
        let found = shared.bucket.aged_tree(&at.folder).await?;
        if found.is_empty() {
            return Ok(Purge::Absent);
        }
        if !Use::of(&found).ended_before(unused_since) {
            return Ok(Purge::InUse);
        }
        let mark = in_folder(at, &format!("{PURGING}{}", new_name()))?;
        shared.bucket.put(&mark, "").await?;
        let found = shared.bucket.aged_tree(&at.folder).await?;
        if !Use::of(&found).ended_before(unused_since) {
            shared.remove_all(vec![mark]).await?;
            return Ok(Purge::InUse);
        }
        let folder = Folder { names: found.into_iter().map(|listed| listed.key).collect() };
        let staged = Self::from_folder(Arc::clone(shared), at, &folder).await;
        let mut staged = match staged {
            Ok(staged) => staged,
            Err(
                error
                @ (Error::Unavailable { .. } | Error::Busy { .. } | Error::Rejected { .. } | Error::Denied { .. }),
            ) => return Err(error),
            // It is damaged. What it says of its parts is in other objects, too.
            Err(_) => Self::new(Arc::clone(shared), at, State::nothing(), None),
        };
        staged.discard().await.map(|()| Purge::Removed)
    }

    /// Looks, when this value has written its first object, whether the upload is still alive. If it is not, what was
    /// written goes as well.
    pub(super) async fn confirm(&mut self) -> Result<(), Error> {
        self.wrote = super::Instant::now();
        if self.is_in_use {
            return Ok(());
        }
        let folder = Folder { names: self.bucket().tree(&self.at.folder).await? };
        if !folder.is_alive(&self.at) {
            self.discard().await?;
            return Err(Error::NotFound { path: self.at.folder.clone() });
        }
        self.is_in_use = true;
        Ok(())
    }

    /// Leaves a trace of an upload that is slow.
    pub(super) async fn keep_alive(&mut self) -> Result<(), Error> {
        if self.wrote.elapsed() < LONGEST_SILENCE { Ok(()) } else { self.put_aside().await }
    }
}

/// What the ages of objects say of an upload.
enum Use {
    /// There is nothing, but perhaps marks.
    None,
    /// When something was written last, apart from marks.
    Last(Timestamp),
    /// It cannot be known.
    Unknown,
}

impl Use {
    fn of(found: &[Listed]) -> Self {
        let mut last = Self::None;
        for listed in found.iter().filter(|listed| !listed.key.starts_with(PURGING)) {
            last = match (last, listed.modified) {
                (Self::Last(last), Some(modified)) => Self::Last(last.max(modified)),
                (Self::None, Some(modified)) => Self::Last(modified),
                (Self::Unknown, _) | (_, None) => return Self::Unknown,
            };
        }
        last
    }

    fn ended_before(&self, time: Timestamp) -> bool {
        match self {
            Self::None => true,
            Self::Last(last) => *last <= time,
            Self::Unknown => false,
        }
    }
}
