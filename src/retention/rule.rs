//! What a rule keeps.

use std::{fmt, num::NonZeroU32, time::Duration};

use super::{TagPatterns, reason::Span};

/// When a tag stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Criterion {
    /// Always.
    Always,
    /// If it is among so many of the repository's tags that the rule matches, those that were pushed last. Of tags
    /// that were pushed at the same time, the one whose name sorts later is the later. Tags whose time of push is
    /// unknown stay without counting.
    MostRecentlyPushed(NonZeroU32),
    /// If it was pushed less than this ago.
    PushedWithin(Duration),
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always kept"),
            Self::MostRecentlyPushed(count) => write!(f, "among the {count} most recently pushed"),
            Self::PushedWithin(age) => write!(f, "pushed within {}", Span(*age)),
        }
    }
}

/// Tags, and the criteria of which one must hold for a tag to stay.
///
/// Invariant: at least one criterion.
#[derive(Debug, Clone)]
pub struct Rule {
    name: Box<str>,
    tags: TagPatterns,
    criteria: Box<[Criterion]>,
}

/// Why a rule is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It would delete whatever it matches.
    #[error("a rule needs a criterion")]
    NoCriterion,
}

impl Rule {
    /// A rule.
    ///
    /// # Errors
    /// [`RuleError::NoCriterion`].
    pub fn new(name: &str, tags: TagPatterns, criteria: Vec<Criterion>) -> Result<Self, RuleError> {
        if criteria.is_empty() {
            return Err(RuleError::NoCriterion);
        }
        Ok(Self { name: name.into(), tags, criteria: criteria.into() })
    }

    /// What reasons call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tags that it is about.
    #[must_use]
    pub fn tags(&self) -> &TagPatterns {
        &self.tags
    }

    /// When one of them stays; never empty.
    #[must_use]
    pub fn criteria(&self) -> &[Criterion] {
        &self.criteria
    }
}
