//! Patterns of names: globs, and regular expressions.

use std::fmt;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use regex::bytes::{RegexSet, RegexSetBuilder};

use crate::oci::{RepositoryName, Tag};

/// What a regular expression begins with. Neither a tag nor the name of a repository holds a colon, so no glob that
/// matches anything begins like that.
const REGEX: &str = "regex:";

/// How large the regular expressions of one list may become when they are compiled, in bytes. `[a-z]{1,1000}` fits. A policy
/// has some sixty lists, and an operator compiles the policies of everybody: all of one take 10 MB at most.
const MAX_COMPILED: usize = 128 << 10;

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no {kind}: {reason}")]
pub struct PatternError {
    /// The pattern as written.
    pub pattern: String,
    /// What it was meant to be.
    pub kind: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// A list of patterns, of which a whole name must match one.
///
/// A glob's `*` stops at a slash and its `**` does not. What follows `regex:` is a regular expression without look-around
/// and references back, so that matching takes time in proportion to the name; it is anchored at both ends.
#[derive(Clone)]
struct Patterns {
    globs: GlobSet,
    expressions: RegexSet,
}

impl Patterns {
    fn new(patterns: &[String]) -> Result<Self, PatternError> {
        let mut globs = GlobSetBuilder::new();
        let mut expressions = Vec::new();
        for pattern in patterns {
            match pattern.strip_prefix(REGEX) {
                Some(expression) => expressions.push(anchored(pattern, expression)?),
                None => {
                    globs.add(glob(pattern)?);
                }
            }
        }
        let all = || patterns.join(" ");
        let globs = globs.build().map_err(|error| not_a("glob", &all(), error.kind()))?;
        let expressions = expression_set(expressions).build();
        Ok(Self { globs, expressions: expressions.map_err(|error| not_a("regular expression", &all(), error))? })
    }

    fn matches(&self, name: &str) -> bool {
        self.globs.is_match(name) || self.expressions.is_match(name.as_bytes())
    }
}

fn not_a(kind: &'static str, pattern: &str, reason: impl fmt::Display) -> PatternError {
    PatternError { pattern: pattern.to_owned(), kind, reason: reason.to_string() }
}

fn glob(pattern: &str) -> Result<Glob, PatternError> {
    // What can match nothing keeps nothing, though somebody wrote it to keep something.
    let is_foreign = |c: char| !c.is_ascii() || c.is_ascii_control() || c == ' ';
    if let Some(foreign) = pattern.chars().find(|c| is_foreign(*c)) {
        return Err(not_a("glob", pattern, format!("no name has {foreign:?}")));
    }
    if let Some(first @ ('!' | '/')) = pattern.chars().next() {
        return Err(not_a(
            "glob",
            pattern,
            format!("no name has {first:?} at its beginning, and it means nothing there"),
        ));
    }
    let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
    glob.map_err(|error| not_a("glob", pattern, error.kind()))
}

/// Names are ASCII: so `\w` need not know the letters of all languages, which takes a hundred times as much room.
fn expression_set(expressions: impl IntoIterator<Item = impl AsRef<str>>) -> RegexSetBuilder {
    let mut set = RegexSetBuilder::new(expressions);
    set.unicode(false).size_limit(MAX_COMPILED);
    set
}

/// An expression that matches whole names. It is compiled by itself first, so that what is wrong is told of the right one.
fn anchored(pattern: &str, expression: &str) -> Result<String, PatternError> {
    let compiled = expression_set([expression]).build();
    compiled.map_err(|error| not_a("regular expression", pattern, last_line(&error.to_string())))?;
    Ok(format!("^(?:{expression})$"))
}

/// The parser draws the expression and points into it before it says what is wrong.
fn last_line(text: &str) -> &str {
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line)
}

/// Patterns of tags, such as `v*` or `regex:v[0-9]+`. A whole tag must match one of them.
///
/// Invariant: every pattern compiles.
#[derive(Clone)]
pub struct TagPatterns {
    patterns: Patterns,
    texts: Box<[String]>,
}

impl TagPatterns {
    /// Compiles patterns.
    ///
    /// # Errors
    /// [`PatternError`] for the first that is none.
    pub fn new(patterns: &[String]) -> Result<Self, PatternError> {
        Ok(Self { patterns: Patterns::new(patterns)?, texts: patterns.into() })
    }

    /// Whether any pattern matches.
    #[must_use]
    pub fn matches(&self, tag: &Tag) -> bool {
        self.patterns.matches(tag.as_str())
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
    include: Patterns,
    exclude: Patterns,
    texts: Box<[String]>,
}

impl RepositoryPatterns {
    /// Compiles patterns.
    ///
    /// # Errors
    /// [`PatternError`] for the first that is none.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, PatternError> {
        let texts = include.iter().cloned().chain(exclude.iter().map(|pattern| format!("not {pattern}"))).collect();
        Ok(Self { include: Patterns::new(include)?, exclude: Patterns::new(exclude)?, texts })
    }

    /// Whether an included pattern matches and no excluded one does.
    #[must_use]
    pub fn matches(&self, repository: &RepositoryName) -> bool {
        self.include.matches(repository.as_str()) && !self.exclude.matches(repository.as_str())
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
    #[test]
    fn regular_expressions_match_whole_names_beside_globs() {
        let patterns = TagPatterns::new(&["latest".into(), "regex:v[0-9]+|rc".into()]).unwrap();
        for (tag, expected) in
            [("v12", true), ("rc", true), ("latest", true), ("v12a", false), ("xrc", false), ("v", false)]
        {
            assert_eq!(patterns.matches(&tag.parse().unwrap()), expected, "{tag}");
        }
        let patterns = repositories(&["regex:team/(app|web)(/.*)?"], &["regex:.*/cache"]);
        for (name, expected) in
            [("team/app", true), ("team/web/x/y", true), ("team/apple", false), ("team/app/cache", false)]
        {
            assert_eq!(patterns.matches(&name.parse().unwrap()), expected, "{name}");
        }
    }

    #[test]
    fn classes_are_those_of_the_characters_that_names_have() {
        let patterns = TagPatterns::new(&[r"regex:pr-\w{1,30}-\d+".into(), "regex:[a-z]{1,1000}".into()]).unwrap();
        for (tag, expected) in [("pr-main_2-17", true), ("pr-main.2-17", false), ("latest", true), ("pr-main-x", false)]
        {
            assert_eq!(patterns.matches(&tag.parse().unwrap()), expected, "{tag}");
        }
    }

    #[test]
    fn an_expression_that_is_none_or_too_large_is_refused_with_its_text() {
        for (pattern, part) in [
            ("regex:v(", "unclosed group"),
            ("regex:(?=v)", "look-around"),
            ("regex:(a)\\1", "backreferences"),
            ("regex:[a-z]{1000}{1000}", "size limit"),
            ("regex:[a-z]{1,4000}", "size limit"),
            ("regex:\\pL+", "Unicode not allowed"),
        ] {
            let error = TagPatterns::new(&["ok".into(), "regex:ok".into(), pattern.to_owned()]).unwrap_err();
            assert_eq!(error.pattern, pattern);
            assert!(error.to_string().contains(part) && error.to_string().contains("regular expression"), "{error}");
        }
    }
}
