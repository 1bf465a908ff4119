//! A policy's run: asked for by the operator, planned and applied by the registry.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::{Approval, Mode, RetentionPolicySpec};
use crate::oci::{Digest, RepositoryName, Tag};

use super::PlanSummary;

/// A policy as it stands in the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicySource {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `spec`.
    pub spec: RetentionPolicySpec,
}

/// Who runs the policies of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyRunner {
    /// Nobody, as far as the registry knows: who has policies posts their runs.
    Nobody,
    /// The registry's own process, by its files (`lagan up`).
    Files,
    /// The operator of a cluster, as far as the registry can tell: it has a control listener.
    Operator,
}

/// The policies that run by themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyList {
    /// Who runs them.
    pub runner: PolicyRunner,
    /// Those that the registry's own process runs.
    pub policies: Vec<PolicySource>,
}

/// Starts a run, or asks for the one of the same id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunRequest {
    /// The run's id: `[a-z0-9][a-z0-9.-]{0,127}`, the policy's UID and the scheduled time or a trigger.
    pub run: String,
    /// The UID of the policy that runs.
    pub policy: String,
    /// All policies of the Registry, the one that runs too: what any of them keeps is kept.
    pub policies: Vec<PolicySource>,
    /// Manual: a plan that deletes anything waits until its hash is approved. The policy's own spec says so as well; it
    /// is said here again so that a registry of a version that cannot wait refuses the run.
    #[serde(default, skip_serializing_if = "Approval::is_automatic")]
    pub approval: Approval,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunState {
    /// Reading the repositories.
    Planning,
    /// Planned; waits to be told what is in use.
    AwaitingUsage,
    /// Planned, less what is in use, and stored: it waits until somebody approves its hash, or its time is over.
    AwaitingApproval,
    /// Deleting.
    Applying,
    /// Done.
    Completed,
    /// The plan was over a limit; nothing was deleted. Only in records of versions whose plans did not wait.
    LimitExceeded,
    /// Ended before its plan was carried out, because its policy changed; the message says how. The rest stays.
    Interrupted,
    /// Stopped by an error; the message says which.
    Failed,
}

impl RunState {
    /// Whether nothing follows.
    #[must_use]
    pub fn is_over(self) -> bool {
        match self {
            Self::Planning | Self::AwaitingUsage | Self::AwaitingApproval | Self::Applying => false,
            Self::Completed | Self::LimitExceeded | Self::Interrupted | Self::Failed => true,
        }
    }
}

/// Why a plan waits for approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Brake {
    /// The policy's approval is Manual.
    Manual,
    /// The plan is over a limit of its policy.
    LimitExceeded,
}

/// A plan that waits for approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwaitedApproval {
    /// Why it waits.
    pub brake: Brake,
    /// Until when. After that, nobody can approve it any more.
    pub expires_at: Timestamp,
}

/// A run, as far as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// The run's id.
    pub run: String,
    /// The policy, as `namespace/name`.
    pub policy: String,
    /// The policy's UID.
    #[serde(default)]
    pub policy_uid: String,
    /// The policy's generation that the run began with.
    #[serde(default)]
    pub generation: i64,
    /// Whether it deletes.
    pub mode: Mode,
    /// How far it is.
    pub state: RunState,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// What it found; absent while planning. Of a plan that was approved: what was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanSummary>,
    /// How many lines the plan has that is stored for reading; absent where none is stored, or not any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_lines: Option<u64>,
    /// Which list of candidates is the run's, where it has had more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// What its plan waits for; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits: Option<AwaitedApproval>,
    /// Whether its plan waited, and was approved.
    #[serde(default)]
    pub approved: bool,
    /// What it did; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<RunResult>,
    /// Some of what it was to delete and did not, and why. Of a plan that did not wait, what came to be kept while it was
    /// made is told in the stored plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Why it is where it is, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a run was to delete, and did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// `repository:tag` or `repository@digest`.
    pub reference: String,
    /// Why, in words.
    pub reason: String,
}

/// What the application of a plan did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunResult {
    /// Tags that are in the trash now.
    pub deleted_tags: u64,
    /// Manifests that are in the trash now.
    pub deleted_manifests: u64,
    /// What was left alone, because it was pushed, moved or restored after the plan was made.
    pub changed_since_planned: u64,
    /// What could not be deleted.
    pub failed: u64,
    /// Bytes that can be reclaimed after the restore window, as far as that is known.
    pub bytes: u64,
}

/// Something that a plan would delete, unless it is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// Its number in this run.
    pub index: u32,
    /// Where it is.
    pub repository: RepositoryName,
    /// The tag; absent for a manifest that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// What the tag points to, or the manifest itself.
    pub digest: Digest,
    /// Its digest, its children's, and the digest of each of their configs: what a container runtime may
    /// report as the image that it runs. No layers.
    pub closure: Vec<Digest>,
}

/// One page of candidates, by index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidatePage {
    /// The candidates.
    pub candidates: Vec<Candidate>,
    /// What to send as `last` for the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
    /// Which list they are of: what is in use is told with its name, so that no number is taken for another list's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
}

/// Applies a plan, less what is in use.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyRequest {
    /// How long listing the cluster took, in seconds: the list is as old as its beginning.
    pub listing_seconds: f64,
    /// Which candidates are in use.
    #[serde(default)]
    pub in_use: Vec<InUse>,
    /// Which list they are of, where the registry said that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// All policies of the Registry as they stand by now: what one of them keeps since the run began is kept. Empty:
    /// as they stood when it began.
    #[serde(default)]
    pub policies: Vec<PolicySource>,
    /// The hash of the plan that waits for approval, to approve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<String>,
}

/// Ends a run that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InterruptRequest {
    /// Why, in words.
    pub reason: String,
}

/// The runs that are remembered, the newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunList {
    /// The runs.
    pub runs: Vec<RunStatus>,
}

/// A candidate that is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InUse {
    /// The candidate's number.
    pub candidate: u32,
    /// By what, in words.
    pub reason: String,
}
