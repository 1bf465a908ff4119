//! What an image says of itself.

use std::{collections::BTreeMap, fmt, str::FromStr};

use jiff::Timestamp;
use serde::Deserialize;

/// Where an image runs.
///
/// Source: OCI image-spec, `image-index.md`, *platform*.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    /// The operating system, as Go calls it.
    pub os: String,
    /// The architecture, as Go calls it.
    pub architecture: String,
    /// The variant of the architecture.
    pub variant: Option<String>,
}

impl Platform {
    /// Whether an image for `other` is one for this: one that names no variant is for all of them. `None` where this
    /// names a variant, and the image does not say its own.
    #[must_use]
    pub fn covers(&self, other: &Self) -> Option<bool> {
        if self.os != other.os || self.architecture != other.architecture {
            return Some(false);
        }
        match (&self.variant, &other.variant) {
            (None, _) => Some(true),
            (Some(_), None) => None,
            (Some(wanted), Some(actual)) => Some(wanted == actual),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// The text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a platform is an operating system, an architecture and perhaps a variant, such as linux/amd64 or linux/arm/v7"
)]
pub struct PlatformError;

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_name = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        match parts.as_slice() {
            [os, architecture, rest @ ..] if rest.len() < 2 && parts.iter().all(|part| is_name(part)) => Ok(Self {
                os: (*os).to_owned(),
                architecture: (*architecture).to_owned(),
                variant: rest.first().map(|variant| (*variant).to_owned()),
            }),
            _ => Err(PlatformError),
        }
    }
}

/// The part of an image's config that a policy may ask for.
///
/// Source: OCI image-spec, `config.md`; Docker's image specification 1.2 has the same fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// When the image was made; `None` where it does not say, or nobody can read it.
    pub created: Option<Timestamp>,
    /// Where it runs.
    pub platform: Option<Platform>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Raw {
    created: Option<String>,
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
    config: Option<RawConfig>,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

impl ImageConfig {
    /// Reads the bytes of an image's config; `None` where they are none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let raw: Raw = serde_json::from_slice(bytes).ok()?;
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let platform = some(raw.os).zip(some(raw.architecture));
        Some(Self {
            created: raw.created.and_then(|created| created.parse().ok()),
            platform: platform.map(|(os, architecture)| Platform { os, architecture, variant: some(raw.variant) }),
            labels: raw.config.and_then(|config| config.labels).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_says_when_where_and_what() {
        let config = ImageConfig::parse(
            br#"{"created":"2026-01-02T03:04:05.678Z","os":"linux","architecture":"arm","variant":"v7",
                "config":{"Labels":{"keep":"true"},"Env":["A=b"]},"rootfs":{"type":"layers","diff_ids":[]}}"#,
        );
        let config = config.unwrap();
        assert_eq!(config.created, Some("2026-01-02T03:04:05.678Z".parse().unwrap()));
        assert_eq!(config.platform, Some("linux/arm/v7".parse().unwrap()));
        assert_eq!(config.labels.get("keep").map(String::as_str), Some("true"));
    }

    #[test]
    fn what_a_config_does_not_say_is_absent() {
        for text in ["{}", r#"{"created":"yesterday","os":"","architecture":"amd64","config":{"Labels":null}}"#] {
            assert_eq!(ImageConfig::parse(text.as_bytes()), Some(ImageConfig::default()), "{text}");
        }
        for text in ["", "[]", "null", r#"{"created":5}"#, r#"{"config":{"Labels":["keep"]}}"#] {
            assert_eq!(ImageConfig::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_platform_without_a_variant_covers_every_variant() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        let covers = |wanted, actual| platform(wanted).covers(&platform(actual));
        assert_eq!(covers("linux/arm", "linux/arm/v7"), Some(true));
        assert_eq!(covers("linux/arm/v6", "linux/arm/v7"), Some(false));
        assert_eq!(covers("linux/arm64", "linux/arm"), Some(false));
        assert_eq!(covers("linux/arm/v7", "linux/arm"), None);
        for text in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/a b"] {
            assert!(text.parse::<Platform>().is_err(), "{text:?}");
        }
    }
}
