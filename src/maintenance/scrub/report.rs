//! What a scrub has said so far.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use ulid::Ulid;

use crate::api::wire::{
    FindingCount, FindingKind, FindingPage, FindingView, ScrubProgress, ScrubState, ScrubStatus, Treatment,
};
use crate::storage::{self, Finding, InspectionProgress};

/// How many findings are kept; those after them are only counted. 10,000 of them take some 5 MB, and nobody reads more
/// before mending the first.
const MAX_KEPT: usize = 10_000;

/// A scrub, running or ended.
#[derive(Debug)]
pub(super) struct Report {
    id: Ulid,
    state: ScrubState,
    repair: bool,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    message: Option<String>,
    progress: Arc<InspectionProgress>,
    counts: BTreeMap<FindingKind, FindingCount>,
    damage: u64,
    kept: Vec<FindingView>,
}

impl Report {
    pub(super) fn begin(id: Ulid, repair: bool, now: Timestamp, progress: Arc<InspectionProgress>) -> Self {
        Self {
            id,
            state: ScrubState::Running,
            repair,
            started_at: now,
            ended_at: None,
            message: None,
            progress,
            counts: BTreeMap::new(),
            damage: 0,
            kept: Vec::new(),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.state == ScrubState::Running
    }

    pub(super) fn id(&self) -> Ulid {
        self.id
    }

    /// What was found, as far as it was kept.
    pub(super) fn findings(&self) -> &[FindingView] {
        &self.kept
    }

    pub(super) fn note(&mut self, finding: &Finding) {
        let view = view(finding);
        let is_repaired = view.treatment == Treatment::Repaired;
        let count = self.counts.entry(view.kind).or_default();
        count.found += 1;
        count.repaired += u64::from(is_repaired);
        self.damage += u64::from(view.is_damage && !is_repaired);
        if self.kept.len() < MAX_KEPT {
            self.kept.push(view);
        }
    }

    pub(super) fn end(&mut self, state: ScrubState, now: Timestamp, message: Option<String>) {
        (self.state, self.ended_at, self.message) = (state, Some(now), message);
    }

    pub(super) fn status(&self) -> ScrubStatus {
        ScrubStatus {
            id: self.id.to_string(),
            state: self.state,
            repair: self.repair,
            started_at: self.started_at,
            ended_at: self.ended_at,
            progress: progress(&self.progress),
            found: self.counts.clone(),
            damage: self.damage,
            message: self.message.clone(),
        }
    }
}

/// At most `limit` of what was found, after that of number `after`.
pub(super) fn page(found: &[FindingView], after: Option<usize>, limit: usize) -> FindingPage {
    let from = after.map_or(0, |last| last.saturating_add(1)).min(found.len());
    let to = from.saturating_add(limit).min(found.len());
    let findings = found.get(from..to).unwrap_or_default().to_vec();
    let next = (to < found.len()).then(|| to.saturating_sub(1).to_string());
    FindingPage { findings, next }
}

fn progress(progress: &InspectionProgress) -> ScrubProgress {
    let folders = progress.folders.get().max(1);
    ScrubProgress {
        phase: progress.phase().to_owned(),
        blobs_percent: progress.folders_done.get().saturating_mul(100) / folders,
        blobs: progress.blobs.get(),
        bytes: progress.bytes.get(),
        repositories: progress.repositories.get(),
        manifests: progress.manifests.get(),
        tags: progress.tags.get(),
        trash: progress.trash.get(),
    }
}

fn view(finding: &Finding) -> FindingView {
    FindingView {
        kind: kind(finding.kind),
        treatment: match finding.treatment {
            storage::Treatment::Reported => Treatment::Reported,
            storage::Treatment::Repaired => Treatment::Repaired,
            storage::Treatment::Beyond => Treatment::Beyond,
        },
        is_damage: finding.kind.is_damage(),
        path: finding.path.clone(),
        repository: finding.repository.clone(),
        digest: finding.digest.clone(),
        tag: finding.tag.clone(),
        detail: finding.detail.clone(),
    }
}

fn kind(kind: storage::FindingKind) -> FindingKind {
    use storage::FindingKind as K;
    match kind {
        K::CorruptBlob => FindingKind::CorruptBlob,
        K::Unreadable => FindingKind::Unreadable,
        K::TornLink => FindingKind::TornLink,
        K::WrongLink => FindingKind::WrongLink,
        K::MissingManifest => FindingKind::MissingManifest,
        K::MissingBlob => FindingKind::MissingBlob,
        K::WrongSize => FindingKind::WrongSize,
        K::DanglingTag => FindingKind::DanglingTag,
        K::UnreadableRecord => FindingKind::UnreadableRecord,
        K::MissingReferrer => FindingKind::MissingReferrer,
        K::UnlistedTrash => FindingKind::UnlistedTrash,
        K::ForeignWriter => FindingKind::ForeignWriter,
        K::UnknownManifest => FindingKind::UnknownManifest,
        K::DeletedReference => FindingKind::DeletedReference,
        K::MissingFact => FindingKind::MissingFact,
        K::StaleLink => FindingKind::StaleLink,
        K::StaleReferrer => FindingKind::StaleReferrer,
        K::StaleTrash => FindingKind::StaleTrash,
        K::MissingTrash => FindingKind::MissingTrash,
        K::AbandonedUpload => FindingKind::AbandonedUpload,
    }
}
