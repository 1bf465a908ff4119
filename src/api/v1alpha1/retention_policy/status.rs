//! What the operator says about a policy.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Mode;

/// What the operator says about a policy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RetentionPolicyStatus {
    /// The generation of the spec that all of this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the last run was due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Time>,
    /// When the next run is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_schedule_time: Option<Time>,
    /// When a run last ended well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_successful_time: Option<Time>,
    /// The value of the annotation lagan.dev/run-at that was last acted on.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_run_at: Option<String>,
    /// The value of the annotation lagan.dev/approve that was last acted on.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_approval: Option<String>,
    /// What the last run found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// What the last run did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
    /// The runs that have ended, the newest first.
    #[schemars(length(max = 100))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<LastRun>,
    /// What has become of each hold.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<HoldStatus>,
    /// What is well and what is not. Ready is the summary.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// What a run found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// Covers the policy's UID and generation, the run and every deletion.
    #[schemars(length(max = 128))]
    pub hash: String,
    /// The run that made it.
    #[schemars(length(max = 128))]
    pub run: String,
    /// When it was made.
    pub created_at: Time,
    /// Until when it can be approved; absent where it does not wait for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// How many tags the policy's repositories have.
    pub tags_in_scope: i64,
    /// How many tags and manifests it deletes.
    pub deletes: i64,
    /// How many stay.
    pub keeps: i64,
    /// How many would go if nothing used them.
    pub protected_in_use: i64,
    /// The bytes that can be reclaimed after the restore window, as far as that is known.
    pub reclaimable_bytes: i64,
    /// Some of the decisions, deletions first.
    #[schemars(length(max = 20))]
    #[serde(default)]
    pub sample: Vec<PlanSample>,
    /// What would go if it was not for other policies of the Registry.
    #[schemars(length(max = 20))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prevented: Vec<PreventedDeletions>,
}

/// What would go if it was not for another policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreventedDeletions {
    /// That policy, as namespace/name.
    #[schemars(length(max = 512))]
    pub policy: String,
    /// How many tags and manifests would go without it.
    pub count: i64,
    /// Some of them: repository:tag or repository@digest.
    #[schemars(length(max = 5), inner(length(max = 512)))]
    #[serde(default)]
    pub sample: Vec<String>,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanSample {
    /// repository:tag or repository@digest.
    #[schemars(length(max = 512))]
    pub reference: String,
    /// What is to be done with it.
    pub decision: PlanDecision,
    /// The rule that decided; absent where none did.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why, in words.
    #[schemars(length(max = 1024))]
    pub reason: String,
}

/// Whether something stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PlanDecision {
    /// It goes to the trash.
    Delete,
    /// It stays.
    Keep,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// The run's id.
    #[schemars(length(max = 128))]
    pub run: String,
    /// Whether it was to delete.
    pub mode: Mode,
    /// When it began; of a plan that waited, when it was approved.
    pub start_time: Time,
    /// When the registry had taken it on; from then on it goes on, however long that takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_time: Option<Time>,
    /// When it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// How it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<RunOutcome>,
    /// More about it, in words.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Tags that went to the trash.
    #[serde(default)]
    pub deleted_tags: i64,
    /// Manifests that went to the trash.
    #[serde(default)]
    pub deleted_manifests: i64,
    /// What was left alone, because it was pushed, moved or restored after the plan was made.
    #[serde(default)]
    pub changed_since_planned: i64,
    /// What could not be deleted.
    #[serde(default)]
    pub failed: i64,
    /// Bytes that can be reclaimed after the restore window, as far as that is known.
    #[serde(default)]
    pub bytes: i64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunOutcome {
    /// Well.
    Completed,
    /// What is in use could not be found out; nothing was deleted.
    InUseUnknown,
    /// What the Registry's policies keep could not be read; nothing was deleted.
    PoliciesUnknown,
    /// The plan is over a limit, and waits for approval; nothing was deleted.
    LimitExceeded,
    /// The plan waits for approval, because approval is Manual; nothing was deleted.
    AwaitingApproval,
    /// The Registry deletes nothing.
    DeletionUnavailable,
    /// The registry did not answer.
    RegistryUnavailable,
    /// It was cut off.
    Interrupted,
    /// An error stopped it.
    Failed,
}

/// What has become of a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldStatus {
    /// repository:tag or repository@digest.
    #[schemars(length(max = 512))]
    pub reference: String,
    /// Whether the image is there.
    pub state: HoldState,
    /// More about it, in words.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Whether a held image is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HoldState {
    /// It is there and stays.
    Held,
    /// It was in the trash, and is there again.
    Restored,
    /// Neither the registry nor its trash has it.
    Missing,
    /// Its tag points to something else by now; nothing was moved.
    Conflict,
    /// Its time is over.
    Expired,
    /// It could not be looked at.
    Unknown,
}
