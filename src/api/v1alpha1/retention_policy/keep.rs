//! What stays.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::rules::{demanded_by_rules, rules, rules_of_duration};
use crate::api::{Duration, Quantity};

/// What a time must be within which something stays.
const KEEPS_SOMETHING: (&str, &str) = (
    "duration(self) > duration('0s')",
    "write a time such as 720h: 0s keeps nothing, so the rule would delete every tag that it matches",
);

/// Tags, and when they stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "has(self.always) || has(self.mostRecentlyPushed) || has(self.mostRecentlyPulled) || has(self.pushedWithin) || has(self.pulledWithin) || has(self.createdWithin) || has(self.semver) || has(self.labels) || has(self.annotations) || has(self.artifactTypes) || has(self.platforms) || has(self.withinSize)",
    "a keep rule needs a criterion, such as always: {}, mostRecentlyPushed, pushedWithin, pulledWithin or semver; without one it would delete every tag that it matches"
)])))]
pub struct KeepRule {
    /// The rule's name, which the reasons of a plan use.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Patterns of the tags that the rule is about, such as `v*` or `pr-*`. `*` stands for anything. What follows
    /// `regex:` is a regular expression that must match the whole tag, such as `regex:v[0-9]+`.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256)))]
    pub tags: Vec<String>,
    /// All of them stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always: Option<Always>,
    /// So many stay in each repository, those that were pushed last.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_recently_pushed: Option<u32>,
    /// So many stay in each repository, those that were pulled last. What was never pulled counts from its push.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_recently_pulled: Option<u32>,
    /// Those stay that were pushed less than this ago.
    #[schemars(extend("x-kubernetes-validations" = rules_of_duration(&[KEEPS_SOMETHING])))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed_within: Option<Duration>,
    /// Those stay that were pulled less than this ago, by tag or by digest. What was never pulled counts from its push.
    #[schemars(extend("x-kubernetes-validations" = rules_of_duration(&[KEEPS_SOMETHING])))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulled_within: Option<Duration>,
    /// Those stay whose image says that it was made less than this ago, or does not say when.
    #[schemars(extend("x-kubernetes-validations" = rules_of_duration(&[KEEPS_SOMETHING])))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_within: Option<Duration>,
    /// Those stay that are versions, as semver.org writes them, of a range or among the highest. `semver: {}` is all
    /// versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semver: Option<SemverCriterion>,
    /// Those stay whose image's config has all of these labels.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 1024}))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Those stay whose manifest has all of these annotations.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 1024}))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Those stay that are artifacts of one of these types: the manifest's artifactType, or else the media type of its
    /// config.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 255)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_types: Option<Vec<String>>,
    /// Those stay that are for one of these platforms, such as linux/arm64 or linux/arm/v7.
    #[schemars(length(min = 1, max = 16), inner(length(min = 3, max = 128)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platforms: Option<Vec<String>>,
    /// Those stay that were pushed last and together take no more than this in each repository, such as 20Gi. What they
    /// share counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_size: Option<Quantity>,
}

/// Which versions stay. Of keepPerMajor, keepPerMinor and keepPerPatch it is enough that one holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SemverCriterion {
    /// Of which range, as Cargo writes it, such as `>=1.0.0` or `^2.1, <2.5`. Pre-releases are in a range only where it
    /// names one of the same version. All where it is not given.
    #[schemars(length(min = 1, max = 128))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
    /// So many of each major version stay, the highest.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_per_major: Option<u32>,
    /// So many of each minor version stay, the highest.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_per_minor: Option<u32>,
    /// So many of each patch version stay: itself, and its highest pre-releases.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_per_patch: Option<u32>,
}

/// All of them. There is nothing more to say: write `always: {}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Always {}

/// What becomes of manifests that no tag reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UntaggedSpec {
    /// Keep: they stay, and a run that deletes tags frees no space. Delete: they go.
    pub action: UntaggedAction,
    /// For how long no tag must have reached a manifest before it goes. With 0s it goes in the same run as its
    /// last tag.
    pub minimum_age: Duration,
}

impl Default for UntaggedSpec {
    fn default() -> Self {
        Self { action: UntaggedAction::Keep, minimum_age: Duration::from_hours(24) }
    }
}

/// What becomes of manifests that no tag reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum UntaggedAction {
    /// They stay.
    #[default]
    Keep,
    /// They go.
    Delete,
}

/// What becomes of manifests without a tag that refer to another one, such as signatures.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReferrersSpec {
    /// Delete: where untagged.action is Delete, they go with what they refer to, and where that is not there, as other
    /// manifests without a tag. Keep: they stay.
    pub orphaned: OrphanedReferrers,
}

/// What becomes of referrers whose subject is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum OrphanedReferrers {
    /// They go.
    #[default]
    Delete,
    /// They stay.
    Keep,
}

/// An image that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = demanded_by_rules)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "has(self.repository) && size(self.repository) > 0",
        "a hold needs a repository: write its name, such as repository: team/app"
    ),
    (
        "has(self.reference) && size(self.reference) > 0",
        "a hold needs a reference: write the tag or the digest that is to stay, such as reference: v1.2"
    ),
    (
        "!has(self.reference) || size(self.reference) == 0 || self.reference.matches('^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$') || self.reference.matches('^sha256:[0-9a-f]{64}$') || self.reference.matches('^sha512:[0-9a-f]{128}$')",
        "a hold's reference is a tag such as v1.2, or a digest such as sha256: and 64 lowercase hexadecimal characters; the repository goes into the field repository"
    ),
])))]
pub struct Hold {
    /// The repository.
    #[schemars(length(max = 255))]
    pub repository: String,
    /// The tag or digest. A tag holds whatever it points to.
    #[schemars(length(max = 135))]
    pub reference: String,
    /// Until when it is held. For good where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Why, for those who read this later.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
