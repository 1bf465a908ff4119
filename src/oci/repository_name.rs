//! Names of repositories.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name under which manifests and layers are visible, such as `team/app`.
///
/// Invariant: at most [`RepositoryName::MAX_LEN`] bytes, and components joined by `/` of which each matches
/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`. So no component is empty, starts with `_` or `.`, or leaves a folder.
/// Source: OCI distribution-spec 1.1, *Pulling manifests*; the length is distribution's `NameTotalLengthMax`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(Box<str>);

impl RepositoryName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 255;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no repository name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryNameError {
    /// Nothing was given.
    #[error("a repository name must not be empty")]
    Empty,
    /// Longer than [`RepositoryName::MAX_LEN`].
    #[error("a repository name has at most {} bytes", RepositoryName::MAX_LEN)]
    TooLong,
    /// A component does not match the grammar.
    #[error(
        "repository name component {component:?} must be lowercase letters and digits, separated by one of . _ __ or dashes"
    )]
    Component {
        /// The first component that does not match.
        component: String,
    },
}

impl FromStr for RepositoryName {
    type Err = RepositoryNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(RepositoryNameError::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(RepositoryNameError::TooLong);
        }
        match text.split('/').find(|c| !is_component(c)) {
            Some(component) => Err(RepositoryNameError::Component { component: component.into() }),
            None => Ok(Self(text.into())),
        }
    }
}

fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    if !bytes.first().is_some_and(|b| alphanumeric(*b)) || !bytes.last().is_some_and(|b| alphanumeric(*b)) {
        return false;
    }
    bytes
        .split(|b| alphanumeric(*b))
        .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

impl Serialize for RepositoryName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RepositoryName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_grammar_are_accepted() {
        let longest = "a".repeat(RepositoryName::MAX_LEN);
        for name in ["a", "app", "team/app", "a.b/c_d/e__f/g--h---i", "0/1", &longest] {
            assert!(name.parse::<RepositoryName>().is_ok(), "{name} was refused");
        }
    }

    #[test]
    fn names_outside_the_grammar_are_refused() {
        let too_long = "a".repeat(RepositoryName::MAX_LEN + 1);
        let bad = [
            "", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "a._b", "_a", "a_", "-a", ".", "..", "a/../b", "ä",
            "a b", "a\0", &too_long,
        ];
        for name in bad {
            assert!(name.parse::<RepositoryName>().is_err(), "{name:?} was accepted");
        }
    }
}
