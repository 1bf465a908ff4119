//! Putting bytes aside that are not what they are stored as.

use futures::TryStreamExt as _;

use crate::oci::Digest;
use crate::storage::{
    Error,
    driver::{StagedFile, StoragePath},
    layout::PathSpec,
    store::Store,
};

use super::Inspection;

impl Inspection {
    /// Copies what is stored under a digest to the quarantine, and then removes it from its place; where it is now.
    /// `held` is the store of whoever holds the digest's freeze.
    pub(super) async fn quarantine(&self, held: &Store, digest: &Digest, size: u64) -> Result<StoragePath, Error> {
        let (store, driver) = (&self.store, &self.store.driver);
        let source = PathSpec::BlobData(digest).path();
        let id = store.ids.next(store.clock.now());
        let target = PathSpec::Quarantined(digest, id).path();
        let failed = |source| Error::driver("put a damaged blob aside", source);
        let started_at = store.clock.now().to_string().into();
        let mut staged = driver.stage(&PathSpec::quarantine_staging(id), started_at).await.map_err(failed)?;
        let copied = self.copy(&source, size, staged.as_mut(), &target).await;
        // What is left of a copy that failed is in nobody's way.
        let discarded = staged.discard().await;
        copied.and(discarded).map_err(failed)?;
        held.remove_file(&source, "remove a damaged blob").await?;
        Ok(target)
    }

    async fn copy(
        &self,
        source: &StoragePath,
        size: u64,
        staged: &mut dyn StagedFile,
        target: &StoragePath,
    ) -> Result<(), crate::storage::driver::Error> {
        if size > 0 {
            let mut content = self.store.driver.read(source, 0..size).await?;
            while let Some(chunk) = content.try_next().await? {
                staged.append(chunk).await?;
            }
        }
        // It is kept for a look, as it is: nobody relies on its digest.
        let _ = staged.seal().await?;
        staged.publish(target).await
    }
}
