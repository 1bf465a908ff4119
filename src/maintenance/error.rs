//! What can go wrong with maintenance.

use jiff::Timestamp;

use crate::storage;

use super::RunId;

/// An error of the maintenance layer. Which HTTP status it becomes is `http`'s business.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request makes no sense, whatever the registry holds.
    #[error("{reason}")]
    InvalidRequest {
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// Deletion is switched off, or the registry takes no writes: there is nothing to plan.
    #[error("policies cannot run: {reason}")]
    DeletionUnavailable {
        /// Which setting it is.
        reason: &'static str,
    },
    /// No such run: never asked for, or forgotten since.
    #[error("run {run} is not known")]
    RunUnknown {
        /// Its id.
        run: RunId,
    },
    /// No plan of the run is stored, or not any more.
    #[error("no plan of run {run} is stored")]
    PlanUnknown {
        /// Its id.
        run: RunId,
    },
    /// One run at a time: another one is in progress.
    #[error("run {active} is in progress")]
    Busy {
        /// The other one.
        active: RunId,
    },
    /// One plan without a trace at a time: another one is being made.
    #[error("another plan is being made")]
    Forecasting,
    /// This process runs no such policy by itself.
    #[error("no policy {policy} runs here by itself")]
    PolicyUnknown {
        /// As `namespace/name`.
        policy: String,
    },
    /// The run is not that far yet.
    #[error("run {run} is still {state}")]
    NotReady {
        /// Its id.
        run: RunId,
        /// What it is doing.
        state: &'static str,
    },
    /// The run has other candidates by now than those that were read.
    #[error("the candidates of run {run} are not those that were read: another replica planned it anew")]
    ListReplaced {
        /// Its id.
        run: RunId,
    },
    /// One scrub at a time: another one is in progress.
    #[error("scrub {id} is in progress since {since}")]
    Scrubbing {
        /// Its name.
        id: String,
        /// When it began.
        since: Timestamp,
    },
    /// One collection at a time: another one is in progress.
    #[error("collection {id} is in progress since {since}")]
    Collecting {
        /// Its name.
        id: String,
        /// When it began.
        since: Timestamp,
    },
    /// There is no scrub to speak of.
    #[error("no scrub of the registry is known")]
    NeverScrubbed,
    /// The storage failed.
    #[error("could not {action}")]
    Storage {
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// The storage's error.
        source: storage::Error,
    },
    /// A record of a run could not be understood.
    #[error("record {record} of run {run} could not be read")]
    Corrupt {
        /// The run.
        run: RunId,
        /// Which of its records.
        record: String,
        /// What the parser says.
        source: serde_json::Error,
    },
}
