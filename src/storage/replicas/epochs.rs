//! Collections under way, by their markers.

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

    /// The batches of a collection that are sealed and not closed.
    pub(super) fn sealed_of(&self, epoch: Ulid) -> BTreeSet<u32> {
        self.0.get(&epoch).map(|open| open.sealed.clone()).unwrap_or_default()
    }

    /// Who runs a collection.
    pub(super) fn collector(&self, epoch: Ulid) -> Option<Ulid> {
        self.0.get(&epoch)?.collector
    }

    /// Every collection that is under way, with who runs it.
    pub(super) fn all(&self) -> impl Iterator<Item = (Ulid, Option<Ulid>)> {
        self.0.iter().map(|(epoch, open)| (*epoch, open.collector))
    }

    pub(super) fn collectors(&self) -> impl Iterator<Item = Ulid> {
        self.0.values().filter_map(|open| open.collector)
    }
}

/// Whether a collection with these markers is under way. One without any was cleaned up since its folder was listed; what
/// a replica left that did not hear of its end says nothing.
fn is_open(names: &[String]) -> bool {
    let has_begun = names.iter().any(|name| name == "open" || name.starts_with("sealed-"));
    has_begun && !names.iter().any(|name| name == "closed")
}

impl Store {
    pub(super) async fn open_epochs(&self) -> Result<OpenEpochs, Error> {
        let mut open = BTreeMap::new();
        for epoch in self.ids_in(PathSpec::Epochs).await? {
            let names = self.names(PathSpec::Epoch(epoch)).await?;
            if !is_open(&names) {
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

    /// Whether a replica told a collection what it had touched, before it left in order.
    pub(super) async fn has_left(&self, epoch: Ulid, replica: Ulid) -> Result<bool, Error> {
        Ok(self.age(PathSpec::Left(epoch, replica)).await?.is_some())
    }

    /// What the replicas had touched that left since a collection began.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where that cannot be read, [`Error::Driver`].
    pub(in crate::storage) async fn left_digests(&self, epoch: Ulid) -> Result<BTreeSet<Digest>, Error> {
        let mut left = BTreeSet::new();
        for name in self.names(PathSpec::Epoch(epoch)).await? {
            if let Some(Ok(replica)) = name.strip_prefix("left-").map(Ulid::from_string) {
                let digests: Option<Vec<Digest>> = self.record(PathSpec::Left(epoch, replica)).await?;
                left.extend(digests.into_iter().flatten());
            }
        }
        Ok(left)
    }

    /// Says that a collection begins.
    pub(in crate::storage) async fn put_opening(&self, epoch: Ulid, collector: Ulid) -> Result<(), Error> {
        self.put_record(PathSpec::Opening(epoch), &Opening { collector }, Durability::Durable).await
    }

    /// Says what a batch is about to remove.
    pub(in crate::storage) async fn seal(&self, epoch: Ulid, batch: u32, digests: &[Digest]) -> Result<(), Error> {
        self.put_record(PathSpec::Sealed(epoch, batch), &digests, Durability::Durable).await
    }

    /// Says that a batch removes nothing any more.
    pub(in crate::storage) async fn close_batch(&self, epoch: Ulid, batch: u32) -> Result<(), Error> {
        self.put_record(PathSpec::BatchClosed(epoch, batch), &(), Durability::Durable).await
    }

    /// Says that a collection is over, whatever it had sealed, and removes its markers.
    pub(in crate::storage) async fn close_epoch(&self, epoch: Ulid) -> Result<(), Error> {
        self.put_record(PathSpec::EpochClosed(epoch), &(), Durability::Durable).await?;
        self.remove_markers(epoch).await
    }

    /// The last one is that it is over: with that left, nobody takes it for one under way.
    async fn remove_markers(&self, epoch: Ulid) -> Result<(), Error> {
        let names = self.names(PathSpec::Epoch(epoch)).await?;
        let numbered = |prefix: &str| {
            let numbers = names.iter().filter_map(|name| name.strip_prefix(prefix)?.parse::<u32>().ok());
            numbers.collect::<BTreeSet<u32>>()
        };
        let left = names.iter().filter_map(|name| Ulid::from_string(name.strip_prefix("left-")?).ok());
        let left = left.map(|replica| PathSpec::Left(epoch, replica));
        let sealed = numbered("sealed-").into_iter().map(|batch| PathSpec::Sealed(epoch, batch));
        let closed = numbered("closed-").into_iter().map(|batch| PathSpec::BatchClosed(epoch, batch));
        self.remove_record(PathSpec::Opening(epoch)).await?;
        for marker in sealed.chain(closed).chain(left).chain([PathSpec::EpochClosed(epoch)]) {
            self.remove_record(marker).await?;
        }
        Ok(())
    }

    /// Removes what is left of collections that are over.
    pub(in crate::storage) async fn remove_closed_epochs(&self) -> Result<(), Error> {
        for epoch in self.ids_in(PathSpec::Epochs).await? {
            let names = self.names(PathSpec::Epoch(epoch)).await?;
            if !names.is_empty() && !is_open(&names) {
                self.remove_markers(epoch).await?;
            }
        }
        Ok(())
    }
}
