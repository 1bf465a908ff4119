//! The retention engine: policies, a snapshot of a repository and the time go in, a plan comes out, with a reason
//! for every decision.
//!
//! Pure: no IO, no clock, no logging, no serialization. A registry is planned a repository at a time
//! ([`plan_repository`]) and the results are summed ([`Plan`]), so that the whole of it is never needed at once.
//!
//! # Semantics
//!
//! - Policies delete *tags*. A tag goes if the policy that runs wants it gone (a rule matches it and none of the
//!   criteria of any matching rule holds; or no rule matches and `unmatchedTags` is Delete) and *nothing* keeps it.
//! - What keeps, beats every wish to delete, whichever policy of the Registry says it, in a dry run or suspended too:
//!   a hold, use by the cluster, immutability, a criterion, the `minimumAge` of any policy whose repositories it is among, a
//!   restore less than a restore window ago, a fact that is missing or unreadable.
//! - A policy whose granularity is Image looks at the tags of one manifest together: they are as young, and as lately
//!   pulled, as the youngest and the last pulled of them; they share one place where tags are counted; and what keeps one
//!   of them keeps all. Tags of which the policy says nothing keep no others.
//! - A *manifest* follows only if `untagged` of the running policy is Delete, no tag points to it, no kept index
//!   lists it, its subject is not kept, and no tag has pointed to it for `untagged.minimumAge`. With 0s it goes in
//!   the same run as its last tag. Referrers go with their subject, unless `referrers.orphaned` is Keep.
//! - An unreadable manifest may refer to anything: no manifest of its repository is deleted, only tags.

mod criterion;
mod decision;
mod graph;
mod hold;
mod immutable;
mod manifests;
mod pattern;
mod plan;
mod planning;
mod policy;
mod protection;
mod reason;
mod repository_plan;
mod rule;
mod schedule;
mod snapshot;
mod standing;
mod tags;
mod usage;
mod version;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod scenarios;

pub use criterion::Criterion;
pub use decision::{Action, Decision, Deletion};
pub use hold::Hold;
pub use immutable::ImmutableTags;
pub use pattern::{PatternError, RepositoryPatterns, TagPatterns};
pub use plan::{LimitExceeded, Plan, PreventedBy, Remark};
pub use planning::Planning;
pub use policy::{
    Granularity, InUseProtection, Limits, Mode, OrphanedReferrers, Policy, PolicyId, UnmatchedTags, Untagged,
    UntaggedAction,
};
pub use reason::Reason;
pub use repository_plan::{Prevented, RepositoryPlan, plan_repository};
pub use rule::{Rule, RuleError};
pub use schedule::{Due, Schedule, ScheduleError};
pub use snapshot::{Blob, ImageFacts, ManifestContent, ManifestSnapshot, PullsKnown, RepositorySnapshot, TagSnapshot};
pub use usage::Usage;
pub use version::{VersionMiss, VersionRule};
