//! Making the lists of referrers of a repository complete that another registry wrote, or an earlier version.
//!
//! Whoever pushes or restores a manifest notes it in its subject's list, so a repository's lists are complete from its
//! first manifest on, where that was pushed here; `_built` says so. Without it, every manifest is read once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use moka::sync::Cache;
use tracing::{Instrument as _, info, warn};

use crate::oci::{Algorithm, Digest, RepositoryName};

use crate::storage::{
    Error,
    concurrent::concurrently,
    driver::{self, Durability},
    layout::PathSpec,
    store::Store,
};

/// Of how many repositories it is remembered that they have a manifest.
const REMEMBERED: u64 = 10_000;

/// By subject, the referrers that a reading found and could not note; none where the lists are complete.
pub(in crate::storage) type Unlisted = BTreeMap<Digest, BTreeSet<Digest>>;

type Reading = Shared<BoxFuture<'static, Result<Arc<Unlisted>, Arc<Error>>>>;

/// The readings of repositories that are under way: one at a time of each.
#[derive(Debug)]
pub(in crate::storage) struct ReferrerLists {
    readings: Mutex<HashMap<RepositoryName, Reading>>,
    /// Repositories that do not wait for their first manifest.
    begun: Cache<RepositoryName, ()>,
}

impl Default for ReferrerLists {
    fn default() -> Self {
        Self { readings: Mutex::default(), begun: Cache::new(REMEMBERED) }
    }
}

impl ReferrerLists {
    fn lock(&self) -> MutexGuard<'_, HashMap<RepositoryName, Reading>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reading that is under way, until this is dropped.
struct UnderWay {
    lists: Arc<ReferrerLists>,
    name: RepositoryName,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.lists.lock().remove(&self.name);
    }
}

impl Store {
    /// Makes the lists of a repository complete, where they are not. What could not be noted is the answer, because
    /// nothing can be written, or is to be.
    ///
    /// # Errors
    /// [`Error::Driver`].
    ///
    /// # Cancel safety
    /// A reading that has begun goes on, for whoever asks next.
    pub(in crate::storage) async fn complete_referrers(
        self: &Arc<Self>,
        name: &RepositoryName,
        may_note: bool,
    ) -> Result<Arc<Unlisted>, Error> {
        if self.age(PathSpec::ReferrersBuilt(name)).await?.is_some() {
            return Ok(Arc::default());
        }
        let reading = self.reading_of(name, may_note);
        reading.await.map_err(|error| {
            let path = PathSpec::ReferrersBuilt(name).path();
            let source = driver::Error::Unavailable { action: "complete", path, source: io::Error::other(error) };
            Error::driver("read which manifests refer to which", source)
        })
    }

    fn reading_of(self: &Arc<Self>, name: &RepositoryName, may_note: bool) -> Reading {
        let mut readings = self.referrer_lists.lock();
        if let Some(reading) = readings.get(name) {
            return reading.clone();
        }
        let (store, under_way) =
            (Arc::clone(self), UnderWay { lists: Arc::clone(&self.referrer_lists), name: name.clone() });
        let task = tokio::spawn(
            async move {
                let read = store.read_referrers(&under_way.name, may_note).await;
                read.map(Arc::new).map_err(Arc::new)
            }
            .in_current_span(),
        );
        let failed = PathSpec::ReferrersBuilt(name).path();
        let reading = async move {
            task.await.unwrap_or_else(|error| {
                let source = driver::Error::Io { action: "complete", path: failed, source: io::Error::other(error) };
                Err(Arc::new(Error::driver("read which manifests refer to which", source)))
            })
        };
        let reading = reading.boxed().shared();
        readings.insert(name.clone(), reading.clone());
        reading
    }

    /// Reads every manifest. What is pushed meanwhile notes itself.
    async fn read_referrers(&self, name: &RepositoryName, may_note: bool) -> Result<Unlisted, Error> {
        if self.age(PathSpec::ReferrersBuilt(name)).await?.is_some() {
            return Ok(Unlisted::new());
        }
        let digests = self.revision_names(name).await?;
        if digests.is_empty() {
            return Ok(Unlisted::new());
        }
        let can_note = &AtomicBool::new(may_note);
        let reads = digests.iter().map(|digest| self.read_referrer(name, digest, can_note));
        let found: Vec<_> = concurrently(reads).await?;
        if can_note.load(Ordering::Relaxed) && is_noted(self.put_referrers_built(name, true).await)? {
            info!(repository = %name, manifests = digests.len(), "noted which manifests refer to which");
            return Ok(Unlisted::new());
        }
        let mut unlisted = Unlisted::new();
        for (subject, digest) in found.into_iter().flatten() {
            unlisted.entry(subject).or_default().insert(digest);
        }
        Ok(unlisted)
    }

    /// What a manifest refers to, and itself, where it does. It is noted, as long as that can be.
    async fn read_referrer(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        can_note: &AtomicBool,
    ) -> Result<Option<(Digest, Digest)>, Error> {
        let Some((manifest, size)) = self.parsed(name, digest).await? else { return Ok(None) };
        let Some(subject) = &manifest.subject else { return Ok(None) };
        if can_note.load(Ordering::Relaxed) && !is_noted(self.put_referrer(name, digest, &manifest, size).await)? {
            can_note.store(false, Ordering::Relaxed);
        }
        Ok(Some((subject.digest.clone(), digest.clone())))
    }

    /// Whether a repository has no manifest yet, so that its lists are complete from its first one on.
    pub(in crate::storage) async fn awaits_its_first_manifest(&self, name: &RepositoryName) -> Result<bool, Error> {
        let begun = &self.referrer_lists.begun;
        if begun.contains_key(name) {
            return Ok(false);
        }
        let mut has_begun = self.age(PathSpec::ReferrersBuilt(name)).await?.is_some();
        for algorithm in Algorithm::ALL {
            has_begun = has_begun || !self.names_after(PathSpec::Revisions(name, algorithm), None, 1).await?.is_empty();
        }
        if has_begun {
            begun.insert(name.clone(), ());
        }
        Ok(!has_begun)
    }

    /// Notes that a repository's lists are complete, if they are.
    pub(in crate::storage) async fn put_referrers_built(
        &self,
        name: &RepositoryName,
        are_complete: bool,
    ) -> Result<(), Error> {
        if are_complete {
            self.put_record(PathSpec::ReferrersBuilt(name), &(), Durability::Durable).await?;
        }
        Ok(())
    }
}

/// Whether a write succeeded. That nothing can be written is no reason not to answer who reads.
fn is_noted(written: Result<(), Error>) -> Result<bool, Error> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.is_unwritable() => {
            warn!(error = &error as &dyn std::error::Error, "could not note which manifests refer to which");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
