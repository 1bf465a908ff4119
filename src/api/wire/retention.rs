//! A policy's run: asked for by the operator, planned and applied by the registry.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::{Mode, PlanDecision, RetentionPolicySpec};
use crate::oci::{Digest, RepositoryName, Tag};

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
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunState {
    /// Reading the repositories.
    Planning,
    /// Planned; waits to be told what is in use.
    AwaitingUsage,
    /// Deleting.
    Applying,
    /// Done.
    Completed,
    /// The plan was over a limit; nothing was deleted.
    LimitExceeded,
    /// Ended before its plan was carried out, because its policy changed; the message says how. The rest stays.
    Interrupted,
    /// Stopped by an error; the message says which.
    Failed,
}

/// A run, as far as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// The run's id.
    pub run: String,
    /// The policy, as `namespace/name`.
    pub policy: String,
    /// Whether it deletes.
    pub mode: Mode,
    /// How far it is.
    pub state: RunState,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// What it found; absent while planning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanSummary>,
    /// What it did; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<RunResult>,
    /// Why it is where it is, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A plan, counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanSummary {
    /// Covers the policy's UID and generation, the run and every deletion.
    pub hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many tags the policy's repositories have.
    pub tags_in_scope: u64,
    /// How many tags and manifests would go.
    pub deletes: u64,
    /// How many tags and manifests stay.
    pub keeps: u64,
    /// How many would go if nothing used them.
    pub protected_in_use: u64,
    /// The bytes that nothing else in their repository shares, as far as that is known.
    pub reclaimable_bytes: u64,
    /// Some of the decisions, deletions first.
    #[serde(default)]
    pub sample: Vec<PlanLine>,
    /// What would go if it was not for other policies, at most 20 of them.
    #[serde(default)]
    pub prevented: Vec<PreventedLine>,
}

/// What would go if it was not for another policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreventedLine {
    /// That policy, as `namespace/name`.
    pub policy: String,
    /// How many tags and manifests would go without it.
    pub count: u64,
    /// Some of them: `repository:tag` or `repository@digest`.
    pub sample: Vec<String>,
}

/// One decision, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanLine {
    /// `repository:tag` or `repository@digest`.
    pub reference: String,
    /// What is to be done with it.
    pub decision: PlanDecision,
    /// The rule that decided; absent where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
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
}

/// Applies a plan, less what is in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyRequest {
    /// How long listing the cluster took, in seconds: the list is as old as its beginning.
    pub listing_seconds: f64,
    /// Which candidates are in use.
    #[serde(default)]
    pub in_use: Vec<InUse>,
    /// All policies of the Registry as they stand by now: what one of them keeps since the run began is kept. Empty:
    /// as they stood when it began.
    #[serde(default)]
    pub policies: Vec<PolicySource>,
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
