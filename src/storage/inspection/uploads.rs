//! Uploads that nobody goes on with.

use jiff::{SignedDuration, Timestamp};

use crate::oci::RepositoryName;
use crate::storage::{Error, UploadId, driver::Purge, layout::PathSpec};

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
        let repository = self.as_repository(name);
        let Some(last) = repository.upload_last_use(id).await? else { return Ok(()) };
        let limit = SignedDuration::try_from(self.abandoned_after).unwrap_or(SignedDuration::MAX);
        let unused_since = self.store.clock.now().saturating_sub(limit).unwrap_or(Timestamp::MIN);
        if last >= unused_since {
            return Ok(());
        }
        let finding = Finding::new(FindingKind::AbandonedUpload, PathSpec::UploadFolder(name, id).path()).of(name);
        let finding = finding.saying(format!("nothing came since {last:.0}"));
        if !self.is_repairing() {
            self.report(finding, Treatment::Reported).await;
            return Ok(());
        }
        match repository.purge_upload(id, unused_since).await {
            Ok(Purge::Removed) => self.report(finding, Treatment::Repaired).await,
            // Somebody goes on with it, or has ended it.
            Ok(Purge::InUse | Purge::Absent) | Err(Error::UploadBusy { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
