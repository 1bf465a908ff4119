//! What content says that it is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A media type without parameters, such as `application/vnd.oci.image.manifest.v1+json`.
///
/// Invariant: `type/subtype` of RFC 6838, section 4.2, at most [`MediaType::MAX_LEN`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaType(Box<str>);

impl MediaType {
    /// The longest media type: two names of 127 characters (RFC 6838) and the slash.
    pub const MAX_LEN: usize = 255;
    /// An OCI image manifest.
    pub const OCI_MANIFEST: &'static str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI image index.
    pub const OCI_INDEX: &'static str = "application/vnd.oci.image.index.v1+json";
    /// A Docker image manifest, version 2, schema 2.
    pub const DOCKER_MANIFEST: &'static str = "application/vnd.docker.distribution.manifest.v2+json";
    /// A Docker manifest list.
    pub const DOCKER_MANIFEST_LIST: &'static str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Content of unknown kind: what a blob is served as.
    pub const OCTET_STREAM: &'static str = "application/octet-stream";

    /// [`MediaType::OCTET_STREAM`] as a value.
    #[must_use]
    pub fn octet_stream() -> Self {
        Self(Self::OCTET_STREAM.into())
    }

    /// The media type as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this names a manifest or an index, so that a descriptor of it points to a manifest of the
    /// repository and not to a blob.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        [Self::OCI_MANIFEST, Self::OCI_INDEX, Self::DOCKER_MANIFEST, Self::DOCKER_MANIFEST_LIST]
            .contains(&self.as_str())
    }

    /// Whether layers of this type may be absent from the registry and fetched from elsewhere
    /// (image-spec, *Non-Distributable Layers*; Docker's foreign layers).
    #[must_use]
    pub fn is_non_distributable(&self) -> bool {
        self.0.starts_with("application/vnd.oci.image.layer.nondistributable.v1.")
            || self.0.starts_with("application/vnd.docker.image.rootfs.foreign.diff.")
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is no media type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a media type is written <type>/<subtype>, in at most {} bytes", MediaType::MAX_LEN)]
pub struct MediaTypeError;

impl FromStr for MediaType {
    type Err = MediaTypeError;

    /// Reads a `Content-Type` or `mediaType`; parameters after `;` are dropped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        let name = |part: &str| {
            part.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        match essence.split_once('/') {
            Some((kind, sub)) if essence.len() <= Self::MAX_LEN && name(kind) && name(sub) => Ok(Self(essence.into())),
            _ => Err(MediaTypeError),
        }
    }
}

impl Serialize for MediaType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_dropped() {
        let parsed: MediaType = "application/json; charset=utf-8".parse().unwrap();
        assert_eq!(parsed.as_str(), "application/json");
    }

    #[test]
    fn malformed_types_are_refused() {
        for text in ["", "application", "/json", "application/", "a b/c", "a/b\nc", "a/b/c"] {
            assert!(text.parse::<MediaType>().is_err(), "{text:?} was accepted");
        }
    }
}
