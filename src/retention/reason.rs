//! Why something stays or goes.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::oci::{Digest, Tag};

use super::{Criterion, VersionMiss};

/// Why something stays or goes. `Display` says it in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Stays: a hold names it, or holds what it belongs to.
    Held {
        /// The policy that holds it, as `namespace/name`.
        policy: String,
        /// Until when; `None`: for good.
        until: Option<Timestamp>,
        /// Why.
        why: Option<String>,
    },
    /// Stays: the cluster uses it, or something that it belongs to.
    InUse {
        /// What uses it.
        by: String,
    },
    /// Stays: it was restored less than a restore window ago.
    Restored {
        /// When.
        at: Timestamp,
        /// The restore window.
        window: Duration,
    },
    /// Stays: it is younger than a policy's floor.
    TooYoung {
        /// When it was pushed.
        pushed_at: Timestamp,
        /// The floor.
        minimum_age: Duration,
        /// The other policy that it is from; `None`: the one that runs.
        policy: Option<String>,
    },
    /// Stays: it is immutable.
    Immutable,
    /// Stays: it is not known whether a criterion holds.
    Unclear {
        /// Which one.
        criterion: Criterion,
        /// The other policy that it is from; `None`: the one that runs.
        policy: Option<String>,
    },
    /// Stays: a criterion holds.
    Kept {
        /// Which one.
        criterion: Criterion,
        /// The other policy that it is from; `None`: the one that runs.
        policy: Option<String>,
    },
    /// Stays: another tag of the same manifest does, and the policy's granularity is Image.
    OtherTag {
        /// That tag.
        tag: Tag,
        /// The other policy that it is from; `None`: the one that runs.
        policy: Option<String>,
    },
    /// Stays: no rule matches it, and the policy says nothing of such tags.
    NotCovered,
    /// Stays: nobody knows when it was pushed.
    PushTimeUnknown,
    /// Stays: its manifest cannot be read, or is not there.
    Unreadable,
    /// Stays: another manifest cannot be read, and may refer to it.
    MayBeReferred {
        /// The one that cannot be read.
        unreadable: Digest,
    },
    /// Stays: a kept tag points to it.
    Tagged {
        /// That tag.
        tag: Tag,
    },
    /// Stays: a kept index lists it.
    ChildOf {
        /// The index.
        index: Digest,
    },
    /// Stays: it says something about a manifest that is kept.
    ReferrerOf {
        /// That manifest.
        subject: Digest,
    },
    /// Stays: the policy deletes no manifests.
    UntaggedKept,
    /// Stays: the policy keeps what says something about a manifest that is not there, or goes.
    OrphanKept,
    /// Stays: not long enough without a tag.
    UntaggedTooShort {
        /// Since when; `None`: its last tag goes in this run.
        since: Option<Timestamp>,
        /// For how long it must have been.
        minimum_age: Duration,
    },
    /// Goes: rules match it, and none of their criteria holds.
    NoCriterion {
        /// The criteria, none of which holds. Shared by the tags that the same rules match.
        criteria: Arc<[Criterion]>,
        /// Why the tag is out of question for those of them that are for versions.
        version: Option<VersionMiss>,
    },
    /// Goes: no rule matches it, and the policy deletes such tags.
    Unmatched,
    /// Goes: no tag has reached it for long enough.
    Untagged {
        /// Since when.
        since: Timestamp,
        /// For how long it must have been.
        minimum_age: Duration,
    },
    /// Goes: it says something about a manifest that goes.
    SubjectDeleted {
        /// That manifest.
        subject: Digest,
    },
}

/// A length of time as a policy writes it: in the largest unit that divides it.
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 => f.write_str("0s"),
            s if s % 3600 == 0 => write!(f, "{}h", s / 3600),
            s if s % 60 == 0 => write!(f, "{}m", s / 60),
            s => write!(f, "{s}s"),
        }
    }
}

/// Criteria that do not hold, each with a "not".
struct Missed<'a>(&'a [Criterion]);

