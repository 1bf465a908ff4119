//! Globs for names.

use std::fmt;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::oci::{RepositoryName, Tag};

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no glob: {reason}")]
pub struct PatternError {
    /// The pattern as written.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

fn compile(pattern: &str) -> Result<Glob, PatternError> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| PatternError { pattern: pattern.to_owned(), reason: error.kind().to_string() })
}

fn compile_all(patterns: &[String]) -> Result<GlobSet, PatternError> {
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        builder.add(compile(pattern)?);
    }
    builder.build().map_err(|error| PatternError { pattern: patterns.join(" "), reason: error.kind().to_string() })
}

/// Patterns of tags, such as `v*`. A whole tag must match one of them.
///
/// Invariant: every pattern compiles.
#[derive(Clone)]
pub struct TagPatterns {
    globs: GlobSet,
    texts: Box<[String]>,
}

impl TagPatterns {
    /// Compiles patterns.
    ///
    /// # Errors
    /// [`PatternError`] for the first that is no glob.
    pub fn new(patterns: &[String]) -> Result<Self, PatternError> {
        Ok(Self { globs: compile_all(patterns)?, texts: patterns.into() })
    }

    /// Whether any pattern matches.
    #[must_use]
    pub fn matches(&self, tag: &Tag) -> bool {
        self.globs.is_match(tag.as_str())
    }
}

impl fmt::Debug for TagPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TagPatterns").field(&self.texts).finish()
    }
}

/// Patterns of repositories: `*` stops at a slash, `**` does not.
///
/// Invariant: every pattern compiles.
#[derive(Clone)]
pub struct RepositoryPatterns {
    include: GlobSet,
    exclude: GlobSet,
    texts: Box<[String]>,
}

impl RepositoryPatterns {
    /// Compiles patterns.
    ///
    /// # Errors
    /// [`PatternError`] for the first that is no glob.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, PatternError> {
        let texts = include.iter().cloned().chain(exclude.iter().map(|pattern| format!("not {pattern}"))).collect();
        Ok(Self { include: compile_all(include)?, exclude: compile_all(exclude)?, texts })
    }

    /// Whether an included pattern matches and no excluded one does.
    #[must_use]
    pub fn matches(&self, repository: &RepositoryName) -> bool {
        self.include.is_match(repository.as_str()) && !self.exclude.is_match(repository.as_str())
    }
}

impl fmt::Debug for RepositoryPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RepositoryPatterns").field(&self.texts).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repositories(include: &[&str], exclude: &[&str]) -> RepositoryPatterns {
        let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        RepositoryPatterns::new(&owned(include), &owned(exclude)).unwrap()
    }

    #[test]
    fn repository_patterns_are_anchored_and_stop_at_slashes() {
        let cases = [
            ("**", "a", true),
            ("**", "a/b/c", true),
            ("*", "a", true),
            ("*", "a/b", false),
            ("team/*", "team/app", true),
            ("team/*", "team/app/cache", false),
            ("team/*", "other/team/app", false),
            ("team/**", "team/app/cache", true),
            ("team/**", "team", false),
            ("**/cache", "cache", true),
            ("**/cache", "team/app/cache", true),
            ("app", "apple", false),
            ("{app,web}", "web", true),
        ];
        for (pattern, name, expected) in cases {
            let matches = repositories(&[pattern], &[]).matches(&name.parse().unwrap());
            assert_eq!(matches, expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn an_excluded_pattern_beats_an_included_one() {
        let patterns = repositories(&["team/**"], &["team/keep/**"]);
        assert!(patterns.matches(&"team/app".parse().unwrap()));
        assert!(!patterns.matches(&"team/keep/app".parse().unwrap()));
    }

    #[test]
    fn tag_patterns_match_whole_tags_with_their_case() {
        let patterns = TagPatterns::new(&["v*".to_owned(), "pr-[0-9]".to_owned()]).unwrap();
        for (tag, expected) in [("v1.2.3", true), ("V1", false), ("rv1", false), ("pr-1", true), ("pr-12", false)] {
            assert_eq!(patterns.matches(&tag.parse().unwrap()), expected, "{tag}");
        }
    }

    #[test]
    fn a_pattern_that_is_no_glob_is_refused_with_its_text() {
        let error = TagPatterns::new(&["ok".to_owned(), "v[".to_owned()]).unwrap_err();
        assert_eq!(error.pattern, "v[");
        assert!(RepositoryPatterns::new(&["{a".to_owned()], &[]).is_err());
    }
}
