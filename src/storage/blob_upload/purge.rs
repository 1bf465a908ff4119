//! Uploads that nobody goes on with.

use jiff::Timestamp;

use crate::storage::{Error, Page, Repository, UploadId, driver, layout::PathSpec};

/// An upload in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadEntry {
    /// Its name.
    pub id: UploadId,
    /// When it began; `None` where that cannot be known, and whoever looks for old ones leaves it alone.
    pub started_at: Option<Timestamp>,
}

impl Repository {
    /// At most `limit` uploads in progress, after `after`, in the order of their names.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn uploads(&self, after: Option<&UploadId>, limit: usize) -> Result<Page<UploadEntry>, Error> {
        let folder = PathSpec::Uploads(&self.name).path();
        let listed = self.store.driver.list(&folder, after.map(UploadId::as_str), limit.saturating_add(1)).await;
        let mut names = match listed {
            Ok(entries) => entries,
            Err(driver::Error::NotFound { .. }) => Vec::new(),
            Err(source) => return Err(Error::driver("list uploads", source)),
        };
        let more = names.len() > limit;
        names.truncate(limit);
        let mut entries = Vec::new();
        for id in names.into_iter().filter_map(|entry| entry.name.parse().ok()) {
            let started_at = self.upload_started_at(&id).await?;
            entries.push(UploadEntry { id, started_at });
        }
        Ok(Page { entries, more })
    }

    /// When an upload began: what was written then, or else when that was written.
    async fn upload_started_at(&self, id: &UploadId) -> Result<Option<Timestamp>, Error> {
        let path = PathSpec::UploadStartedAt(&self.name, id).path();
        let told = match self.store.driver.get(&path).await {
            Ok(text) => std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()),
            Err(driver::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(Error::driver("look at an upload", source)),
        };
        match told {
            Some(told) => Ok(Some(told)),
            None => Ok(self.store.driver.stat(&path).await.ok().map(|metadata| metadata.modified)),
        }
    }

    /// Removes an upload with all that belongs to it, also one that is damaged; whether there was one. One that
    /// somebody writes to in this process is [`Error::UploadBusy`].
    ///
    /// # Errors
    /// [`Error::UploadBusy`], [`Error::Driver`].
    pub async fn purge_upload(&self, id: &UploadId) -> Result<bool, Error> {
        match self.cancel_upload(id).await {
            Ok(()) => Ok(true),
            Err(Error::UploadUnknown { .. }) => {
                let folder = PathSpec::UploadFolder(&self.name, id).path();
                let was_there = self.store.driver.list(&folder, None, 1).await.is_ok();
                let removed = self.store.driver.delete_directory(&folder).await;
                removed.map_err(|source| Error::driver("remove an upload", source))?;
                Ok(was_there)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use crate::storage::fixtures::World;

    use super::*;

    #[tokio::test]
    async fn uploads_are_listed_with_their_age_and_purged_one_by_one() {
        let world = World::new();
        let repository = world.repository("a").await;
        assert_eq!(repository.uploads(None, 10).await.unwrap().entries, []);
        let mut began = Vec::new();
        for _ in 0..3 {
            let mut upload = repository.create_upload().await.unwrap();
            upload.append(Bytes::from("some")).await.unwrap();
            let id = upload.id().clone();
            upload.suspend().await.unwrap();
            began.push((id, Some(crate::storage::Clock::now(&*world.clock))));
            world.clock.advance(Duration::from_secs(60));
        }
        began.sort();
        let first = repository.uploads(None, 2).await.unwrap();
        assert!(first.more);
        let rest = repository.uploads(Some(&first.entries[1].id), 2).await.unwrap();
        assert!(!rest.more);
        let listed = first.entries.into_iter().chain(rest.entries).map(|entry| (entry.id, entry.started_at));
        assert_eq!(listed.collect::<Vec<_>>(), began);
        let damaged = &began[0].0;
        world.memory.remove_now(&PathSpec::UploadData(repository.name(), damaged).path());
        world.memory.remove_now(&PathSpec::UploadStartedAt(repository.name(), damaged).path());
        assert_eq!(repository.uploads(None, 1).await.unwrap().entries[0].started_at, None);
        for (id, _) in &began {
            assert!(repository.purge_upload(id).await.unwrap());
            assert!(!repository.purge_upload(id).await.unwrap());
        }
        assert_eq!(world.memory.paths(), []);
    }
}
