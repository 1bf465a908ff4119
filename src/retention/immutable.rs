//! Tags that never move.

use crate::oci::{RepositoryName, Tag};

use super::{PatternError, RepositoryPatterns, TagPatterns};

/// Which tags of a registry stay what they were first pushed as. No policy deletes one.
#[derive(Debug, Clone, Default)]
pub struct ImmutableTags(Vec<(RepositoryPatterns, TagPatterns)>);

impl ImmutableTags {
    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds the tags that match one pattern, in the repositories that match one.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn add(&mut self, repositories: &[String], tags: &[String]) -> Result<(), PatternError> {
        self.0.push((RepositoryPatterns::new(repositories, &[])?, TagPatterns::new(tags)?));
        Ok(())
    }

    /// Whether a tag is one of them.
    #[must_use]
    pub fn contains(&self, repository: &RepositoryName, tag: &Tag) -> bool {
        self.0.iter().any(|(repositories, tags)| repositories.matches(repository) && tags.matches(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_immutable_where_one_entry_names_it_and_its_repository() {
        let mut immutable = ImmutableTags::none();
        immutable.add(&["team/**".into()], &["v*".into(), "regex:[0-9]+".into()]).unwrap();
        immutable.add(&["base".into()], &["*".into()]).unwrap();
        for (repository, tag, expected) in [
            ("team/app", "v1", true),
            ("team/app", "12", true),
            ("team/app", "latest", false),
            ("base", "latest", true),
            ("other", "v1", false),
        ] {
            assert_eq!(
                immutable.contains(&repository.parse().unwrap(), &tag.parse().unwrap()),
                expected,
                "{repository}:{tag}"
            );
        }
        assert!(immutable.add(&["a".into()], &["v[".into()]).is_err());
    }
}
