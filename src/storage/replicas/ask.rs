//! Asking everyone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::future;
use tracing::{debug, warn};
use ulid::Ulid;

use crate::oci::{Digest, RepositoryName};

use crate::storage::{Error, clock::within, guard::keys::Key, store::Store};

use super::{Fence, Holder, Membership, ReplicaAnswer, ReplicaCall, promise::check};

/// How often a replica that refuses connections is asked before it is evicted: its listener may be about to open.
const MAX_REFUSALS: u32 = 3;

impl Store {
    /// Freezes keys at every replica, one after the other in the order of their ids, so that of two who want the same the
    /// first one gets all.
    ///
    /// # Errors
    /// [`Error::Frozen`] where somebody is in them for too long, and then they may be frozen at some; [`Error::NoLease`],
    /// [`Error::Driver`].
    pub(in crate::storage) async fn freeze_everywhere(
        &self,
        holder: Holder,
        after: Option<Holder>,
        keys: Vec<Key>,
    ) -> Result<(), Error> {
        let Some((replicas, fence)) = self.peers() else {
            return self.guard.freeze(holder, after, keys, self.timing.guard_wait).await;
        };
        let mut left = self.timing.guard_wait;
        for id in self.replica_ids().await? {
            let wait_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            let call = ReplicaCall::Freeze { holder, after, keys: keys.clone(), wait_ms };
            let began = self.clock.boot_time();
            match self.ask(replicas, fence, id, &call).await? {
                Some(ReplicaAnswer::Busy { key }) => return Err(Error::Frozen { key }),
                // What was waited for a dead replica is not what was waited for who is in the keys.
                Some(_) => left = left.saturating_sub(self.clock.boot_time().saturating_sub(began)),
                None => {}
            }
        }
        check(Some(fence.term()))
    }

    /// Makes every replica forget what caches know of a digest, to be called after its links were removed.
    ///
    /// # Errors
    /// [`Error::NoLease`], [`Error::Driver`].
    pub(in crate::storage) async fn clear_everywhere(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), Error> {
        self.forget_descriptors(name, digest).await?;
        let (repository, digests, cache_epoch) = (name.clone(), vec![digest.clone()], self.cache_epoch());
        self.ask_others(&ReplicaCall::Clear { repository, digests, cache_epoch }).await
    }

    /// Makes every replica forget all that caches know, to be called after bytes were removed that any repository may
    /// have.
    ///
    /// # Errors
    /// [`Error::NoLease`], [`Error::Driver`].
    pub(in crate::storage) async fn clear_all_everywhere(&self) -> Result<(), Error> {
        self.forget_all_descriptors().await?;
        self.ask_others(&ReplicaCall::ClearAll { cache_epoch: self.cache_epoch() }).await
    }

    /// Makes every replica forget what caches know of the links that a collection removed.
    ///
    /// # Errors
    /// [`Error::NoLease`], [`Error::Driver`].
    pub(in crate::storage) async fn clear_swept_everywhere(
        &self,
        swept: BTreeMap<RepositoryName, Vec<Digest>>,
    ) -> Result<(), Error> {
        if swept.is_empty() {
            return Ok(());
        }
        for (name, digests) in &swept {
            for digest in digests {
                self.forget_descriptors(name, digest).await?;
            }
        }
        self.ask_others(&ReplicaCall::ClearSwept { swept, cache_epoch: self.cache_epoch() }).await
    }

    /// Asks every other replica at the same time.
    async fn ask_others(&self, call: &ReplicaCall) -> Result<(), Error> {
        let Some((replicas, fence)) = self.peers() else { return Ok(()) };
        let own = fence.term().id();
        let others = self.replica_ids().await?.into_iter().filter(|id| *id != own);
        future::try_join_all(others.map(|id| self.ask(replicas, fence, id, call))).await?;
        check(Some(fence.term()))
    }

    /// Tells every replica that a freeze is over. Who does not hear it sees it.
    pub(in crate::storage) async fn thaw_everywhere(&self, holder: Holder) {
        self.guard.thaw(holder);
        let Some((replicas, fence)) = self.peers() else { return };
        let Ok(ids) = self.replica_ids().await else { return };
        let call = ReplicaCall::Thaw { holder };
        let tell = |id: Ulid| {
            let call = &call;
            async move {
                if id == fence.term().id() {
                    return;
                }
                let Ok((Some(registration), None)) = replicas.observe(self, id).await else { return };
                let told = replicas.setup().calls.call(id, &registration.address, call);
                if !matches!(within(&*self.clock, self.timing.call_wait, told).await, Some(Ok(_))) {
                    debug!(replica = %id, %holder, "a replica was not told of a thaw");
                }
            }
        };
        future::join_all(ids.into_iter().map(tell)).await;
    }

    /// Makes every other replica write down what was pulled; those that have, and this one. Nobody is evicted, or asked
    /// twice.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn tell_pulls(&self) -> Result<BTreeSet<Ulid>, Error> {
        let Some(replicas) = &self.replicas else { return Ok(BTreeSet::new()) };
        let own = replicas.term().map(|term| term.id());
        let tell = |id: Ulid| async move {
            if Some(id) == own {
                return Ok(Some(id));
            }
            let (Some(registration), None) = replicas.observe(self, id).await? else { return Ok(None) };
            let told = replicas.setup().calls.call(id, &registration.address, &ReplicaCall::WritePulls);
            let answer = within(&*self.clock, self.timing.call_wait, told).await;
            Ok::<_, Error>(matches!(answer, Some(Ok(ReplicaAnswer::Done))).then_some(id))
        };
        let told = future::try_join_all(self.replica_ids().await?.into_iter().map(tell)).await?;
        Ok(told.into_iter().flatten().collect())
    }

    pub(super) fn peers(&self) -> Option<(&Arc<Membership>, &Arc<Fence>)> {
        self.replicas.as_ref().zip(self.fence.as_ref())
    }

    /// One replica's answer; `None` once it is gone. One that does not answer is evicted, and asked again until it does or
    /// is gone.
    pub(super) async fn ask(
        &self,
        replicas: &Membership,
        fence: &Fence,
        id: Ulid,
        call: &ReplicaCall,
    ) -> Result<Option<ReplicaAnswer>, Error> {
        let mut refusals = 0;
        let mut is_evicted = false;
        loop {
            check(Some(fence.term()))?;
            if id == fence.term().id() {
                return Ok(Some(self.obey(call).await));
            }
            let (registration, gone) = replicas.observe(self, id).await?;
            if gone.is_some() {
                debug!(replica = %id, call = call.name(), "a replica is gone, and passed over");
                return Ok(None);
            }
            let address = registration.map(|registration| registration.address).unwrap_or_default();
            let answer = replicas.setup().calls.call(id, &address, call);
            match within(&*self.clock, call.wait() + self.timing.call_wait, answer).await {
                Some(Ok(ReplicaAnswer::NotMe)) | None => refusals = MAX_REFUSALS,
                Some(Ok(ReplicaAnswer::Failed)) => refusals += 1,
                Some(Ok(answer)) => return Ok(Some(answer)),
                Some(Err(error)) => {
                    debug!(replica = %id, error = &error as &dyn std::error::Error, "a replica could not be asked");
                    refusals += 1;
                }
            }
            if refusals >= MAX_REFUSALS && !is_evicted {
                warn!(replica = %id, address, call = call.name(), "a replica does not answer, and is evicted");
                self.evict(id).await?;
                self.options.metrics.replicas.evicted();
                is_evicted = true;
            }
            self.clock.sleep(self.timing.beat / 5).await;
        }
    }
}
