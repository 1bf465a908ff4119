//! Looking at everything that is stored, and mending what can be mended: `lagan scrub`.
//!
//! Three phases: the [`blobs`], which are hashed; the repositories, with their [`links`], [`manifests`], [`tags`],
//! [`referrers`] and [`uploads`]; and the [`trash`]. Each looks at one thing at a time, and holds no more of the store
//! than the digests of one repository.
//!
//! # Guarantees
//! - Pushes, pulls and deletes go on. What looks damaged is frozen, at every replica, and looked at again before it is
//!   reported or mended, so that nothing is reported that a push or delete was just about to finish.
//! - Nothing is lost. Bytes that do not hash to their digest are moved to `lagan/v1/quarantine`; removed are only links
//!   and entries that lead nowhere, and abandoned uploads.
//!
//! # Cancel safety
//! It may be dropped at any moment; the next one begins anew.

mod blobs;
mod finding;
mod links;
mod manifests;
mod progress;
mod referrers;
mod tags;
mod trash;
mod uploads;

use std::{sync::Arc, time::Duration};

use tokio::sync::{Semaphore, mpsc};

use crate::oci::RepositoryName;

use super::{
    Adoption, Catalog, Error,
    concurrent::concurrently,
    error::with_causes,
    guard::{held::Held, keys::Key},
    layout::PathSpec,
    repository_walk::RepositoryWalk,
    store::Store,
};

pub use finding::{Finding, FindingKind, Treatment};
pub use progress::InspectionProgress;

/// How many blobs are hashed at the same time: one is on the medium while the other one is hashed, and a machine of two
/// cores still has one for its clients.
const HASHED_AT_ONCE: usize = 2;

/// How many things are looked at together. Each batch ends before the next one begins, so this bounds what is held.
const BATCH: usize = 256;

/// What to do about what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InspectionMode {
    /// Report it.
    Report,
    /// Mend what can be mended, and report all of it.
    Repair,
}

/// One look at everything.
#[derive(Debug)]
pub struct Inspection {
    store: Arc<Store>,
    adoption: Option<Adoption>,
    mode: InspectionMode,
    /// An upload to which nothing came for this long is abandoned.
    abandoned_after: Duration,
    hashing: Semaphore,
    progress: Arc<InspectionProgress>,
    findings: mpsc::Sender<Finding>,
}

impl Inspection {
    /// Prepares to look; what is found goes to `findings`, which must be read meanwhile.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Driver`].
    pub async fn new(
        catalog: &Catalog,
        mode: InspectionMode,
        abandoned_after: Duration,
        progress: Arc<InspectionProgress>,
        findings: mpsc::Sender<Finding>,
    ) -> Result<Self, Error> {
        let adoption = catalog.adoption().await?;
        let (store, hashing) = (Arc::clone(&catalog.store), Semaphore::new(HASHED_AT_ONCE));
        Ok(Self { store, adoption, mode, abandoned_after, hashing, progress, findings })
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// Where something cannot even be listed: [`Error::Driver`]. What cannot be read is a finding.
    pub async fn run(&self) -> Result<(), Error> {
        self.progress.begin("blobs");
        self.blobs().await?;
        self.progress.begin("repositories");
        let mut walk = RepositoryWalk::begin(&self.store, None);
        while let Some(name) = walk.next().await? {
            self.repository(&name).await?;
        }
        self.progress.begin("trash");
        self.trash().await
    }

    async fn repository(&self, name: &RepositoryName) -> Result<(), Error> {
        let looked_at = async {
            // Links first: what they name decides what a manifest has.
            let layers = self.layers(name).await?;
            let needed = self.manifests(name).await?;
            self.stale_layers(name, &layers, &needed).await?;
            self.tags(name).await?;
            self.referrers(name).await?;
            self.uploads(name).await
        };
        match looked_at.await {
            Ok(()) => {
                self.progress.repositories.add(1);
                Ok(())
            }
            Err(error) => self.unreadable(name, &error).await,
        }
    }

    /// A part of a repository that cannot be read is no reason not to look at the others.
    async fn unreadable(&self, name: &RepositoryName, error: &Error) -> Result<(), Error> {
        let path = PathSpec::Tags(name).path();
        let finding = Finding::new(FindingKind::Unreadable, path).of(name).saying(with_causes(error));
        self.report(finding, Treatment::Beyond).await;
        Ok(())
    }

    fn is_repairing(&self) -> bool {
        self.mode == InspectionMode::Repair
    }

    /// Reports what was found; mends it before, if that is what is to be done.
    async fn mend<T: Send>(
        &self,
        finding: Finding,
        repair: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<(), Error> {
        let treatment = if self.is_repairing() {
            repair.await?;
            Treatment::Repaired
        } else {
            Treatment::Reported
        };
        self.report(finding, treatment).await;
        Ok(())
    }

    async fn report(&self, mut finding: Finding, treatment: Treatment) {
        finding.treatment = treatment;
        // Nobody listens any more: then nobody waits for the rest either.
        let _ = self.findings.send(finding).await;
    }

    /// What `look` finds while nobody can change `keys`, with their freeze. It looks without it first, because nearly
    /// everything is as it should be. Somebody who holds the keys for too long is changing them: nothing is found then.
    async fn steady<T, F>(
        &self,
        keys: impl IntoIterator<Item = Key> + Send,
        look: impl Fn() -> F + Send,
    ) -> Result<Option<(T, Held)>, Error>
    where
        T: Send,
        F: Future<Output = Result<Option<T>, Error>> + Send,
    {
        if look().await?.is_none() {
            return Ok(None);
        }
        let keys: Vec<Key> = keys.into_iter().collect();
        let held = match self.store.hold(keys).await {
            Ok(held) => held,
            Err(Error::Frozen { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(look().await?.map(|found| (found, held)))
    }

    /// Looks at many things, some at a time.
    async fn each<T: Sync, F>(&self, things: &[T], look: impl Fn(&T) -> F + Send) -> Result<(), Error>
    where
        F: Future<Output = Result<(), Error>> + Send,
    {
        for batch in things.chunks(BATCH) {
            let looks: Vec<F> = batch.iter().map(&look).collect();
            concurrently(looks.into_iter()).await?;
        }
        Ok(())
    }
}
