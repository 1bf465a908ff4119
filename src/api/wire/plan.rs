//! What a run would delete, and why: counted, line by line, and for one image.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::{Mode, PlanDecision};
use crate::oci::{Digest, Reference, RepositoryName};

use super::{AwaitedApproval, PolicySource, RunState, TombstoneView};

/// A plan, counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanSummary {
    /// Covers the policy's UID and generation, the run and every deletion; absent of a plan that belongs to no run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
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
    /// How many stay for each kind of reason.
    #[serde(default)]
    pub keeps_by_reason: BTreeMap<String, u64>,
    /// The bytes that nothing else in their repository shares, as far as that is known.
    pub reclaimable_bytes: u64,
    /// Some of the decisions, deletions first.
    #[serde(default)]
    pub sample: Vec<PlanLine>,
    /// What would go if it was not for other policies, at most 20 of them.
    #[serde(default)]
    pub prevented: Vec<PreventedLine>,
}

/// Plans a policy, and leaves no trace of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanRequest {
    /// The UID of the policy that is planned.
    pub policy: String,
    /// All policies that count, the one that is planned too: what any of them keeps is kept.
    pub policies: Vec<PolicySource>,
}

/// Who was asked what is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AskedOfUse {
    /// Nobody: a run in a cluster keeps what is in use there, too.
    Nobody,
}

/// What a run of a policy would begin with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// The policy, as `namespace/name`.
    pub policy: String,
    /// Whether a run of it deletes.
    pub mode: Mode,
    /// The plan, counted.
    pub plan: PlanSummary,
    /// Who was asked what is in use.
    pub in_use: AskedOfUse,
    /// What else is to be said of it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The lines that were asked for: what goes first, then what stays, each in order.
    pub lines: Vec<PlanLine>,
    /// Whether there are more of them.
    pub more: bool,
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

/// Some lines of a stored plan, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanPage {
    /// The lines; there may be none, although more follow.
    pub lines: Vec<PlanLine>,
    /// What to send as `last` for the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// What the policies say about one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Its repository.
    pub repository: RepositoryName,
    /// The tag or digest that was asked about.
    pub reference: Reference,
    /// The manifest that it is; absent where it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What the newest plan of each policy says of it.
    pub planned: Vec<PlannedVerdict>,
    /// What a run of each policy would say by now, as far as the registry knows: in a cluster, what is in use is known
    /// while a run is applied only.
    pub now: Vec<Verdict>,
    /// When the policies were told to the registry that `now` goes by; absent where none were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies_of: Option<Timestamp>,
    /// What the trash has of it, the newest first.
    pub trash: Vec<TombstoneView>,
}

/// What a stored plan says of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedVerdict {
    /// The policy, as `namespace/name`.
    pub policy: String,
    /// The run.
    pub run: String,
    /// Whether it was to delete.
    pub mode: Mode,
    /// How far the run is.
    pub state: RunState,
    /// When the plan was made.
    pub created_at: Timestamp,
    /// What the plan waits for; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits: Option<AwaitedApproval>,
    /// The line.
    pub line: PlanLine,
}

/// What a policy says of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The policy, as `namespace/name`.
    pub policy: String,
    /// The line.
    pub line: PlanLine,
}
