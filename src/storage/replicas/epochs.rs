//! Collections under way, as far as a replica takes part in them.

use std::collections::{BTreeMap, BTreeSet};

use ulid::Ulid;

use crate::oci::Digest;

use crate::storage::{Error, driver::Durability, layout::PathSpec, store::Store};

/// The collections that have begun and are not over, each with its batches that are sealed and not closed.
#[derive(Debug, Default)]
pub(super) struct OpenEpochs(BTreeMap<Ulid, BTreeSet<u32>>);

impl OpenEpochs {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn ids(&self) -> BTreeSet<Ulid> {
        self.0.keys().copied().collect()
    }

    pub(super) fn has_sealed(&self, epoch: Ulid, batch: u32) -> bool {
        self.0.get(&epoch).is_some_and(|sealed| sealed.contains(&batch))
    }

    pub(super) fn sealed(&self) -> impl Iterator<Item = (Ulid, u32)> {
        self.0.iter().flat_map(|(epoch, sealed)| sealed.iter().map(|batch| (*epoch, *batch)))
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
            open.insert(epoch, numbered("sealed-").difference(&numbered("closed-")).copied().collect());
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
