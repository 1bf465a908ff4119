//! Ending the collections of dead replicas. A sweep that another one began is never gone on with.

use std::sync::Arc;

use tracing::{info, warn};
use ulid::Ulid;

use crate::storage::{Error, store::Store};

use super::epochs::OpenEpochs;

impl Store {
    /// Ends the collections of replicas that have been gone for so long that none of their removals can land any more, and
    /// those of this process that nobody runs.
    pub(super) async fn end_collections_of_the_dead(self: &Arc<Self>, epochs: &OpenEpochs) {
        for (epoch, collector) in epochs.all() {
            match self.is_orphaned(epoch, collector).await {
                Ok(false) => {}
                Ok(true) => self.end_collection_of(epoch, collector).await,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(%epoch, error, "could not tell for how long a collector has been gone");
                }
            }
        }
    }

    async fn end_collection_of(self: &Arc<Self>, epoch: Ulid, collector: Option<Ulid>) {
        match self.end_collection(epoch).await {
            Ok(()) => {
                info!(%epoch, "ended the collection of a replica that is gone");
                self.forget_gone(collector).await;
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(%epoch, error, "could not end the collection of a replica that is gone");
            }
        }
    }

    async fn end_collection(self: &Arc<Self>, epoch: Ulid) -> Result<(), Error> {
        let store = self.for_change()?;
        for batch in store.open_epochs().await?.sealed_of(epoch) {
            store.close_batch(epoch, batch).await?;
        }
        store.close_epoch(epoch).await?;
        store.changes.forget_stray(epoch);
        Ok(())
    }
}
