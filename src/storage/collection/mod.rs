//! Removing the bytes that nothing needs any more, while everybody pushes (docs/protocol.md, *Collection*).
//!
//! ```text
//! Epoch::open    who touches something from here on is remembered          (epoch)
//! mark           which blobs are stored, and which does something need?    (marker, reachable, blob_table, old_links)
//! Epoch::sweep   sealed, frozen at every replica, looked at again, removed (epoch, sweep)
//! Epoch::close   the epoch's markers go
//! clean          expired trash, intents and markers that nobody needs      (clean)
//! ```
//!
//! Whether it may begin, and whether what was marked may go, is for who asks to decide, by what [`gate`] and [`Marked`]
//! say. Nothing is removed before [`Epoch::sweep`].
//!
//! # Guarantees
//! - A blob that something needs is not removed; in doubt it is needed.
//! - A dry run is [`Collection::mark`] alone, which writes nothing.
//! - It may be cut off at any moment. What was removed is; what was sealed is closed by another replica, or by this one.

mod blob_table;
mod clean;
mod epoch;
mod gate;
mod marker;
mod old_links;
mod progress;
mod reachable;
mod sweep;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Catalog, Error, ForeignRevision, metrics::CollectionOutcome, store::Store};

use marker::{Marker, State};
use sweep::Garbage;

pub use epoch::{Epoch, SweepEnd};
pub use progress::{CollectionProblem, CollectionProgress};

/// One collection.
#[derive(Debug)]
pub struct Collection {
    store: Arc<Store>,
    progress: Arc<CollectionProgress>,
}

/// Some blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlobSum {
    /// How many.
    pub blobs: u64,
    /// Their length.
    pub bytes: u64,
}

/// What is stored, and what of it nothing needs.
#[derive(Debug)]
pub struct Marked {
    state: State,
    old_until: Timestamp,
    grace: Duration,
    garbage: BlobSum,
}

impl Collection {
    /// Of a registry; how far it is can be read from `progress`.
    #[must_use]
    pub fn new(catalog: &Catalog, progress: Arc<CollectionProgress>) -> Self {
        catalog.store.options.metrics.collection.began();
        Self { store: Arc::clone(&catalog.store), progress }
    }

    /// Begins an epoch: what is touched from here on stays.
    ///
    /// # Errors
    /// [`Error::NoLease`], [`Error::Driver`].
    pub async fn open_epoch(&self) -> Result<Epoch, Error> {
        self.progress.enter("open");
        Epoch::open(&self.store).await
    }

    /// Looks at everything. What is to be removed afterwards has to be looked at within an epoch.
    ///
    /// # Errors
    /// Where something could not be read, so that it is not known what is needed: [`Error::Driver`], [`Error::Corrupt`].
    pub async fn mark(&self) -> Result<Marked, Error> {
        let marker = Marker::new(&self.store, &self.progress).await?;
        let old_until = marker.old_until;
        let state = marker.run().await?;
        let (blobs, bytes) = (self.progress.garbage_blobs.get(), self.progress.garbage_bytes.get());
        Ok(Marked { state, old_until, grace: self.grace(), garbage: BlobSum { blobs, bytes } })
    }

    /// Counts how it ended.
    pub fn ended(&self, outcome: CollectionOutcome) {
        self.store.options.metrics.collection.ended(outcome, self.store.clock.now());
    }
}

impl Marked {
    /// What would go.
    #[must_use]
    pub fn garbage(&self) -> BlobSum {
        self.garbage
    }

    /// What nothing needs either, and is younger than the grace period; with the moment from which all of it is older.
    #[must_use]
    pub fn young(&self) -> Option<(BlobSum, Timestamp)> {
        let old_from = self.state.youngest?.checked_add(self.grace).unwrap_or(Timestamp::MAX);
        Some((self.state.young, old_from))
    }

    /// How many blobs are stored.
    #[must_use]
    pub fn blobs(&self) -> u64 {
        self.state.table.len() as u64
    }

    /// How many repositories there are, those included that are in the trash as a whole.
    #[must_use]
    pub fn repositories(&self) -> u64 {
        self.state.repositories
    }

    /// How many manifests another registry wrote since the store is served here, and the first of them that was found.
    #[must_use]
    pub fn foreign(&self) -> Option<(u64, &ForeignRevision)> {
        self.state.first_foreign.as_ref().map(|first| (self.state.foreign, first))
    }

    fn old_until(&self) -> Timestamp {
        self.old_until
    }

    /// The next garbage, with at most `limit` addresses, or one blob.
    fn take(&self, from: &mut usize, limit: usize) -> Vec<Garbage> {
        let State { table, old_links, .. } = &self.state;
        let (mut taken, mut addresses) = (Vec::new(), 0);
        while let Some((index, next)) = table.next_unneeded(*from) {
            if let Some(digest) = table.digest(index) {
                let links = old_links.of(index, &digest);
                let garbage = Garbage { digest, links };
                addresses += garbage.addresses().len();
                if addresses > limit && !taken.is_empty() {
                    break;
                }
                taken.push(garbage);
            }
            *from = next;
        }
        taken
    }
}
