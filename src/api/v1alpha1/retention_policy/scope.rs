//! What a policy is about, and how far it may go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::rules::rules;

/// A Registry of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistryReference {
    /// The Registry's name.
    #[schemars(length(min = 1, max = 52))]
    pub name: String,
}

/// Which repositories are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RepositorySelector {
    /// Patterns of which a repository's whole name must match one. `*` stands for anything but a slash, `**`
    /// for anything: `team/*` is team/app but not team/app/cache, which `team/**` is too. What follows `regex:` is a
    /// regular expression that must match the whole name, such as `regex:team/(app|web)`.
    #[schemars(length(max = 64), inner(length(min = 1, max = 255)))]
    #[schemars(extend("x-kubernetes-validations" = rules(&[(
        "size(self) > 0",
        "repositories.include names no repository: write [\"**\"] for all of them"
    )])))]
    pub include: Vec<String>,
    /// Patterns of which it must match none.
    #[schemars(length(max = 64), inner(length(min = 1, max = 255)))]
    pub exclude: Vec<String>,
}

impl Default for RepositorySelector {
    fn default() -> Self {
        Self { include: vec!["**".to_owned()], exclude: Vec::new() }
    }
}

/// What becomes of tags that no rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum UnmatchedTags {
    /// The policy says nothing about them.
    #[default]
    Ignore,
    /// They are deleted.
    Delete,
}

/// What is counted, and what stays together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Granularity {
    /// Each tag by itself.
    #[default]
    Tag,
    /// The tags of an image together.
    Image,
}

/// How much one run may delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitsSpec {
    /// How many tags and manifests together.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub max_deletions: u32,
    /// How many of a hundred tags in the policy's repositories. 100 is no limit.
    #[schemars(extend("x-kubernetes-validations" = rules(&[(
        "self <= 100",
        "maxDeletePercent is of a hundred tags: write 0 to 100, which is no limit"
    )])))]
    pub max_delete_percent: u32,
}

impl Default for LimitsSpec {
    /// Enough for the daily work of a busy registry; a misspelled pattern that matches everything is more.
    fn default() -> Self {
        Self { max_deletions: 1000, max_delete_percent: 25 }
    }
}
