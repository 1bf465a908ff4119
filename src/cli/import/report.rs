//! What became of an import.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::cli::output::{self, counted};
use crate::cli::progress;

/// What became of an import.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// Whether nothing was to be copied.
    pub(super) dry_run: bool,
    /// Repositories that were looked at.
    pub(super) repositories: usize,
    /// Tags that were copied; in a dry run, that would be.
    pub(super) tags_copied: usize,
    /// Tags that pointed to the same already.
    pub(super) tags_present: usize,
    /// Manifests that were copied.
    pub(super) manifests_copied: usize,
    /// Blobs that were copied.
    pub(super) blobs_copied: usize,
    /// Blobs that were taken over from another repository of the target.
    pub(super) blobs_mounted: usize,
    /// Blobs that were there already.
    pub(super) blobs_present: usize,
    /// Bytes of the blobs that were copied.
    pub(super) bytes_copied: u64,
    /// What could not be copied.
    pub(super) failures: Vec<ImageFailure>,
}

/// What could not be copied, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageFailure {
    /// The repository.
    pub(super) repository: String,
    /// The tag; empty where the repository could not be listed.
    pub(super) tag: String,
    /// Why, in words.
    pub(super) reason: String,
}

/// Counts while it goes on.
#[derive(Debug)]
pub(super) struct Tally {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    report: Report,
    /// Repositories whose tags are known, and those tags.
    listed: usize,
    tags: usize,
}

impl Tally {
    pub(super) fn new(dry_run: bool) -> Self {
        let report = Report { dry_run, ..Report::default() };
        Self { state: Mutex::new(State { report, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many repositories are to be looked at.
    pub(super) fn expect(&self, repositories: usize) {
        self.state().report.repositories = repositories;
    }

    /// Another repository has so many tags to copy.
    pub(super) fn listed(&self, tags: usize) {
        let mut state = self.state();
        state.listed += 1;
        state.tags += tags;
    }

    pub(super) fn tag_copied(&self) {
        self.state().report.tags_copied += 1;
    }

    pub(super) fn tag_present(&self) {
        self.state().report.tags_present += 1;
    }

    pub(super) fn manifest_copied(&self) {
        self.state().report.manifests_copied += 1;
    }

    pub(super) fn blob_copied(&self, bytes: u64) {
        let mut state = self.state();
        state.report.blobs_copied += 1;
        state.report.bytes_copied += bytes;
    }

    pub(super) fn blob_mounted(&self) {
        self.state().report.blobs_mounted += 1;
    }

    pub(super) fn blob_present(&self) {
        self.state().report.blobs_present += 1;
    }

    pub(super) fn failed(&self, repository: &str, tag: &str, reason: &str) {
        let failure =
            ImageFailure { repository: repository.to_owned(), tag: tag.to_owned(), reason: reason.to_owned() };
        self.state().report.failures.push(failure);
    }

    pub(super) fn report(&self) -> Report {
        let mut report = self.state().report.clone();
        report.failures.sort_unstable_by(|a, b| (&a.repository, &a.tag).cmp(&(&b.repository, &b.tag)));
        report
    }

    /// How many of each hundred parts are done: repositories, and of those that were listed the tags.
    pub(super) fn percent(&self) -> u64 {
        let state = self.state();
        let report = &state.report;
        let done = report.tags_copied + report.tags_present + report.failures.len();
        let of_listed = done as u64 * 100 / state.tags.max(1) as u64;
        (of_listed * state.listed as u64 / report.repositories.max(1) as u64).min(100)
    }

    pub(super) fn in_words(&self) -> String {
        let state = self.state();
        let report = &state.report;
        format!(
            "{} of {} repositories listed; {} tags copied, {} there already, {} failed; {}",
            state.listed,
            report.repositories,
            report.tags_copied,
            report.tags_present,
            report.failures.len(),
            progress::bytes(report.bytes_copied)
        )
    }
}

/// The report for a person.
pub(super) fn report_text(report: &Report) -> String {
    let mut text = String::new();
    if !report.failures.is_empty() {
        let rows = report.failures.iter().map(|failure| {
            let separator = if failure.tag.is_empty() { "" } else { ":" };
            vec![format!("{}{separator}{}", failure.repository, failure.tag), failure.reason.clone()]
        });
        text = output::table(&["NOT COPIED", "WHY"], rows) + "\n\n";
    }
    let [tags, present] = [report.tags_copied, report.tags_present].map(|tags| counted(tags as u64, "tag"));
    let repositories = counted(report.repositories as u64, "repository");
    if report.dry_run {
        return format!("{text}Would copy {tags} of {repositories}; there already: {present}.");
    }
    format!(
        "{text}Copied {tags} of {repositories}, with {} and {} ({}); there already: {present}.",
        counted(report.manifests_copied as u64, "manifest"),
        counted(report.blobs_copied as u64, "blob"),
        progress::bytes(report.bytes_copied)
    )
}