impl fmt::Display for Missed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, criterion) in self.0.iter().enumerate() {
            write!(f, "{}not {criterion}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

fn by_policy(f: &mut fmt::Formatter<'_>, policy: Option<&str>) -> fmt::Result {
    policy.map_or(Ok(()), |policy| write!(f, ", by policy {policy}"))
}

impl Reason {
    /// What kind of reason it is, in a word: few, so that programs can count them.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Held { .. } => "Held",
            Self::InUse { .. } => "InUse",
            Self::Restored { .. } => "Restored",
            Self::TooYoung { .. } => "TooYoung",
            Self::Immutable => "Immutable",
            Self::Unclear { .. } | Self::PushTimeUnknown | Self::Unreadable | Self::MayBeReferred { .. } => "Unknown",
            Self::Kept { .. } | Self::OtherTag { .. } => "Kept",
            Self::NotCovered => "NotCovered",
            Self::Tagged { .. } | Self::ChildOf { .. } | Self::ReferrerOf { .. } => "Referenced",
            Self::UntaggedKept | Self::OrphanKept | Self::UntaggedTooShort { .. } => "Untagged",
            Self::NoCriterion { .. } | Self::Unmatched | Self::Untagged { .. } | Self::SubjectDeleted { .. } => {
                "Deleted"
            }
        }
    }

    /// The policy that it is from, where that is not the one that runs, or where a hold names it.
    pub(super) fn policy(&self) -> Option<&str> {
        match self {
            Self::Held { policy, .. } => Some(policy),
            Self::TooYoung { policy, .. }
            | Self::Kept { policy, .. }
            | Self::Unclear { policy, .. }
            | Self::OtherTag { policy, .. } => policy.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { policy, until, why } => {
                write!(f, "held by policy {policy}")?;
                until.map_or(Ok(()), |until| write!(f, " until {until}"))?;
                why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
            }
            Self::InUse { by } => write!(f, "in use: {by}"),
            Self::Restored { at, window } => {
                write!(f, "restored at {at}, less than the restore window of {} ago", Span(*window))
            }
            Self::TooYoung { pushed_at, minimum_age, policy } => {
                write!(f, "pushed at {pushed_at}, less than the minimum age of {} ago", Span(*minimum_age))?;
                by_policy(f, policy.as_deref())
            }
            Self::Immutable => f.write_str("immutable"),
            Self::Unclear { criterion, policy } => {
                write!(f, "not known whether it is {criterion}")?;
                by_policy(f, policy.as_deref())
            }
            Self::Kept { criterion, policy } => {
                criterion.fmt(f)?;
                by_policy(f, policy.as_deref())
            }
            Self::OtherTag { tag, policy } => {
                write!(f, "another tag of the image stays: {tag}")?;
                by_policy(f, policy.as_deref())
            }
            Self::NotCovered => f.write_str("no rule matches it, and unmatchedTags is Ignore"),
            Self::PushTimeUnknown => f.write_str("it is not known when it was pushed"),
            Self::Unreadable => f.write_str("its manifest could not be read"),
            Self::MayBeReferred { unreadable } => {
                write!(f, "manifest {unreadable} could not be read, and may refer to it")
            }
            Self::Tagged { tag } => write!(f, "tag {tag} points to it"),
            Self::ChildOf { index } => write!(f, "listed by {index}, which is kept"),
            Self::ReferrerOf { subject } => write!(f, "refers to {subject}, which is kept"),
            Self::OrphanKept => f.write_str("refers to a manifest that is not kept, and referrers.orphaned is Keep"),
            Self::UntaggedKept => f.write_str("no tag reaches it, and untagged.action is Keep"),
            Self::UntaggedTooShort { since: Some(since), minimum_age } => {
                write!(f, "without a tag since {since}, less than {} ago", Span(*minimum_age))
            }
            Self::UntaggedTooShort { since: None, minimum_age } => {
                write!(f, "its last tag goes now; it follows after {}", Span(*minimum_age))
            }
            Self::NoCriterion { criteria, version } => {
                Missed(criteria).fmt(f)?;
                version.map_or(Ok(()), |miss| write!(f, " ({miss})"))
            }
            Self::Unmatched => f.write_str("no rule matches it, and unmatchedTags is Delete"),
            Self::Untagged { since, minimum_age } => {
                write!(f, "without a tag since {since}, at least {} ago", Span(*minimum_age))
            }
            Self::SubjectDeleted { subject } => write!(f, "refers to {subject}, which goes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn spans_are_written_as_policies_write_them() {
        for (seconds, text) in [(0, "0s"), (45, "45s"), (90, "90s"), (600, "10m"), (3600, "1h"), (604_800, "168h")] {
            assert_eq!(Span(Duration::from_secs(seconds)).to_string(), text);
        }
    }

    #[test]
    fn a_deletion_names_every_criterion_that_does_not_hold() {
        let criteria: Arc<[Criterion]> = Arc::new([
            Criterion::MostRecentlyPushed(NonZeroU32::new(10).unwrap()),
            Criterion::PushedWithin(Duration::from_secs(2_592_000)),
        ]);
        assert_eq!(
            Reason::NoCriterion { criteria, version: None }.to_string(),
            "not among the 10 most recently pushed, not pushed within 720h"
        );
    }
}
