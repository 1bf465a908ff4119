//! The epoch of the shared cache: what is raised where that cannot be cleared.
//!
//! It is a ULID, greater than every one before it, and part of the key of every entry. Each raise adds a file, and the
//! greatest counts: one file that is written again and again could be set back by two replicas that raise at once.
//!
//! A process looks at the entries of the greatest epoch that it knows. Whoever clears reads the record first and clears
//! there, so that no entry of an epoch that somebody raised, and did not live to tell of, outlives its content.
//!
//! The record says where the store lay when the epoch was raised. In a copy of the store it lies elsewhere, and the first
//! process there begins an epoch of its own: what the original's processes remember is not true of the copy for long.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use ulid::Ulid;

use crate::storage::{Error, driver::Durability, layout::PathSpec, records::record::Lenient, store::Store};

/// What the file of an epoch says, beside its name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CacheEpoch {
    /// For people.
    raised_at: Timestamp,
    /// Where the store lay.
    #[serde(default)]
    place: String,
}

impl Store {
    /// The epoch whose entries this process looks at; `None` without a shared cache. It goes to the other replicas with
    /// each clear.
    pub(in crate::storage) fn cache_epoch(&self) -> Option<Ulid> {
        self.descriptors.redis.as_ref()?.epoch()
    }

    /// Looks at no entry of an earlier epoch any more; whether that is news.
    pub(in crate::storage) fn adopt_epoch(&self, told: Ulid) -> bool {
        self.descriptors.redis.as_ref().is_some_and(|redis| redis.adopt(told))
    }

    /// Adopts the greatest epoch that the store knows, if it knows one. A process that has none yet takes none of a store
    /// that this one was copied from.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn adopt_recorded_epoch(&self) -> Result<(), Error> {
        let Some(greatest) = self.recorded_epoch().await? else { return Ok(()) };
        if self.cache_epoch().is_none() && !self.is_epoch_of_this_store(greatest).await? {
            return self.raise_cache_epoch_after(Some(greatest)).await;
        }
        self.adopt_epoch(greatest);
        Ok(())
    }

    /// The greatest epoch that the store knows, if it knows one.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn recorded_epoch(&self) -> Result<Option<Ulid>, Error> {
        let names = self.names(PathSpec::CacheEpochs).await?;
        let mut epochs: Vec<Ulid> = names.iter().filter_map(|name| Ulid::from_string(name).ok()).collect();
        epochs.sort_unstable();
        let greatest = epochs.pop();
        for outdated in epochs {
            if let Err(error) = self.remove_record(PathSpec::CacheEpoch(outdated)).await {
                warn!(%outdated, error = &error as &dyn std::error::Error, "could not remove an outdated cache epoch");
            }
        }
        Ok(greatest)
    }

    /// Whether an epoch was begun here, and not in a store that this one was copied from.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn is_epoch_of_this_store(&self, epoch: Ulid) -> Result<bool, Error> {
        let Some(redis) = &self.descriptors.redis else { return Ok(true) };
        let record: Lenient<CacheEpoch> = self.lenient_record(PathSpec::CacheEpoch(epoch)).await?;
        Ok(record.read().is_some_and(|record| record.place == redis.place()))
    }

    /// Begins an epoch that nobody has looked at yet; durable when answered.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn raise_cache_epoch(&self) -> Result<(), Error> {
        self.raise_cache_epoch_after(None).await
    }

    /// The same, where the store knows an epoch that was not adopted.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn raise_cache_epoch_after(&self, recorded: Option<Ulid>) -> Result<(), Error> {
        let Some(redis) = &self.descriptors.redis else { return Ok(()) };
        loop {
            let now = self.clock.now();
            let after_known = redis.epoch().max(recorded).map_or(0, |known| known.0.saturating_add(1));
            let next = self.ids.next(now).max(Ulid(after_known));
            let record = CacheEpoch { raised_at: now, place: redis.place().to_owned() };
            self.put_record(PathSpec::CacheEpoch(next), &record, Durability::Durable).await?;
            if redis.adopt(next) {
                info!(epoch = %next, "gave up what the shared cache holds");
                self.options.metrics.cache.epoch_raised();
                return Ok(());
            }
            // A greater one was adopted meanwhile, which may have entries from before the removal.
        }
    }
}
