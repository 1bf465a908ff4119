//! The tags that stand in plans which wait for approval: who pulls one is told.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;

use crate::oci::{Digest, RepositoryName, Tag};

use super::RunId;
use super::candidate_list::CandidateList;

/// The plans of a registry that wait for approval.
///
/// A tag is eight bytes here, a hash of its name and of what it points to: a plan of a million tags takes 8 MB. The hash
/// has a key of this process, so that nobody can make two of them meet.
#[derive(Debug, Default)]
pub(super) struct WaitingPlans {
    /// Whether there is any: nearly always there is none, and then a pull pays for this look alone.
    any: AtomicBool,
    plans: RwLock<Arc<Vec<Arc<WaitingPlan>>>>,
    key: RandomState,
}

#[derive(Debug)]
struct WaitingPlan {
    run: RunId,
    /// As `namespace/name`.
    policy: String,
    expires_at: Timestamp,
    /// Sorted.
    tags: Vec<u64>,
}

impl WaitingPlans {
    /// A plan begins to wait.
    pub(super) fn add(&self, run: &RunId, policy: &str, expires_at: Timestamp, candidates: &CandidateList) {
        let mut tags: Vec<u64> = candidates.tags().map(|entry| self.key.hash_one(entry)).collect();
        tags.sort_unstable();
        let plan = Arc::new(WaitingPlan { run: run.clone(), policy: policy.to_owned(), expires_at, tags });
        self.change(|plans| {
            plans.retain(|known| known.run != *run);
            plans.push(plan);
        });
    }

    /// A plan waits no more, if it did.
    pub(super) fn remove(&self, run: &RunId) {
        if self.contains(run) {
            self.change(|plans| plans.retain(|known| known.run != *run));
        }
    }

    /// Whether a plan is among those that wait.
    pub(super) fn contains(&self, run: &RunId) -> bool {
        self.plans().iter().any(|known| known.run == *run)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<WaitingPlan>>)) {
        let mut plans = self.plans.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut plans));
        self.any.store(!plans.is_empty(), Ordering::Release);
    }

    fn plans(&self) -> Arc<Vec<Arc<WaitingPlan>>> {
        Arc::clone(&self.plans.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The policies whose waiting plans would delete a tag, as long as it points to `digest`.
    pub(super) fn naming(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
        now: impl FnOnce() -> Timestamp,
    ) -> Vec<String> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let (now, wanted) = (now(), self.key.hash_one((repository, tag, digest)));
        let plans = self.plans();
        let naming = plans.iter().filter(|plan| plan.expires_at > now && plan.tags.binary_search(&wanted).is_ok());
        naming.map(|plan| plan.policy.clone()).collect()
    }
}
