//! How far a collection is.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::oci::{Digest, RepositoryName};
use crate::storage::Tally;

/// How many problems are kept; those after them are only counted. Nobody reads more before mending the first.
const MAX_PROBLEMS: usize = 100;

/// Something damaged that a collection came upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionProblem {
    /// In which repository, if in one.
    pub repository: Option<RepositoryName>,
    /// Of what.
    pub digest: Option<Digest>,
    /// What is wrong, and what was kept because of it.
    pub message: String,
}

/// What was looked at, and done, so far.
#[derive(Debug, Default)]
pub struct CollectionProgress {
    phase: Mutex<&'static str>,
    /// Blobs that are stored.
    pub blobs: Tally,
    /// Repositories that were looked at.
    pub repositories: Tally,
    /// Manifests that were looked at.
    pub manifests: Tally,
    /// Blobs that nothing needs, and that are old enough.
    pub garbage_blobs: Tally,
    /// Their length.
    pub garbage_bytes: Tally,
    /// Of them, those that were dealt with.
    pub swept: Tally,
    /// Blobs that were removed.
    pub removed_blobs: Tally,
    /// Their length.
    pub removed_bytes: Tally,
    /// Blobs that were kept, because somebody came to rely on them.
    pub kept: Tally,
    /// Entries of the trash that were removed.
    pub tombstones_expired: Tally,
    problems: Mutex<Vec<CollectionProblem>>,
    /// How much was damaged.
    pub problem_count: Tally,
}

impl CollectionProgress {
    /// `open`, `list`, `mark`, `sweep`, then `clean`; empty before.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, phase: &'static str) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// What is damaged: the first hundred.
    #[must_use]
    pub fn problems(&self) -> Vec<CollectionProblem> {
        self.problem_list().clone()
    }

    pub(super) fn note_problem(&self, problem: CollectionProblem) {
        let CollectionProblem { repository, digest, message } = &problem;
        let repository = repository.as_ref().map(ToString::to_string).unwrap_or_default();
        let digest = digest.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(repository, digest, message, "a collection came upon damage");
        self.problem_count.add(1);
        let mut problems = self.problem_list();
        if problems.len() < MAX_PROBLEMS {
            problems.push(problem);
        }
    }

    /// What is looked at begins anew. What was removed stays so.
    pub(super) fn restart(&self) {
        let looked_at = [&self.blobs, &self.repositories, &self.manifests, &self.garbage_blobs, &self.garbage_bytes];
        looked_at.into_iter().chain([&self.swept, &self.problem_count]).for_each(Tally::reset);
        self.problem_list().clear();
    }

    fn problem_list(&self) -> MutexGuard<'_, Vec<CollectionProblem>> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
