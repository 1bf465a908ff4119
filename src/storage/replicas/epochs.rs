//! Collections under way, as far as a replica takes part in them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::oci::Digest;

use crate::storage::{Error, driver::Durability, layout::PathSpec, store::Store};

/// The collections that have begun and are not over.
#[derive(Debug, Default)]
pub(super) struct OpenEpochs(BTreeMap<Ulid, OpenEpoch>);

#[derive(Debug)]
struct OpenEpoch {
    /// The replica that collects; none where that cannot be read.
    collector: Option<Ulid>,
    /// The batches that are sealed and not closed.
    sealed: BTreeSet<u32>,
}

/// What the key says with which a collection begins.
#[derive(Debug, Serialize, Deserialize)]
struct Opening {
    collector: Ulid,
}

impl OpenEpochs {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn ids(&self) -> BTreeSet<Ulid> {
        self.0.keys().copied().collect()
    }

    pub(super) fn has_sealed(&self, epoch: Ulid, batch: u32) -> bool {
        self.0.get(&epoch).is_some_and(|open| open.sealed.contains(&batch))
    }

    pub(super) fn sealed(&self) -> impl Iterator<Item = (Ulid, u32)> {
        self.0.iter().flat_map(|(epoch, open)| open.sealed.iter().map(|batch| (*epoch, *batch)))
    }

    /// Who runs a collection.
    pub(super) fn collector(&self, epoch: Ulid) -> Option<Ulid> {
        self.0.get(&epoch)?.collector
    }

    pub(super) fn collectors(&self) -> impl Iterator<Item = Ulid> {
        self.0.values().filter_map(|open| open.collector)
    }
}

impl Store {
    pub(super) async fn open_epochs(&self) -> Result<OpenEpochs, Error> {
        let mut open = BTreeMap::new();
        for epoch in self.ids_in(PathSpec::Epochs).await? {
            let names = self.names(PathSpec::Epoch(epoch)).await?;
            // No name at all: it was cleaned up since the folder was listed.
            if names.is_empty() || names.iter().any(|name| name == "closed") {
                continue;
            }
            let numbered = |prefix: &str| {
                let numbers = names.iter().filter_map(|name| name.strip_prefix(prefix)?.parse().ok());
                numbers.collect::<BTreeSet<u32>>()
            };
            let sealed = numbered("sealed-").difference(&numbered("closed-")).copied().collect();
            let opening = self.lenient_record::<Opening>(PathSpec::Opening(epoch)).await?.read();
            open.insert(epoch, OpenEpoch { collector: opening.map(|opening| opening.collector), sealed });
        }
        Ok(OpenEpochs(open))
    }

    /// The digests of a batch; none where it was cleaned up.
    pub(super) async fn sealed_digests(&self, epoch: Ulid, batch: u32) -> Result<Vec<Digest>, Error> {
        Ok(self.record(PathSpec::Sealed(epoch, batch)).await?.unwrap_or_default())
    }

    /// Tells the collections under way what was relied on here, before this replica is no more there to be asked.
    pub(super) async fn put_left_keys(&self, replica: Ulid) -> Result<(), Error> {
        for (epoch, digests) in self.guard.touched() {
            self.put_record(PathSpec::Left(epoch, replica), &digests, Durability::Durable).await?;
        }
        Ok(())
    }
}
