//! Carries out a plan.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::wire::RunResult;
use crate::oci::{Reference, RepositoryName};
use crate::retention::{Deletion, Plan};
use crate::storage::{self, Catalog, Clock, DeleteCause, PlannedDelete, PlannedOutcome, RunClaim, with_causes};

use super::left_out::{Leavings, words};
use super::{Error, RunId};

/// How an application ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Every deletion was tried.
    Completed,
    /// The list of what is in use became too old; the rest waits for a new one.
    ListingTooOld,
    /// Policies changed; the rest waits to be planned with those of now.
    PoliciesChanged,
    /// The process is stopping; the rest waits.
    Stopped,
    /// Other replicas may go on with the run by now.
    LeaseLost,
}

/// Applies the plan of one run.
#[derive(Debug)]
pub(super) struct Applier<'a> {
    pub(super) catalog: &'a Catalog,
    /// That this process is at the run: each tombstone is written with the lease that it was claimed with.
    pub(super) claim: &'a RunClaim,
    pub(super) clock: &'a dyn Clock,
    pub(super) stop: &'a CancellationToken,
    pub(super) run: &'a RunId,
    /// The policy, as `namespace/name`.
    pub(super) policy: &'a str,
    /// When the plan was begun. What was pushed since stays.
    pub(super) planned_at: Timestamp,
    /// How often policies had changed when those came that the plan was made with, and how often by now.
    pub(super) planned_with: u64,
    pub(super) policy_changes: &'a AtomicU64,
    /// No tombstone is written later than this.
    pub(super) deadline: Timestamp,
}

impl Applier<'_> {
    /// Deletes what the plan says, one tombstone after another, each only if nothing has changed since. What is not deleted
    /// is counted, and told to `left_out`.
    ///
    /// # Errors
    /// [`Error::Storage`] when the storage takes no more writes at all; a single deletion that fails is counted and
    /// logged, and the others go on.
    pub(super) async fn apply(
        &self,
        plan: &Plan,
        result: &mut RunResult,
        left_out: &mut Leavings,
    ) -> Result<Ended, Error> {
        for (repository, deletion) in plan.deletions() {
            if self.stop.is_cancelled() {
                return Ok(Ended::Stopped);
            }
            if self.policy_changes.load(Ordering::Acquire) != self.planned_with {
                return Ok(Ended::PoliciesChanged);
            }
            if self.clock.now() >= self.deadline {
                return Ok(Ended::ListingTooOld);
            }
            match self.delete(repository, deletion).await {
                Ok(PlannedOutcome::Deleted(_)) => {
                    count(deletion, result);
                    for name in names(repository, deletion) {
                        left_out.remove(&name);
                    }
                }
                // It may have waited for a push until now.
                Ok(PlannedOutcome::Changed { .. }) if self.clock.now() >= self.deadline => {
                    return Ok(Ended::ListingTooOld);
                }
                Ok(PlannedOutcome::Changed { reason }) => {
                    info!(%repository, reference = %deletion.reference, reason, "left alone, changed since planned");
                    result.changed_since_planned += deletion.count();
                    for name in names(repository, deletion) {
                        left_out.add(&name, &reason);
                    }
                }
                Err(storage::Error::NoLease) => return Ok(Ended::LeaseLost),
                Err(error) => self.failed(repository, deletion, error, result, left_out)?,
            }
        }
        Ok(Ended::Completed)
    }

    async fn delete(&self, repository: &RepositoryName, deletion: &Deletion) -> Result<PlannedOutcome, storage::Error> {
        let catalog = self.catalog.deleting(self.claim)?;
        catalog.repository(repository).delete_planned(self.planned(deletion)).await
    }

    fn planned(&self, deletion: &Deletion) -> PlannedDelete {
        let tags = match &deletion.reference {
            Reference::Tag(_) => Vec::new(),
            Reference::Digest(_) => deletion.tags.clone(),
        };
        PlannedDelete {
            reference: deletion.reference.clone(),
            expected: deletion.digest.clone(),
            tags,
            planned_at: self.planned_at,
            not_after: self.deadline,
            cause: DeleteCause {
                actor: format!("policy {}", self.policy),
                reason: reason(deletion),
                policy: Some(self.policy.to_owned()),
                group: Some(format!("{}@{}", self.run, deletion.group)),
            },
        }
    }

    fn failed(
        &self,
        repository: &RepositoryName,
        deletion: &Deletion,
        error: storage::Error,
        result: &mut RunResult,
        left_out: &mut Leavings,
    ) -> Result<(), Error> {
        if matches!(error, storage::Error::Poisoned | storage::Error::DeletionDisabled) {
            return Err(Error::Storage { action: "delete anything more", source: error });
        }
        let why = format!("it could not be deleted: {}", with_causes(&error));
        for name in names(repository, deletion) {
            left_out.add(&name, &why);
        }
        let error = &error as &(dyn std::error::Error + 'static);
        warn!(run = %self.run, %repository, reference = %deletion.reference, error, "could not delete");
        result.failed += deletion.count();
        Ok(())
    }
}

/// Why a deletion was decided, in words: of several tags that go with one manifest, the first one's.
fn reason(deletion: &Deletion) -> String {
    deletion.decisions.first().map(words).unwrap_or_default()
}

/// What goes with a deletion, as people write it.
fn names(repository: &RepositoryName, deletion: &Deletion) -> impl Iterator<Item = String> {
    deletion.decisions.iter().map(|decision| decision.name_in(repository))
}

fn count(deletion: &Deletion, result: &mut RunResult) {
    result.deleted_tags += deletion.tags.len() as u64;
    if deletion.takes_manifest() {
        result.deleted_manifests += 1;
    }
    result.bytes = result.bytes.saturating_add(deletion.unshared_bytes);
}
