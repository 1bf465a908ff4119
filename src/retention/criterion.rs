//! When a tag stays.

use std::{collections::BTreeMap, fmt, num::NonZeroU32, sync::Arc, time::Duration};

use crate::oci::Platform;

use super::{VersionRule, reason::Span, standing::CREATED};

/// When a tag stays.
///
/// An index is what it lists: of a criterion about the content, it is enough that it holds for one of the manifests that
/// the tag reaches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Criterion {
    /// Always.
    Always,
    /// If it is among so many of the repository's tags that the rule matches, those that were pushed last. Of tags
    /// that were pushed at the same time, the one whose name sorts later is the later. Tags whose time of push is
    /// unknown stay without counting.
    MostRecentlyPushed(NonZeroU32),
    /// If it is among so many of them, those that were pulled last. What was never pulled counts from its push.
    MostRecentlyPulled(NonZeroU32),
    /// If it was pushed less than this ago.
    PushedWithin(Duration),
    /// If it was pulled less than this ago, or pushed, where it was never pulled.
    PulledWithin(Duration),
    /// If the image says that it was made less than this ago.
    CreatedWithin(Duration),
    /// If it is a version that stays.
    Version(Arc<VersionRule>),
    /// If the image's config has all of these labels.
    Labels(Arc<BTreeMap<String, String>>),
    /// If the manifest has all of these annotations.
    Annotations(Arc<BTreeMap<String, String>>),
    /// If the artifact is of one of these types.
    ArtifactTypes(Arc<[String]>),
    /// If the image is for one of these platforms.
    Platforms(Arc<[Platform]>),
    /// If the tags that the rule matches and that were pushed after it, and it itself, take no more than so many bytes
    /// together, each blob and manifest counted once.
    WithinSize(u64),
}

impl Criterion {
    /// Whether it asks when something was pulled.
    #[must_use]
    pub fn needs_pulls(&self) -> bool {
        matches!(self, Self::MostRecentlyPulled(_) | Self::PulledWithin(_))
    }

    /// Whether it asks what the config of an image says.
    #[must_use]
    pub fn needs_configs(&self) -> bool {
        matches!(self, Self::CreatedWithin(_) | Self::Labels(_) | Self::Platforms(_))
    }

    /// Which annotations of a manifest it asks for.
    pub fn annotations(&self) -> impl Iterator<Item = &str> {
        let (created, wanted) = match self {
            Self::CreatedWithin(_) => (Some(CREATED), None),
            Self::Annotations(wanted) => (None, Some(wanted.keys().map(String::as_str))),
            _ => (None, None),
        };
        created.into_iter().chain(wanted.into_iter().flatten())
    }
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always kept"),
            Self::MostRecentlyPushed(count) => write!(f, "among the {count} most recently pushed"),
            Self::MostRecentlyPulled(count) => write!(f, "among the {count} most recently pulled"),
            Self::PushedWithin(age) => write!(f, "pushed within {}", Span(*age)),
            Self::PulledWithin(age) => write!(f, "pulled within {}", Span(*age)),
            Self::CreatedWithin(age) => write!(f, "created within {}", Span(*age)),
            Self::Version(rule) => rule.fmt(f),
            Self::Labels(wanted) => write!(f, "labelled {}", Pairs(wanted)),
            Self::Annotations(wanted) => write!(f, "annotated {}", Pairs(wanted)),
            Self::ArtifactTypes(types) => write!(f, "of type {}", types.join(" or ")),
            Self::Platforms(platforms) => {
                let names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
                write!(f, "for {}", names.join(" or "))
            }
            Self::WithinSize(bytes) => write!(f, "among the most recently pushed that fit in {bytes} bytes"),
        }
    }
}

struct Pairs<'a>(&'a BTreeMap<String, String>);

impl fmt::Display for Pairs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (key, value)) in self.0.iter().enumerate() {
            write!(f, "{}{key}={value}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
