//! What a replica does when another one asks.

use std::sync::Arc;

use tracing::warn;
use ulid::Ulid;

use crate::oci::{Digest, RepositoryName};
use crate::storage::{Catalog, Error, store::Store};

use super::{Membership, ReplicaAnswer, ReplicaCall, ReplicaSetup};

/// How many leases long a replica may be without one before it says that it is not ready: 40 s. Shorter, and every store
/// that is out of breath for a moment would take all replicas away at once.
const LEASES_UNTIL_LEFT_BEHIND: u32 = 2;

impl Store {
    /// Does what is asked, whoever asks.
    pub(super) async fn obey(&self, call: &ReplicaCall) -> ReplicaAnswer {
        match call {
            ReplicaCall::Freeze { holder, after, keys, .. } => {
                match self.guard.freeze(*holder, *after, keys.iter().cloned(), call.wait()).await {
                    Ok(()) => ReplicaAnswer::Done,
                    Err(Error::Frozen { key }) => ReplicaAnswer::Busy { key },
                    Err(_) => ReplicaAnswer::Busy { key: holder.to_string() },
                }
            }
            ReplicaCall::FreezeIdle { holder, digests } => {
                ReplicaAnswer::Kept { digests: self.guard.freeze_idle(*holder, digests.iter().cloned()) }
            }
            ReplicaCall::Thaw { holder } => {
                self.guard.thaw(*holder);
                ReplicaAnswer::Done
            }
            ReplicaCall::Clear { repository, digests, cache_epoch } => {
                let links = digests.iter().map(|digest| (repository, digest)).collect();
                self.forget_told(links, *cache_epoch).await
            }
            ReplicaCall::ClearSwept { swept, cache_epoch } => {
                let links = swept.iter().flat_map(|(name, digests)| digests.iter().map(move |digest| (name, digest)));
                self.forget_told(links.collect(), *cache_epoch).await
            }
            ReplicaCall::ClearAll { cache_epoch } => forgotten(self.forget_all_descriptors_told(*cache_epoch).await),
            ReplicaCall::Begin { epoch } => {
                self.guard.begin(*epoch);
                ReplicaAnswer::Done
            }
            ReplicaCall::WritePulls => match self.write_pulls().await {
                Ok(()) => ReplicaAnswer::Done,
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "could not write down what was pulled");
                    ReplicaAnswer::Failed
                }
            },
        }
    }
}

impl Store {
    async fn forget_told(&self, links: Vec<(&RepositoryName, &Digest)>, cache_epoch: Option<Ulid>) -> ReplicaAnswer {
        for (name, digest) in links {
            let done = self.forget_descriptors_told(name, digest, cache_epoch).await;
            if done.is_err() {
                return forgotten(done);
            }
        }
        ReplicaAnswer::Done
    }
}

fn forgotten(done: Result<(), Error>) -> ReplicaAnswer {
    match done {
        Ok(()) => ReplicaAnswer::Done,
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "could not clear the caches");
            ReplicaAnswer::Failed
        }
    }
}

impl Catalog {
    /// Answers another replica, which means the one whose id is `id`.
    ///
    /// # Cancel safety
    /// A freeze that is still waiting when this is dropped is withdrawn; one that was granted stands for its key.
    pub async fn answer(&self, id: Ulid, call: &ReplicaCall) -> ReplicaAnswer {
        let term = self.store.replicas.as_ref().and_then(|replicas| replicas.term());
        match term.filter(|term| term.id() == id && term.is_alive()) {
            Some(_) => self.store.obey(call).await,
            None => ReplicaAnswer::NotMe,
        }
    }

    /// The id under which this process is known to other replicas; `None` where it has no lease, or nobody to know it.
    #[must_use]
    pub fn replica_id(&self) -> Option<Ulid> {
        let term = self.store.replicas.as_ref().and_then(|replicas| replicas.term())?;
        term.is_valid().then(|| term.id())
    }

    /// Whether this process has been without a lease for so long that clients are better served elsewhere: it reads, and
    /// takes no push. Where there is nobody to be told of, never.
    #[must_use]
    pub fn is_left_behind(&self) -> bool {
        let Some(replicas) = &self.store.replicas else { return false };
        replicas.term().is_some_and(|term| term.lapsed_for() >= self.store.timing.lease * LEASES_UNTIL_LEFT_BEHIND)
    }

    /// Waits until this process has joined the others on its store, where there may be any.
    pub async fn joined(&self) {
        if let Some(replicas) = &self.store.replicas {
            replicas.joined().await;
        }
    }

    /// Leaves the other replicas in order. Requests must have been answered; what still runs is waited for.
    pub async fn leave(&self) {
        self.drain().await;
        if let Some(replicas) = &self.store.replicas {
            replicas.leave(&self.store).await;
        }
    }

    /// Makes a store one of several processes' and begins to register.
    pub(in crate::storage) fn share(mut store: Store, setup: ReplicaSetup) -> Self {
        let replicas = Arc::new(Membership::new(setup, &store.timing));
        store.replicas = Some(Arc::clone(&replicas));
        let store = Arc::new(store);
        replicas.begin(&store);
        Self { store }
    }
}
