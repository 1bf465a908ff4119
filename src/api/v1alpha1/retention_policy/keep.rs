//! What stays.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Duration;
use crate::api::v1alpha1::rules::rules;

/// Tags, and when they stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "has(self.always) || has(self.mostRecentlyPushed) || has(self.pushedWithin)",
    "a keep rule needs a criterion: always: {}, mostRecentlyPushed or pushedWithin; without one it would delete every tag that it matches"
)])))]
pub struct KeepRule {
    /// The rule's name, which the reasons of a plan use.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Patterns of the tags that the rule is about, such as `v*` or `pr-*`. `*` stands for anything.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 128)))]
    pub tags: Vec<String>,
    /// All of them stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always: Option<Always>,
    /// So many stay in each repository, those that were pushed last.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_recently_pushed: Option<u32>,
    /// Those stay that were pushed less than this ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed_within: Option<Duration>,
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

/// An image that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "self.reference.matches('^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$') || self.reference.matches('^sha256:[0-9a-f]{64}$') || self.reference.matches('^sha512:[0-9a-f]{128}$')",
    "a hold's reference is a tag such as v1.2, or a digest such as sha256: and 64 lowercase hexadecimal characters; the repository goes into the field repository"
)])))]
pub struct Hold {
    /// The repository.
    #[schemars(length(min = 1, max = 255))]
    pub repository: String,
    /// The tag or digest. A tag holds whatever it points to.
    #[schemars(length(min = 1, max = 135))]
    pub reference: String,
    /// Until when it is held. For good where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Why, for those who read this later.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
