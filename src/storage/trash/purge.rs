//! Giving up what could be restored.
//!
//! A purge ends an entry's restore window. It erases nothing: the next collection does, once it finds the window over
//! for long enough that no restore still relies on it (docs/protocol.md, *Collection*).

use super::group::TrashGroup;
use crate::storage::{
    DeletionMode, Error, Tombstone, TombstoneId, Trash,
    guard::pending::{Operation, Pending},
    repository::Repository,
};

impl Trash {
    /// Gives an entry up: nobody is shown it any more, and nobody can restore it.
    ///
    /// # Guarantees
    /// A restore that began before is not disturbed: what it relies on stays for as long as it may take.
    ///
    /// # Errors
    /// [`Error::DeletionDisabled`], [`Error::TombstoneUnknown`], [`Error::Frozen`], [`Error::Driver`].
    ///
    /// # Cancel safety
    /// It runs to its end also when it is dropped.
    pub async fn purge(&self, id: &TombstoneId) -> Result<Tombstone, Error> {
        self.refuse_purge_if_disabled()?;
        let (this, id) = (self.for_change()?, *id);
        self.store.changes.run(async move { this.purge_entry(id).await }).await
    }

    /// Gives up all that was deleted together, as far as it is still in the trash; those entries.
    ///
    /// # Errors
    /// [`Error::GroupUnknown`], and as [`Self::purge`]. After an error some of them may be given up; the others are still
    /// there.
    ///
    /// # Cancel safety
    /// It runs to its end also when it is dropped.
    pub async fn purge_group(&self, group: &TrashGroup) -> Result<Vec<Tombstone>, Error> {
        self.refuse_purge_if_disabled()?;
        let (this, group) = (self.clone(), group.clone());
        let purge = async move {
            let mut purged = Vec::new();
            for tombstone in this.store.group(&group).await? {
                match this.for_change()?.purge_entry(tombstone.id).await {
                    Ok(tombstone) => purged.push(tombstone),
                    // Somebody restored or purged it meanwhile.
                    Err(Error::TombstoneUnknown { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(purged)
        };
        self.store.changes.run(purge).await
    }

    fn refuse_purge_if_disabled(&self) -> Result<(), Error> {
        match self.store.options.deletion {
            DeletionMode::Soft => Ok(()),
            DeletionMode::Disabled => Err(Error::DeletionDisabled),
        }
    }

    /// While nobody pushes, restores or deletes it, who would write the entry too.
    async fn purge_entry(&self, id: TombstoneId) -> Result<Tombstone, Error> {
        self.store.settle_parked().await;
        let found = self.entry(&id).await?;
        let repository = Repository { name: found.repository.clone(), store: self.store.clone() };
        let pending = Pending {
            operation: Operation::Inspection,
            repository: Some(repository.name.clone()),
            subject: None,
            manifests: vec![found.digest],
            tags: Vec::new(),
            policy: None,
            replica: None,
            blobs: Vec::new(),
            resumes: None,
        };
        let change = self.store.begin(self.store.ids.next(self.store.clock.now()), pending).await?;
        let purged = async {
            let mut tombstone = self.entry(&id).await?;
            tombstone.restorable_until = self.store.clock.now();
            self.store.put_tombstone(&tombstone).await?;
            self.store.options.metrics.content.purged();
            Ok(tombstone)
        };
        let purged = purged.await;
        self.store.complete(change).await;
        purged
    }
}
