//! What a rule keeps.

use super::{Criterion, TagPatterns};

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
