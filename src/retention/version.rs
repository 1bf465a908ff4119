//! Tags that are versions.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    hash::Hash,
    num::NonZeroU32,
};

use semver::{Version, VersionReq};

use crate::oci::Tag;

/// Which versions stay.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct VersionRule {
    /// Those of this range; `None`: all.
    pub range: Option<VersionReq>,
    /// So many of each major version, the highest.
    pub keep_per_major: Option<NonZeroU32>,
    /// So many of each minor version.
    pub keep_per_minor: Option<NonZeroU32>,
    /// So many of each patch version: its pre-releases, and itself.
    pub keep_per_patch: Option<NonZeroU32>,
}

/// Why a tag is none of the versions that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionMiss {
    /// It is no version.
    NoVersion,
    /// The range does not hold it.
    OutOfRange,
    /// The range holds its release, and names no pre-release of it.
    PreRelease,
}

impl fmt::Display for VersionMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoVersion => "it is no version such as 1.2.3",
            Self::OutOfRange => "it is not in the range",
            Self::PreRelease => "it is a pre-release, of which the range names none",
        })
    }
}

/// The version that a tag is, as semver writes it: all three numbers, perhaps after a `v`. A tag cannot hold the `+` of
/// build metadata, for which Helm writes `_`.
fn version_of(tag: &Tag) -> Option<Version> {
    let text = tag.as_str();
    let text = text.strip_prefix('v').unwrap_or(text);
    Version::parse(&text.replacen('_', "+", 1)).ok()
}

impl VersionRule {
    /// The tags that stay. Of the limits it is enough to be within one. Tags of one version share its place.
    pub(super) fn kept<'a>(&self, tags: impl Iterator<Item = &'a Tag>) -> HashSet<&'a Tag> {
        let mut versions: Vec<(Version, &Tag)> = tags
            .filter_map(|tag| Some((version_of(tag)?, tag)))
            .filter(|(version, _)| self.is_in_range(version))
            .collect();
        if self.limits().all(|limit| limit.is_none()) {
            return versions.into_iter().map(|(_, tag)| tag).collect();
        }
        versions.sort_by(|(a, _), (b, _)| b.cmp_precedence(a));
        let [mut majors, mut minors, mut patches] =
            [self.keep_per_major, self.keep_per_minor, self.keep_per_patch].map(Places::new);
        let mut kept = HashSet::new();
        for same in versions.chunk_by(|(a, _), (b, _)| a.cmp_precedence(b).is_eq()) {
            let Some((version, _)) = same.first() else { continue };
            let Version { major, minor, patch, .. } = *version;
            let stays =
                [majors.take((major, 0, 0)), minors.take((major, minor, 0)), patches.take((major, minor, patch))];
            if stays.contains(&true) {
                kept.extend(same.iter().map(|(_, tag)| *tag));
            }
        }
        kept
    }

    /// Why a tag is out of question, however few there are.
    pub(super) fn miss(&self, tag: &Tag) -> Option<VersionMiss> {
        let Some(mut version) = version_of(tag) else { return Some(VersionMiss::NoVersion) };
        if self.is_in_range(&version) {
            return None;
        }
        let had_pre_release = !std::mem::take(&mut version.pre).is_empty();
        let is_release_in_range = had_pre_release && self.is_in_range(&version);
        Some(if is_release_in_range { VersionMiss::PreRelease } else { VersionMiss::OutOfRange })
    }

    fn is_in_range(&self, version: &Version) -> bool {
        self.range.as_ref().is_none_or(|range| range.matches(version))
    }

    fn limits(&self) -> impl Iterator<Item = Option<NonZeroU32>> {
        [self.keep_per_major, self.keep_per_minor, self.keep_per_patch].into_iter()
    }
}

/// How many places are left in each group.
struct Places<K> {
    limit: Option<NonZeroU32>,
    taken: HashMap<K, u32>,
}

impl<K: Hash + Eq> Places<K> {
    fn new(limit: Option<NonZeroU32>) -> Self {
        Self { limit, taken: HashMap::new() }
    }

    /// Takes a place in a group, if there is one left.
    fn take(&mut self, group: K) -> bool {
        let Some(limit) = self.limit else { return false };
        let taken = self.taken.entry(group).or_default();
        *taken = taken.saturating_add(1);
        *taken <= limit.get()
    }
}

