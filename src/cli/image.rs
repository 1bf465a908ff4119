//! What a user calls an image.

use std::{fmt, str::FromStr};

use crate::oci::{Reference, RepositoryName};

/// A tag or a manifest of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    /// Where it is, or was.
    pub(super) repository: RepositoryName,
    /// What it is called there.
    pub(super) reference: Reference,
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reference.name_in(&self.repository))
    }
}

impl FromStr for Image {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('@').or_else(|| text.rsplit_once(':'));
        let (repository, reference) = parts.ok_or("write REPOSITORY:TAG or REPOSITORY@DIGEST")?;
        Ok(Self {
            repository: repository.parse().map_err(|error| format!("repository {repository:?}: {error}"))?,
            reference: reference.parse().map_err(|error| format!("tag or digest {reference:?}: {error}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_is_a_tag_or_a_digest_of_a_repository() {
        let digest = format!("team/app@sha256:{}", "a".repeat(64));
        for text in ["team/app:1.2", &digest] {
            assert_eq!(text.parse::<Image>().unwrap().to_string(), text);
        }
        for (text, words) in
            [("team/app", "REPOSITORY:TAG"), ("App:1", "repository \"App\""), ("app@sha256:1", "digest")]
        {
            let error = text.parse::<Image>().unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
