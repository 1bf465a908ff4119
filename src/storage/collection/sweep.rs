//! Sweep: a batch of garbage goes (docs/protocol.md, *Collection*, 4).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::oci::{Digest, RepositoryName};
use crate::storage::{
    Error, Holder,
    concurrent::{all_written, concurrently},
    layout::PathSpec,
    replicas::Roll,
};

use super::{CollectionProgress, epoch::EpochHere};

/// A blob that nothing needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Garbage {
    pub(super) digest: Digest,
    /// The old links that name it, each with the address that it stands under.
    pub(super) links: Vec<(RepositoryName, Digest)>,
}

impl Garbage {
    /// Its own address, and those under which others may come to rely on it.
    pub(super) fn addresses(&self) -> BTreeSet<&Digest> {
        self.links.iter().map(|(_, address)| address).chain([&self.digest]).collect()
    }
}

/// How a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchEnd {
    /// Of what was in it, all went that nobody relies on.
    Swept,
    /// A replica went without telling what it had touched: nothing was removed.
    ReplicaLost,
}

/// Some garbage, on its way out.
#[derive(Debug)]
pub(super) struct Batch {
    here: Arc<EpochHere>,
    number: u32,
    garbage: Vec<Garbage>,
    /// What was written since then is kept.
    old_until: Timestamp,
    progress: Arc<CollectionProgress>,
    stop: CancellationToken,
}

/// What is about to go, with its length in bytes.
struct Doomed {
    garbage: Garbage,
    size: u64,
}

impl Batch {
    pub(super) fn new(
        here: &Arc<EpochHere>,
        number: u32,
        garbage: Vec<Garbage>,
        old_until: Timestamp,
        progress: &Arc<CollectionProgress>,
        stop: &CancellationToken,
    ) -> Self {
        let (here, progress, stop) = (Arc::clone(here), Arc::clone(progress), stop.clone());
        Self { here, number, garbage, old_until, progress, stop }
    }

    /// Seals, freezes, removes, closes, thaws.
    pub(super) async fn sweep(self, mut roll: Roll) -> (Roll, Result<BatchEnd, Error>) {
        let ended = match self.seal().await {
            Ok(()) => self.sweep_sealed(&mut roll).await,
            Err(error) => Err(error),
        };
        let closed = self.close().await;
        (roll, ended.and_then(|ended| closed.map(|()| ended)))
    }

    /// Whoever registers from here on finds it, and freezes it before it serves.
    async fn seal(&self) -> Result<(), Error> {
        let EpochHere { store, id } = &*self.here;
        if store.fence.is_none() {
            return Ok(());
        }
        let digests: Vec<Digest> = self.addresses();
        store.seal(*id, self.number, &digests).await
    }

    fn addresses(&self) -> Vec<Digest> {
        let addresses: BTreeSet<&Digest> = self.garbage.iter().flat_map(Garbage::addresses).collect();
        addresses.into_iter().cloned().collect()
    }

    async fn sweep_sealed(&self, roll: &mut Roll) -> Result<BatchEnd, Error> {
        let EpochHere { store, id } = &*self.here;
        let frozen = store.freeze_idle_everywhere(*id, self.number, self.addresses(), roll).await?;
        let Some(mut kept) = frozen else {
            warn!(epoch = %id, "a replica went without telling what it relied on: the collection begins anew");
            return Ok(BatchEnd::ReplicaLost);
        };
        // After the freeze: who leaves from here on could not touch any of it.
        kept.extend(store.left_digests(*id).await?);
        let is_free = |garbage: &&Garbage| garbage.addresses().is_disjoint(&kept.iter().collect());
        let looks: Vec<_> = self.garbage.iter().filter(is_free).map(|garbage| self.look_again(garbage)).collect();
        let doomed: Vec<Doomed> = concurrently(looks.into_iter()).await?.into_iter().flatten().collect();
        let removed = self.remove(&doomed).await;
        let total = self.garbage.len() as u64;
        self.progress.kept.add(total.saturating_sub(doomed.len() as u64));
        self.progress.swept.add(total);
        // Also where not all of it could be removed.
        store.clear_swept_everywhere(links_of(&doomed)).await?;
        removed?;
        debug!(epoch = %id, batch = self.number, removed = doomed.len(), kept = kept.len(), "swept a batch");
        Ok(BatchEnd::Swept)
    }

    /// A blob as it is now that nobody can begin to rely on it; `None` where it, or a link to it, is young: another
    /// registry asks nobody.
    async fn look_again(&self, garbage: &Garbage) -> Result<Option<Doomed>, Error> {
        let store = &self.here.store;
        let Some(metadata) = store.metadata(PathSpec::BlobData(&garbage.digest)).await? else { return Ok(None) };
        if metadata.modified > self.old_until {
            return Ok(None);
        }
        for (name, address) in &garbage.links {
            if store.age(PathSpec::LayerLink(name, address)).await?.is_some_and(|age| age > self.old_until) {
                return Ok(None);
            }
        }
        Ok(Some(Doomed { garbage: garbage.clone(), size: metadata.size }))
    }

    /// The links first: who sees a link finds the bytes. Each removal asks for the lease.
    async fn remove(&self, doomed: &[Doomed]) -> Result<(), Error> {
        let links: Vec<_> = doomed.iter().flat_map(|doomed| &doomed.garbage.links).collect();
        let links: Vec<_> = links.into_iter().map(|(name, address)| self.remove_link(name, address)).collect();
        all_written(links.into_iter()).await?;
        let bytes: Vec<_> = doomed.iter().map(|doomed| self.remove_bytes(doomed)).collect();
        all_written(bytes.into_iter()).await
    }

    async fn remove_link(&self, name: &RepositoryName, address: &Digest) -> Result<(), Error> {
        self.here.store.remove_link(PathSpec::LayerLink(name, address)).await.map(drop)
    }

    async fn remove_bytes(&self, doomed: &Doomed) -> Result<(), Error> {
        let store = &self.here.store;
        if store.remove_file(&PathSpec::BlobData(&doomed.garbage.digest).path(), "remove a blob").await? {
            self.progress.removed_blobs.add(1);
            self.progress.removed_bytes.add(doomed.size);
            store.options.metrics.collection.removed(doomed.size);
        }
        Ok(())
    }

    /// Lets everyone rely on it again, once no removal can land any more whose answer did not come. A process that stops
    /// does not wait for that: what it sealed is closed when it has been gone for long enough.
    async fn close(&self) -> Result<(), Error> {
        let EpochHere { store, id } = &*self.here;
        if let Some(fence) = &store.fence {
            if !fence.certainty(&self.stop).await {
                return Err(Error::NoLease);
            }
            store.close_batch(*id, self.number).await?;
        }
        store.thaw_everywhere(Holder::Sealed { epoch: *id, batch: self.number }).await;
        Ok(())
    }
}

fn links_of(doomed: &[Doomed]) -> BTreeMap<RepositoryName, Vec<Digest>> {
    let mut links: BTreeMap<RepositoryName, Vec<Digest>> = BTreeMap::new();
    for (name, address) in doomed.iter().flat_map(|doomed| &doomed.garbage.links) {
        links.entry(name.clone()).or_default().push(address.clone());
    }
    links
}
