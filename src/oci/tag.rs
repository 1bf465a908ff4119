//! Names that move.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name in a repository that points to a manifest, and may be moved to another one.
///
/// Invariant: matches `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
/// Source: OCI distribution-spec 1.1, *Pulling manifests*.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Arc<str>);

impl Tag {
    /// The longest tag, in bytes.
    pub const MAX_LEN: usize = 128;

    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Tag {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is no tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a tag has 1 to {} letters, digits, '_', '.' or '-', and starts with none of the last two", Tag::MAX_LEN)]
pub struct TagError;

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let valid = text.len() <= Self::MAX_LEN
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if valid { Ok(Self(text.into())) } else { Err(TagError) }
    }
}

impl Serialize for Tag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_the_grammar_are_accepted() {
        let longest = "a".repeat(Tag::MAX_LEN);
        for tag in ["latest", "v1.0.0", "_", "A-b_c.d", "0", &longest] {
            assert!(tag.parse::<Tag>().is_ok(), "{tag} was refused");
        }
    }

    #[test]
    fn tags_outside_the_grammar_are_refused() {
        let too_long = "a".repeat(Tag::MAX_LEN + 1);
        for tag in ["", ".a", "-a", "a/b", "a:b", "ä", "a b", "..", &too_long] {
            assert!(tag.parse::<Tag>().is_err(), "{tag:?} was accepted");
        }
    }
}
