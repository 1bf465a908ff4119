//! What a collection has said so far.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use ulid::Ulid;

use crate::api::v1alpha1::CollectionBrake;
use crate::api::wire::{
    self, BlobCount, CollectionHalt, CollectionProblem, CollectionState, CollectionStatus, YoungGarbage,
};
use crate::storage::{CollectionProgress, Marked};

use super::records::Record;

/// A collection, running or ended.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) id: Ulid,
    pub(super) dry_run: bool,
    state: CollectionState,
    confirmed_by: Option<String>,
    passed: Vec<CollectionBrake>,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    pub(super) repositories: Option<u64>,
    young: Option<YoungGarbage>,
    pub(super) uploads_purged: u64,
    pub(super) halt: Option<CollectionHalt>,
    message: Option<String>,
    progress: Arc<CollectionProgress>,
}

impl Report {
    pub(super) fn begin(id: Ulid, dry_run: bool, now: Timestamp, progress: Arc<CollectionProgress>) -> Self {
        Self {
            id,
            dry_run,
            state: CollectionState::Running,
            confirmed_by: None,
            passed: Vec::new(),
            started_at: now,
            ended_at: None,
            repositories: None,
            young: None,
            uploads_purged: 0,
            halt: None,
            message: None,
            progress,
        }
    }

    /// Somebody lets it pass these.
    pub(super) fn confirmed(self, actor: &str, passed: Vec<CollectionBrake>) -> Self {
        Self { confirmed_by: Some(actor.to_owned()), passed, ..self }
    }

    pub(super) fn is_running(&self) -> bool {
        self.state == CollectionState::Running
    }

    pub(super) fn end(&mut self, state: CollectionState, now: Timestamp, message: Option<String>) {
        (self.state, self.ended_at, self.message) = (state, Some(now), message);
    }

    /// Everything was looked at.
    pub(super) fn marked(&mut self, marked: &Marked, grace: Duration) {
        self.repositories = Some(marked.repositories());
        self.young = marked.young().map(|(sum, until)| YoungGarbage {
            blobs: sum.blobs,
            bytes: sum.bytes,
            until,
            grace_seconds: grace.as_secs(),
        });
    }

    /// As it is noted for others.
    pub(super) fn record(&self, beat: u64) -> Record {
        Record { beat, status: self.status(), passed: self.passed.clone(), repositories: self.repositories }
    }

    pub(super) fn status(&self) -> CollectionStatus {
        let progress = &self.progress;
        let count = |blobs: u64, bytes: u64| BlobCount { blobs, bytes };
        CollectionStatus {
            id: self.id.to_string(),
            state: self.state,
            dry_run: self.dry_run,
            confirmed_by: self.confirmed_by.clone(),
            started_at: self.started_at,
            ended_at: self.ended_at,
            progress: wire::CollectionProgress {
                phase: progress.phase().to_owned(),
                blobs: progress.blobs.get(),
                repositories: progress.repositories.get(),
                manifests: progress.manifests.get(),
                swept: progress.swept.get(),
            },
            garbage: count(progress.garbage_blobs.get(), progress.garbage_bytes.get()),
            young: self.young,
            removed: count(progress.removed_blobs.get(), progress.removed_bytes.get()),
            kept: progress.kept.get(),
            uploads_purged: self.uploads_purged,
            tombstones_expired: progress.tombstones_expired.get(),
            problems: progress.problems().into_iter().map(problem).collect(),
            problem_count: progress.problem_count.get(),
            halt: self.halt.clone(),
            message: self.message.clone(),
        }
    }
}

fn problem(found: crate::storage::CollectionProblem) -> CollectionProblem {
    CollectionProblem { repository: found.repository, digest: found.digest, message: found.message }
}
