//! What a scrub leaves in a store that several processes serve, so that each of them can tell of it.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::warn;
use ulid::Ulid;

use crate::api::wire::{FindingView, ScrubState, ScrubStatus};
use crate::storage::Catalog;
use crate::storage::driver::PathComponent;

use super::Error;

/// How far a scrub is, and a sign of life of the process that is at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sign {
    /// Another number with each sign.
    pub(super) beat: u64,
    /// How far it is.
    pub(super) status: ScrubStatus,
}

impl Sign {
    pub(super) fn is_running(&self) -> bool {
        self.status.state == ScrubState::Running
    }
}

/// The scrubs that are noted in a store.
#[derive(Debug)]
pub(super) struct Records(Catalog);

impl Records {
    /// Those of a store that other processes serve, too. Where there is one process only, it remembers by itself, and
    /// looking changes nothing.
    pub(super) fn of(catalog: &Catalog) -> Option<Self> {
        catalog.is_shared().then(|| Self(catalog.clone()))
    }

    /// Notes how far a scrub is.
    pub(super) async fn put(&self, id: Ulid, sign: &Sign) -> Result<(), Error> {
        self.write(id, "status", sign).await
    }

    /// Notes what a scrub found.
    pub(super) async fn put_findings(&self, id: Ulid, findings: &[FindingView]) -> Result<(), Error> {
        self.write(id, "findings", findings).await
    }

    /// How far a scrub is; `None` where that is not noted, or cannot be understood.
    pub(super) async fn get(&self, id: Ulid) -> Result<Option<Sign>, Error> {
        self.read(id, "status").await
    }

    /// What a scrub found that has ended.
    pub(super) async fn findings(&self, id: Ulid) -> Result<Vec<FindingView>, Error> {
        Ok(self.read(id, "findings").await?.unwrap_or_default())
    }

    /// All scrubs that are noted.
    pub(super) async fn all(&self) -> Result<Vec<(Ulid, Sign)>, Error> {
        let ids = self.0.scrubs().await.map_err(|source| Error::Storage { action: "list the scrubs", source })?;
        let mut all = Vec::new();
        for id in ids {
            all.extend(self.get(id).await?.map(|sign| (id, sign)));
        }
        Ok(all)
    }

    /// Forgets a scrub.
    pub(super) async fn remove(&self, id: Ulid) -> Result<(), Error> {
        let removed = self.0.remove_scrub(id).await;
        removed.map_err(|source| Error::Storage { action: "remove a scrub's records", source })
    }

    async fn write<T: Serialize + ?Sized>(&self, id: Ulid, record: &str, content: &T) -> Result<(), Error> {
        let text = serde_json::to_vec(content).unwrap_or_default();
        let written = self.0.put_scrub(id, &component(record), text.into()).await;
        written.map_err(|source| Error::Storage { action: "write a scrub's record", source })
    }

    async fn read<T: DeserializeOwned>(&self, id: Ulid, record: &str) -> Result<Option<T>, Error> {
        let content = self.0.scrub(id, &component(record)).await;
        let content = content.map_err(|source| Error::Storage { action: "read a scrub's record", source })?;
        Ok(content.and_then(|content| match serde_json::from_slice(&content) {
            Ok(read) => Some(read),
            Err(error) => {
                warn!(scrub = %id, error = &error as &dyn std::error::Error, "passing over a scrub's record");
                None
            }
        }))
    }
}

#[expect(clippy::expect_used, reason = "the names are constants without a slash")]
fn component(record: &str) -> PathComponent {
    record.parse().expect("a record's name is a file's name")
}
