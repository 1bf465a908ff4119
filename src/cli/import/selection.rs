//! What is copied.

use crate::oci::{RepositoryName, Tag};
use crate::retention::{RepositoryPatterns, TagPatterns};

use crate::cli::exit::InvalidUsage;

/// Which repositories and tags.
#[derive(Debug)]
pub(super) struct Selection {
    repositories: RepositoryPatterns,
    tags: TagPatterns,
    /// The repositories, where all were named.
    named: Option<Vec<RepositoryName>>,
}

impl Selection {
    /// Of patterns; a name is one, too.
    ///
    /// # Errors
    /// For what is no pattern.
    pub(super) fn new(repositories: &[String], tags: &[String]) -> Result<Self, InvalidUsage> {
        let wrong = |flag: &str, error: String| InvalidUsage(format!("{flag}: {error}"));
        let patterns = RepositoryPatterns::new(repositories, &[]);
        Ok(Self {
            repositories: patterns.map_err(|error| wrong("--repositories", error.to_string()))?,
            tags: TagPatterns::new(tags).map_err(|error| wrong("--tags", error.to_string()))?,
            named: repositories.iter().map(|text| text.parse().ok()).collect(),
        })
    }

    /// The repositories, where the source need not be asked which it has.
    pub(super) fn named(&self) -> Option<&[RepositoryName]> {
        self.named.as_deref()
    }

    pub(super) fn has_repository(&self, name: &RepositoryName) -> bool {
        self.repositories.matches(name)
    }

    pub(super) fn has_tag(&self, tag: &Tag) -> bool {
        self.tags.matches(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(repositories: &[&str]) -> Selection {
        let owned: Vec<String> = repositories.iter().map(|text| (*text).to_owned()).collect();
        Selection::new(&owned, &["*".to_owned()]).unwrap()
    }

    #[test]
    fn names_alone_need_no_catalog() {
        assert_eq!(selection(&["a", "team/app"]).named().map(<[_]>::len), Some(2));
        assert!(selection(&["a", "team/*"]).named().is_none());
        assert!(selection(&["**"]).named().is_none());
    }

    #[test]
    fn patterns_choose() {
        let all = selection(&["**"]);
        let some = selection(&["team/*"]);
        for (name, chosen) in [("a", false), ("team/app", true), ("team/app/x", false)] {
            let name = name.parse().unwrap();
            assert!(all.has_repository(&name));
            assert_eq!(some.has_repository(&name), chosen, "{name}");
        }
    }
}
