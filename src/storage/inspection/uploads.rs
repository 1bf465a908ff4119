//! Uploads that nobody goes on with.

use jiff::SignedDuration;

use crate::oci::RepositoryName;
use crate::storage::{Error, UploadId, layout::PathSpec};

use super::{Finding, FindingKind, Inspection, Treatment};

impl Inspection {
    pub(super) async fn uploads(&self, name: &RepositoryName) -> Result<(), Error> {
        for text in self.store.names(PathSpec::Uploads(name)).await? {
            if let Ok(id) = text.parse() {
                self.upload(name, &id).await?;
            }
        }
        Ok(())
    }

    async fn upload(&self, name: &RepositoryName, id: &UploadId) -> Result<(), Error> {
        let store = &self.store;
        let written = store.age(PathSpec::UploadData(name, id)).await?;
        let begun = store.age(PathSpec::UploadStartedAt(name, id)).await?;
        // What has neither cannot be told from what begins just now.
        let Some(last) = written.max(begun) else { return Ok(()) };
        let limit = SignedDuration::try_from(self.abandoned_after).unwrap_or(SignedDuration::MAX);
        if store.clock.now().duration_since(last) <= limit {
            return Ok(());
        }
        let finding = Finding::new(FindingKind::AbandonedUpload, PathSpec::UploadFolder(name, id).path()).of(name);
        let finding = finding.saying(format!("nothing came since {last:.0}"));
        if !self.is_repairing() {
            self.report(finding, Treatment::Reported).await;
            return Ok(());
        }
        match self.as_repository(name).purge_upload(id).await {
            Ok(true) => self.report(finding, Treatment::Repaired).await,
            // Somebody goes on with it, or has ended it.
            Ok(false) | Err(Error::UploadBusy { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
