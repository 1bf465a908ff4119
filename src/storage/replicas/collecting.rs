//! What a collector asks of everyone.

use std::collections::BTreeSet;

use ulid::Ulid;

use crate::oci::Digest;
use crate::storage::{Error, store::Store};

use super::{Holder, ReplicaAnswer, ReplicaCall, promise::check};

/// The replicas, as an epoch knows them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::storage) struct Roll {
    /// Those that there were last.
    present: BTreeSet<Ulid>,
    /// Those that were gone when it began: they are not of this epoch. An id is never given twice.
    gone_before: BTreeSet<Ulid>,
}

impl Store {
    /// Makes every replica note what it touches from now on. One that is gone is not of this epoch: its lease is over, and
    /// what it promised can be seen by now.
    ///
    /// # Errors
    /// [`Error::NoLease`], [`Error::Driver`].
    pub(in crate::storage) async fn begin_everywhere(&self, epoch: Ulid) -> Result<Roll, Error> {
        self.guard.begin(epoch);
        let mut roll = Roll::default();
        let Some((replicas, fence)) = self.peers() else { return Ok(roll) };
        for id in self.replica_ids().await? {
            match self.ask(replicas, fence, id, &ReplicaCall::Begin { epoch }).await? {
                Some(_) => roll.present.insert(id),
                None => roll.gone_before.insert(id),
            };
        }
        check(Some(fence.term()))?;
        Ok(roll)
    }

    /// Freezes a batch at every replica that there is now; what stays unfrozen, because somebody is in it or touched it.
    /// `None` where one of the epoch went without telling what it had touched.
    ///
    /// # Errors
    /// [`Error::NoLease`], [`Error::Driver`].
    pub(in crate::storage) async fn freeze_idle_everywhere(
        &self,
        epoch: Ulid,
        batch: u32,
        mut digests: Vec<Digest>,
        roll: &mut Roll,
    ) -> Result<Option<BTreeSet<Digest>>, Error> {
        let holder = Holder::Sealed { epoch, batch };
        let Some((replicas, fence)) = self.peers() else {
            return Ok(Some(self.guard.freeze_idle(holder, digests).into_iter().collect()));
        };
        let listed = self.replica_ids().await?.into_iter();
        let present: BTreeSet<Ulid> = listed.filter(|id| !roll.gone_before.contains(id)).collect();
        for missing in roll.present.difference(&present) {
            if !self.has_left(epoch, *missing).await? {
                return Ok(None);
            }
        }
        let mut kept = BTreeSet::new();
        for id in &present {
            let call = ReplicaCall::FreezeIdle { holder, digests: digests.clone() };
            match self.ask(replicas, fence, *id, &call).await? {
                Some(ReplicaAnswer::Kept { digests }) => kept.extend(digests),
                // Of another answer nothing is known.
                Some(_) => kept.extend(digests.iter().cloned()),
                None if self.has_left(epoch, *id).await? => {}
                None => return Ok(None),
            }
            digests.retain(|digest| !kept.contains(digest));
        }
        roll.present = present;
        check(Some(fence.term()))?;
        Ok(Some(kept))
    }
}
