//! `RetentionPolicy`: what a registry keeps, and what it deletes on a schedule.

mod compile;
mod compile_rule;
mod field_path;
mod in_use;
mod keep;
mod scope;
mod status;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Duration;
use crate::api::v1alpha1::rules::{demanded_by_rules, rules, rules_of_duration, where_duration};

pub use field_path::{FieldPath, FieldPathError, Misfit};
pub use in_use::{
    CustomResourceImages, ExtraImages, ImageListReference, InUseProtection, InUseScope, InUseSpec, RolloutHistory,
};
pub use keep::{
    Always, Hold, KeepRule, OrphanedReferrers, ReferrersSpec, SemverCriterion, UntaggedAction, UntaggedSpec,
};
pub use scope::{Granularity, LimitsSpec, RegistryReference, RepositorySelector, UnmatchedTags};
pub use status::{
    HoldState, HoldStatus, LastRun, PlanDecision, PlanSample, PlanStatus, PreventedDeletions, RetentionPolicyStatus,
    RunOutcome,
};

/// What a registry keeps, and what it deletes on a schedule.
#[derive(CustomResource, JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "lagan.dev",
    version = "v1alpha1",
    kind = "RetentionPolicy",
    plural = "retentionpolicies",
    shortname = "retpol",
    category = "lagan",
    namespaced,
    derive = "PartialEq",
    status = "RetentionPolicyStatus",
    doc = "A RetentionPolicy says what a Registry keeps. What no policy keeps goes to the trash on a schedule, and can be restored within the Registry's restore window. It is an administrator's object: who may write one may delete and restore in every repository of its Registry.",
    printcolumn(name = "Registry", type_ = "string", json_path = ".spec.registryRef.name"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Suspend", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Last Run", type_ = "date", json_path = ".status.lastScheduleTime"),
    printcolumn(name = "Result", type_ = "string", json_path = ".status.lastRun.result"),
    printcolumn(name = "Deletes", type_ = "integer", json_path = ".status.plan.deletes", priority = 1),
    printcolumn(name = "Next Run", type_ = "string", json_path = ".status.nextScheduleTime", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = (
        "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$')",
        "metadata.name must be at most 52 lowercase letters, digits and dashes, and start with a letter"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = demanded_by_rules)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "has(self.registryRef)",
        "a policy needs a Registry: write its name, such as registryRef: {name: main}"
    ),
    (
        &where_duration("self.minimumAge", "size(self.keep) > 0 || self.unmatchedTags == 'Delete' || self.untagged.action == 'Delete' || size(self.holds) > 0 || duration(self.minimumAge) > duration('1h')"),
        "this policy does nothing: write rules into keep, such as {name: releases, tags: [\"v*\"], always: {}}, or else unmatchedTags: Delete, untagged: {action: Delete}, a minimumAge of more than 1h, or holds"
    ),
])))]
pub struct RetentionPolicySpec {
    /// The Registry of this namespace that the policy is for. Cannot change.
    #[schemars(extend("x-kubernetes-validations" = rules(&[(
        "self.name == oldSelf.name",
        "registryRef cannot change: make another policy for the other Registry"
    )])))]
    pub registry_ref: RegistryReference,
    /// DryRun: each run says in the status what it would delete. Enforce: it deletes it.
    #[serde(default)]
    pub mode: Mode,
    /// Automatic: a plan within the limits is applied at once. Manual: a plan that deletes anything waits, for seven days
    /// at most, until the annotation lagan.dev/approve has its hash.
    #[serde(default)]
    pub approval: Approval,
    /// When to run, as cron writes it: minute, hour, day of the month, month, day of the week.
    #[schemars(length(min = 1, max = 128))]
    #[serde(default = "default_schedule")]
    pub schedule: String,
    /// The time zone of the schedule, as the tz database names it.
    #[schemars(length(min = 1, max = 64))]
    #[serde(default = "default_time_zone")]
    pub time_zone: String,
    /// No run starts while this is true. What the policy keeps stays kept from other policies, and holds work.
    #[serde(default)]
    pub suspend: bool,
    /// How late a run may start. One that is later is skipped, and the next one is on time. At least 1m.
    #[schemars(extend("x-kubernetes-validations" = rules_of_duration(&[(
        "duration(self) >= duration('1m')",
        "startingDeadline must be at least 1m: the operator may be restarting when a run is due"
    )])))]
    #[serde(default = "default_starting_deadline")]
    pub starting_deadline: Duration,
    /// Which repositories the policy is about.
    #[serde(default)]
    pub repositories: RepositorySelector,
    /// Nothing that was pushed less than this ago is deleted, whatever the rules say.
    #[serde(default = "default_minimum_age")]
    pub minimum_age: Duration,
    /// What becomes of tags that no rule matches. Ignore: this policy says nothing about them. Delete: they
    /// are deleted.
    #[serde(default)]
    pub unmatched_tags: UnmatchedTags,
    /// Tag: each tag is counted and decided by itself. Image: the tags of one image are counted once, by the latest push or
    /// pull of any of them, and all of them stay if one does, as in Harbor and ECR.
    #[serde(default)]
    pub granularity: Granularity,
    /// What stays. A tag stays if any criterion of any rule that matches it holds; a tag that a rule matches
    /// and none keeps is deleted.
    #[schemars(length(max = 64))]
    #[schemars(extend("x-kubernetes-validations" = rules(&[(
            "self.all(rule, self.exists_one(other, other.name == rule.name))",
            "each keep rule needs a name of its own: it says in the plan which rule decided"
        )])))]
    #[serde(default)]
    pub keep: Vec<KeepRule>,
    /// What becomes of manifests that no tag reaches any more.
    #[serde(default)]
    pub untagged: UntaggedSpec,
    /// What becomes of signatures and other manifests without a tag that refer to one that is gone.
    #[serde(default)]
    pub referrers: ReferrersSpec,
    /// Whether images that the cluster runs are kept.
    #[serde(default)]
    pub in_use: InUseSpec,
    /// Images that stay, and that are restored if they are in the trash. Holds work in DryRun and while the
    /// policy is suspended, too.
    #[schemars(length(max = 256))]
    #[serde(default)]
    pub holds: Vec<Hold>,
    /// How much one run may delete. A larger plan waits, for seven days at most, until the annotation
    /// lagan.dev/approve has its hash.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// How many ended runs the status remembers.
    #[schemars(range(min = 0, max = 100))]
    #[serde(default = "default_history_limit")]
    pub history_limit: u32,
}

/// Whether a policy deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// It only says what it would delete.
    #[default]
    DryRun,
    /// It deletes.
    Enforce,
}

/// Whether a plan is applied without anybody looking at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// It is, within the policy's limits.
    #[default]
    Automatic,
    /// It waits until its hash is approved.
    Manual,
}

impl Approval {
    /// Whether nobody is waited for.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        *self == Self::Automatic
    }
}

/// Ten nights: enough to see what is usual.
fn default_history_limit() -> u32 {
    10
}

/// Every night, when registries have least to do.
fn default_schedule() -> String {
    "0 3 * * *".to_owned()
}

fn default_time_zone() -> String {
    "Etc/UTC".to_owned()
}

fn default_starting_deadline() -> Duration {
    Duration::from_hours(1)
}

/// A client that pushes an image's tag may still be pushing what refers to it.
fn default_minimum_age() -> Duration {
    Duration::from_hours(1)
}
