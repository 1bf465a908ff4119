//! What is kept of collections in the store: the report of each of the last ones, which is also how other processes know
//! of one that runs.

use serde::{Deserialize, Serialize};
use tracing::warn;
use ulid::Ulid;

use crate::api::v1alpha1::CollectionBrake;
use crate::api::wire::{CollectionState, CollectionStatus};
use crate::storage::{Catalog, Error, driver::Durability};

/// How many reports are kept. With one a night that is a month; each takes some kilobytes, more where much is damaged.
const MAX_KEPT: usize = 30;

/// A collection, as it is noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    /// Another number with each sign of life.
    pub(super) beat: u64,
    /// How far it is, or how it ended.
    pub(super) status: CollectionStatus,
    /// Which brakes somebody let it pass.
    #[serde(default)]
    pub(super) passed: Vec<CollectionBrake>,
    /// How many repositories there were, where it came so far.
    #[serde(default)]
    pub(super) repositories: Option<u64>,
}

impl Record {
    pub(super) fn is_running(&self) -> bool {
        self.status.state == CollectionState::Running
    }
}

/// The collections that are noted in a store.
#[derive(Debug)]
pub(super) struct Records(Catalog);

impl Records {
    pub(super) fn of(catalog: &Catalog) -> Self {
        Self(catalog.clone())
    }

    /// Notes how far a collection is: for others to see.
    pub(super) async fn put(&self, id: Ulid, record: &Record) -> Result<(), Error> {
        self.write(id, record, Durability::Visible).await
    }

    /// Notes how a collection ended: to be kept.
    pub(super) async fn put_end(&self, id: Ulid, record: &Record) -> Result<(), Error> {
        self.write(id, record, Durability::Durable).await
    }

    async fn write(&self, id: Ulid, record: &Record, durability: Durability) -> Result<(), Error> {
        let text = serde_json::to_vec(record).unwrap_or_default();
        self.0.put_collection(id, text.into(), durability).await
    }

    /// A collection; `None` where it is not noted, or what is noted cannot be understood.
    pub(super) async fn get(&self, id: Ulid) -> Result<Option<Record>, Error> {
        let content = self.0.collection(id).await?;
        Ok(content.and_then(|content| match serde_json::from_slice(&content) {
            Ok(record) => Some(record),
            Err(error) => {
                warn!(collection = %id, error = &error as &dyn std::error::Error, "passing over a collection's report");
                None
            }
        }))
    }

    /// All collections that are noted, oldest first.
    pub(super) async fn all(&self) -> Result<Vec<(Ulid, Record)>, Error> {
        let mut all = Vec::new();
        for id in self.0.collections().await? {
            all.extend(self.get(id).await?.map(|record| (id, record)));
        }
        Ok(all)
    }

    /// Forgets a collection.
    pub(super) async fn remove(&self, id: Ulid) -> Result<(), Error> {
        self.0.remove_collection(id).await
    }

    /// Forgets all but the last ones, and the last one that finished: it says how many repositories there were. Dry runs
    /// change nothing, so of those only the last one is of interest.
    pub(super) async fn prune(&self) -> Result<(), Error> {
        let mut all = self.all().await?;
        let last_dry = all.iter().rfind(|(_, record)| record.status.dry_run).map(|(id, _)| *id);
        let is_old_dry = |id: Ulid, record: &Record| record.status.dry_run && Some(id) != last_dry;
        for (id, _) in all.extract_if(.., |(id, record)| is_old_dry(*id, record) && !record.is_running()) {
            self.remove(id).await?;
        }
        let excess = all.len().saturating_sub(MAX_KEPT);
        let is_finished = |record: &Record| record.status.state == CollectionState::Finished && !record.status.dry_run;
        let last_finished = all.iter().rfind(|(_, record)| is_finished(record)).map(|(id, _)| *id);
        for (id, _) in all.into_iter().take(excess).filter(|(id, _)| Some(*id) != last_finished) {
            self.remove(id).await?;
        }
        Ok(())
    }
}
