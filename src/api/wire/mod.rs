//! What a registry and those who administer it say to each other, under `/v2/_lagan/`.
//!
//! Requests with unknown fields are refused, so that a misspelled field never does less than what was asked.
//! Responses may gain fields: readers ignore what they do not know.

mod collection;
mod error;
mod history;
mod plan;
mod retention;
mod scrub;
mod trash;

pub use collection::{
    BlobCount, CollectionHalt, CollectionProblem, CollectionProgress, CollectionRequest, CollectionState,
    CollectionStatus, YoungGarbage,
};
pub use error::{ErrorBody, ErrorEntry, TrashDetail};
pub use history::{TagHistoryEntry, TagHistoryPage};
pub use plan::{
    AskedOfUse, Explanation, PlanLine, PlanPage, PlanReport, PlanRequest, PlanSummary, PlannedVerdict, PreventedLine,
    Verdict,
};
pub use retention::{
    ApplyRequest, AwaitedApproval, Brake, Candidate, CandidatePage, InUse, InterruptRequest, LeftOut, PolicyList,
    PolicyRunner, PolicySource, RunList, RunRequest, RunResult, RunState, RunStatus,
};
pub use scrub::{
    FindingCount, FindingKind, FindingPage, FindingView, ScrubProgress, ScrubRequest, ScrubState, ScrubStatus,
    Treatment,
};
pub use trash::{
    Conflict, MovedTag, PurgeReport, RepositoryDeletion, RepositorySummary, RestoreGroupReport, RestoreGroupRequest,
    RestoreReferenceRequest, RestoreReport, RestoreRequest, TombstoneKind, TombstoneState, TombstoneView, TrashPage,
};
