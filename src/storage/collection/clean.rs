//! What goes with the garbage: expired entries of the trash, intents of operations that are long over, and markers of
//! collections that are.

use std::sync::Arc;

use ulid::Ulid;

use crate::oci::{Digest, RepositoryName};
use crate::storage::{
    Error, Tombstone, concurrent::concurrently, layout::PathSpec, records::record::Lenient,
    repository_walk::RepositoryWalk, store::Store,
};

use super::{Collection, marker::before};

/// How many entries are looked at together.
const BATCH: usize = 256;

impl Collection {
    /// Removes what is over. Nobody relies on any of it, so nobody is asked.
    ///
    /// # Errors
    /// [`Error::NoLease`], [`Error::Driver`].
    pub async fn clean(&self) -> Result<(), Error> {
        self.progress.enter("clean");
        let store = self.store.for_change()?;
        store.remove_closed_epochs().await?;
        remove_old_intents(&store).await?;
        self.remove_expired_trash(&store).await
    }

    /// A tombstone whose delete has not ended stays however long that takes: it says that the delete is to be finished.
    async fn remove_expired_trash(&self, store: &Arc<Store>) -> Result<(), Error> {
        let mut deletes = store.pending_ids().await?;
        deletes.extend(store.pendings().await?.into_iter().filter_map(|(_, pending)| pending.resumes));
        let mut walk = RepositoryWalk::begin_in(store, PathSpec::AllTrash, None);
        while let Some(name) = walk.next().await? {
            for text in store.names(PathSpec::TombstonedDigests(&name)).await? {
                let Ok(digest) = text.parse::<Digest>() else { continue };
                let names = store.names(PathSpec::Tombstones(&name, &digest)).await?;
                for batch in names.chunks(BATCH) {
                    let ids = batch.iter().filter_map(|text| Ulid::from_string(text).ok());
                    let ids = ids.filter(|id| !deletes.contains(id));
                    let looks: Vec<_> = ids.map(|id| self.expire(store, &name, &digest, id)).collect();
                    concurrently(looks.into_iter()).await?;
                }
            }
        }
        Ok(())
    }

    /// Removes an entry of the trash that protects nothing any more. One that cannot be read stays.
    async fn expire(&self, store: &Store, name: &RepositoryName, digest: &Digest, id: Ulid) -> Result<(), Error> {
        let read: Lenient<Tombstone> = store.lenient_record(PathSpec::Tombstone(name, digest, id)).await?;
        let expired_until = before(store.clock.now(), store.timing.expiry_margin);
        // By where it lies, which is what is removed.
        let is_here = |found: &Tombstone| found.repository == *name && found.digest == *digest && found.id.0 == id;
        if let Some(tombstone) = read.read().filter(|found| found.is_expired(expired_until) && is_here(found)) {
            store.expunge(&tombstone).await?;
            self.progress.tombstones_expired.add(1);
        }
        Ok(())
    }
}

/// An intent stays after a write of which nobody knows whether it landed; by now it has, or never will.
async fn remove_old_intents(store: &Store) -> Result<(), Error> {
    let old_until = before(store.clock.now(), store.timing.grace * 2);
    for id in store.ids_in(PathSpec::Intents).await? {
        let spec = PathSpec::Intent(id);
        if store.age(spec).await?.is_some_and(|age| age <= old_until) {
            store.remove_record(spec).await?;
        }
    }
    Ok(())
}
