//! The keys by which replicas know of each other.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::storage::{Error, driver::Durability, layout::PathSpec, records::record::Lenient, store::Store};

/// A replica's sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::storage) struct Registration {
    /// Where its control listener is: host and port.
    pub(in crate::storage) address: String,
    /// How often it was written; another number is another sign.
    pub(in crate::storage) beat: u64,
    /// What its wall clock showed when it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::storage) sent_at: Option<Timestamp>,
}

/// How many beats a sign of life may have been on its way, or be followed by another while it is looked at.
const BEATS_LATE: u32 = 2;

impl Store {
    pub(super) async fn put_registration(&self, id: Ulid, registration: &Registration) -> Result<(), Error> {
        self.put_record(PathSpec::Replica(id), registration, Durability::Visible).await
    }

    pub(super) async fn registration(&self, id: Ulid) -> Result<Lenient<Registration>, Error> {
        self.lenient_record(PathSpec::Replica(id)).await
    }

    /// The replicas that have a key, in the order of their ids.
    pub(super) async fn replica_ids(&self) -> Result<Vec<Ulid>, Error> {
        self.ids_in(PathSpec::Replicas).await
    }

    /// Says that a replica could not be reached: it loses its lease when it sees that.
    pub(in crate::storage) async fn evict(&self, id: Ulid) -> Result<(), Error> {
        self.put_record(PathSpec::Evicted(id), &(), Durability::Visible).await
    }

    pub(super) async fn is_evicted(&self, id: Ulid) -> Result<bool, Error> {
        Ok(self.age(PathSpec::Evicted(id)).await?.is_some())
    }

    /// The ULIDs among the names in a folder, in order.
    pub(in crate::storage) async fn ids_in(&self, folder: PathSpec<'_>) -> Result<Vec<Ulid>, Error> {
        let names = self.names(folder).await?;
        let mut ids: Vec<Ulid> = names.iter().filter_map(|name| Ulid::from_string(name).ok()).collect();
        ids.sort_unstable();
        Ok(ids)
    }
}

impl Store {
    /// A replica whose wall clock differs from the store's by more than `allowed`: its address, and by how much the
    /// store's is ahead.
    pub(in crate::storage) async fn replica_off_time(
        &self,
        allowed: Duration,
    ) -> Result<Option<(String, SignedDuration)>, Error> {
        let bound = SignedDuration::try_from(allowed + self.timing.beat * BEATS_LATE).unwrap_or(SignedDuration::MAX);
        for id in self.replica_ids().await? {
            let Some(Registration { address, sent_at: Some(sent_at), .. }) = self.registration(id).await?.read() else {
                continue;
            };
            let Some(arrived_at) = self.age(PathSpec::Replica(id)).await? else { continue };
            let ahead = arrived_at.duration_since(sent_at);
            if ahead.abs() > bound {
                return Ok(Some((address, ahead)));
            }
        }
        Ok(None)
    }

    /// The replicas that were evicted and not cleaned up.
    pub(super) async fn evicted_ids(&self) -> Result<Vec<Ulid>, Error> {
        self.ids_in(PathSpec::Evictions).await
    }

    /// Removes what is left of a replica that is gone, or of this one when it leaves.
    pub(super) async fn remove_registration(&self, id: Ulid) -> Result<(), Error> {
        self.remove_record(PathSpec::Replica(id)).await?;
        self.remove_record(PathSpec::Evicted(id)).await.map(drop)
    }
}
