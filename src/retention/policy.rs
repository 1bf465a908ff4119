//! A policy that can be planned with.

use std::{fmt, time::Duration};

use super::{Criterion, Hold, RepositoryPatterns, Rule};

/// Which policy, at which generation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: a policy that was deleted and made again is another one.
    pub uid: String,
    /// The generation of its spec.
    pub generation: i64,
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Whether a plan is applied. Planning does not look at it: a dry run plans what an enforced one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is for reading.
    DryRun,
    /// It is applied.
    Enforce,
}

/// What becomes of tags that no rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnmatchedTags {
    /// The policy says nothing of them.
    Ignore,
    /// They are deleted.
    Delete,
}

/// What a policy counts, and what it keeps together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granularity {
    /// Each tag by itself.
    Tag,
    /// The tags of a manifest together: one place for all of them, all as young as the youngest, and all stay if one does.
    Image,
}

/// What becomes of manifests that no tag reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UntaggedAction {
    /// The policy deletes no manifests.
    Keep,
    /// They are deleted.
    Delete,
}

/// What becomes of manifests that no tag reaches, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Untagged {
    /// What.
    pub action: UntaggedAction,
    /// For how long no tag must have pointed to a manifest.
    pub minimum_age: Duration,
}

/// What becomes of manifests without a tag that say something about one that is not there, or that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrphanedReferrers {
    /// They go as manifests without a tag do, or with their subject.
    Delete,
    /// They stay.
    Keep,
}

/// Whether the cluster is asked what it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InUseProtection {
    /// It is, and what it runs is kept.
    Enabled,
    /// It is not.
    Disabled,
}

/// How much one run may delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tags, and manifests that had no tag, together.
    pub max_deletions: u64,
    /// Tags, of a hundred that the policy's repositories have.
    pub max_delete_percent: u32,
}

/// What a policy keeps and what it deletes. Every part of it is valid by its type.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Which one.
    pub id: PolicyId,
    /// Whether its plans are applied.
    pub mode: Mode,
    /// Whether it runs. What it keeps is kept all the same.
    pub suspended: bool,
    /// Where it applies. Holds apply wherever they say.
    pub repositories: RepositoryPatterns,
    /// The floor under everything in its repositories: nothing pushed less than this ago is deleted there.
    pub minimum_age: Duration,
    /// Tags that no rule matches.
    pub unmatched_tags: UnmatchedTags,
    /// What is counted, and what stays together.
    pub granularity: Granularity,
    /// What stays.
    pub keep: Vec<Rule>,
    /// Manifests that no tag reaches.
    pub untagged: Untagged,
    /// Referrers without a subject.
    pub orphaned: OrphanedReferrers,
    /// Whether images in use are kept.
    pub in_use: InUseProtection,
    /// What stays in any case.
    pub holds: Vec<Hold>,
    /// How much one run may delete.
    pub limits: Limits,
}

impl Policy {
    /// Everything that its rules ask.
    pub fn criteria(&self) -> impl Iterator<Item = &Criterion> {
        self.keep.iter().flat_map(Rule::criteria)
    }
}
