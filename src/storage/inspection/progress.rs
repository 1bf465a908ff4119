//! How far an inspection is.

use std::sync::{Mutex, PoisonError};

use crate::storage::Tally;

/// What was looked at so far.
#[derive(Debug, Default)]
pub struct InspectionProgress {
    phase: Mutex<&'static str>,
    /// Folders of blobs that were looked through, of [`Self::folders`].
    pub folders_done: Tally,
    /// Folders of blobs; all have about as many.
    pub folders: Tally,
    /// Blobs that were hashed.
    pub blobs: Tally,
    /// Their length in bytes.
    pub bytes: Tally,
    /// Repositories that were looked at.
    pub repositories: Tally,
    /// Manifests that were looked at.
    pub manifests: Tally,
    /// Tags that were looked at.
    pub tags: Tally,
    /// Entries of the trash that were looked at.
    pub trash: Tally,
}

impl InspectionProgress {
    pub(super) fn begin(&self, phase: &'static str) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// What is being looked at; empty before the first thing is.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
