//! What a collector asks of everyone.

use std::collections::BTreeSet;

use ulid::Ulid;

use crate::oci::Digest;
use crate::storage::{Error, store::Store};

use super::{Holder, ReplicaAnswer, ReplicaCall, promise::check};

impl Store {
    /// Makes every replica note what it touches from now on; those that do. One that is gone is not of this epoch: its
    /// lease is over, and what it promised can be seen by now.
    ///
    /// # Errors
    /// [`Error::NoLease`], [`Error::Driver`].
    pub(in crate::storage) async fn begin_everywhere(&self, epoch: Ulid) -> Result<BTreeSet<Ulid>, Error> {
        self.guard.begin(epoch);
        let mut members = BTreeSet::new();
        let Some((replicas, fence)) = self.peers() else { return Ok(members) };
        for id in self.replica_ids().await? {
            if self.ask(replicas, fence, id, &ReplicaCall::Begin { epoch }).await?.is_some() {
                members.insert(id);
            }
        }
        check(Some(fence.term()))?;
        Ok(members)
    }

    /// Freezes a batch at every replica that there is now; what stays unfrozen, because somebody is in it or touched it.
    /// `None` where one of `members` went without telling what it had touched. They are those that there are, afterwards.
    ///
    /// # Errors
    /// [`Error::NoLease`], [`Error::Driver`].
    pub(in crate::storage) async fn freeze_idle_everywhere(
        &self,
        epoch: Ulid,
        batch: u32,
        mut digests: Vec<Digest>,
        members: &mut BTreeSet<Ulid>,
    ) -> Result<Option<BTreeSet<Digest>>, Error> {
        let holder = Holder::Sealed { epoch, batch };
        let Some((replicas, fence)) = self.peers() else {
            return Ok(Some(self.guard.freeze_idle(holder, digests).into_iter().collect()));
        };
        let present: BTreeSet<Ulid> = self.replica_ids().await?.into_iter().collect();
        for missing in members.difference(&present) {
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
        *members = present;
        check(Some(fence.term()))?;
        Ok(Some(kept))
    }
}