impl fmt::Display for VersionRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a version")?;
        if let Some(range) = &self.range {
            write!(f, " in {range}")?;
        }
        let named = self.limits().zip(["major", "minor", "patch"]);
        let limits = named.filter_map(|(limit, part)| Some(format!("{} highest of its {part} version", limit?)));
        let limits: Vec<String> = limits.collect();
        if limits.is_empty() { Ok(()) } else { write!(f, " among the {}", limits.join(" or the ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(rule: &VersionRule, tags: &[&str]) -> Vec<String> {
        let tags: Vec<Tag> = tags.iter().map(|tag| tag.parse().unwrap()).collect();
        let mut kept: Vec<String> = rule.kept(tags.iter()).into_iter().map(ToString::to_string).collect();
        kept.sort_unstable();
        kept
    }

    fn rule(range: &str, limits: [u32; 3]) -> VersionRule {
        let [keep_per_major, keep_per_minor, keep_per_patch] = limits.map(NonZeroU32::new);
        let range = (!range.is_empty()).then(|| range.parse().unwrap());
        VersionRule { range, keep_per_major, keep_per_minor, keep_per_patch }
    }

    #[test]
    fn a_version_has_three_numbers_and_perhaps_a_v() {
        for (tag, expected) in [
            ("1.2.3", Some("1.2.3")),
            ("v1.2.3", Some("1.2.3")),
            ("v1.2.3-rc.1", Some("1.2.3-rc.1")),
            ("1.2.3_build.7", Some("1.2.3+build.7")),
            ("v1", None),
            ("1.2", None),
            ("latest", None),
            ("V1.2.3", None),
            ("vv1.2.3", None),
            ("01.2.3", None),
        ] {
            assert_eq!(
                version_of(&tag.parse().unwrap()).map(|version| version.to_string()).as_deref(),
                expected,
                "{tag}"
            );
        }
    }

    #[test]
    fn ranges_and_limits_keep_what_they_say() {
        let all = ["1.0.0", "1.0.1", "1.0.2", "1.1.0", "2.0.0", "2.0.0-rc.1", "2.0.0-rc.2", "v2.1.0", "latest", "2"];
        let cases: [(&str, VersionRule, &[&str]); 8] = [
            (
                "all",
                rule("", [0; 3]),
                &["1.0.0", "1.0.1", "1.0.2", "1.1.0", "2.0.0", "2.0.0-rc.1", "2.0.0-rc.2", "v2.1.0"],
            ),
            ("a range", rule("^1.0.1", [0; 3]), &["1.0.1", "1.0.2", "1.1.0"]),
            (
                "pre-releases only where the range names one",
                rule(">=2.0.0-rc.2", [0; 3]),
                &["2.0.0", "2.0.0-rc.2", "v2.1.0"],
            ),
            ("majors", rule("", [1, 0, 0]), &["1.1.0", "v2.1.0"]),
            ("minors", rule("", [0, 1, 0]), &["1.0.2", "1.1.0", "2.0.0", "v2.1.0"]),
            ("two of each minor in a range", rule("<2.0.0", [0, 2, 0]), &["1.0.1", "1.0.2", "1.1.0"]),
            ("patches", rule(">=2.0.0-rc.1, <2.1.0", [0, 0, 2]), &["2.0.0", "2.0.0-rc.2"]),
            ("one is enough", rule("", [2, 1, 0]), &["1.0.2", "1.1.0", "2.0.0", "v2.1.0"]),
        ];
        for (name, rule, expected) in cases {
            assert_eq!(kept(&rule, &all), expected, "{name}: {rule}");
        }
    }

    #[test]
    fn tags_of_one_version_share_its_place() {
        let tags = ["1.0.0", "v1.0.0", "1.0.0_build", "v1.0.1", "0.9.0"];
        assert_eq!(kept(&rule("", [2, 0, 0]), &tags), ["0.9.0", "1.0.0", "1.0.0_build", "v1.0.0", "v1.0.1"]);
        assert_eq!(kept(&rule("", [1, 0, 0]), &tags), ["0.9.0", "v1.0.1"]);
    }

    #[test]
    fn it_says_what_it_keeps() {
        assert_eq!(rule("", [0; 3]).to_string(), "a version");
        assert_eq!(
            rule(">=1.0.0", [2, 3, 0]).to_string(),
            "a version in >=1.0.0 among the 2 highest of its major version or the 3 highest of its minor version"
        );
    }
}
