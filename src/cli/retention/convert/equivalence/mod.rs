//! Each system's semantics once more, small and slow, written from its documentation and source; and that what was
//! translated decides the same about random repositories.

mod ecr;
mod harbor;
mod wrong_input;
mod zot;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::api::v1alpha1::RetentionPolicy;
use crate::oci::{Algorithm, Digest};
use crate::retention::{
    ImageFacts, ManifestContent, ManifestSnapshot, Planning, Policy, PullsKnown, RepositorySnapshot, TagSnapshot,
    Usage, plan_repository,
};

use crate::cli::retention::convert::{Arguments, System, convert, draft::compile};

/// An image with its tags. Times are hours ago; if it was pulled, then after it was pushed.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) tags: Vec<String>,
    /// When it was last pushed: by its first tag.
    pub(super) pushed: i64,
    pub(super) pulled: Option<i64>,
}

impl Image {
    pub(super) fn has_a_tag(&self, is_it: impl Fn(&str) -> bool) -> bool {
        self.tags.iter().any(|tag| is_it(tag))
    }
}

pub(super) fn image(tags: &[&str], pushed: i64, pulled: Option<i64>) -> Image {
    Image { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), pushed, pulled }
}

/// What images there are in a comparison.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kinds {
    pub(super) several_tags: bool,
    pub(super) unpulled: bool,
}

/// Each has one tag, and was pulled.
pub(super) const PLAIN: Kinds = Kinds { several_tags: false, unpulled: false };
/// Each has one tag, and some were never pulled.
pub(super) const UNPULLED: Kinds = Kinds { several_tags: false, unpulled: true };
/// Some have several tags, and each was pulled.
pub(super) const SEVERAL_TAGS: Kinds = Kinds { several_tags: true, unpulled: false };
/// Some have several tags, and some were never pulled.
pub(super) const ALL_KINDS: Kinds = Kinds { several_tags: true, unpulled: true };

pub(super) fn arguments(from: System) -> Arguments {
    let file = "policy.json".to_owned();
    Arguments {
        from,
        file,
        registry: "main".to_owned(),
        name: None,
        repository: vec!["**".to_owned()],
        project: Some("library".to_owned()),
    }
}

/// The policies that a text becomes, and the remarks.
pub(super) fn translated(from: System, text: &str) -> (Vec<Policy>, Vec<String>) {
    let (yaml, remarks) = convert(&arguments(from), text).unwrap();
    let remarks: Vec<String> = remarks.iter().map(ToString::to_string).collect();
    for remark in &remarks {
        assert!(yaml.contains(&format!("# {remark}\n")), "{remark} is not in the policy");
    }
    let documents =
        serde_yaml::Deserializer::from_str(&yaml).map(|document| RetentionPolicy::deserialize(document).unwrap());
    let policies = documents.enumerate().map(|(at, object)| {
        let mut policy = compile(&object.spec).unwrap();
        policy.id.uid = format!("u-{at}");
        policy
    });
    (policies.collect(), remarks)
}

pub(super) fn now() -> Timestamp {
    "2026-07-01T12:00:00Z".parse().unwrap()
}

pub(super) fn ago(hours: i64) -> Timestamp {
    now() - SignedDuration::from_hours(hours)
}

/// Of an image that has several tags the first was pushed last. Every other image was pulled by its last tag, the others by
/// their digests.
pub(super) fn snapshot(repository: &str, images: &[Image]) -> RepositorySnapshot {
    let digest = |image: &Image| Digest::of(Algorithm::Sha256, image.tags[0].as_bytes());
    let (mut tags, mut manifests) = (Vec::new(), Vec::new());
    for (at, image) in images.iter().enumerate() {
        let (by_tag, by_digest) = if at % 2 == 0 { (image.pulled, None) } else { (None, image.pulled) };
        for (number, tag) in image.tags.iter().enumerate() {
            tags.push(TagSnapshot {
                tag: tag.parse().unwrap(),
                digest: digest(image),
                pushed_at: Some(ago(image.pushed + 100 * i64::try_from(number).unwrap())),
                pulled_at: by_tag.filter(|_| number + 1 == image.tags.len()).map(ago),
                restored_at: None,
            });
        }
        manifests.push(ManifestSnapshot {
            digest: digest(image),
            media_type: None,
            size: 1,
            pushed_at: Some(ago(image.pushed)),
            pulled_at: by_digest.map(ago),
            untagged_since: None,
            restored_at: None,
            content: Some(ManifestContent { image: ImageFacts::None, ..ManifestContent::default() }),
        });
    }
    RepositorySnapshot { repository: repository.parse().unwrap(), tags, manifests, pulls: PullsKnown::All }
}

/// The tags that stay when each of the policies has run.
pub(super) fn kept(policies: &[Policy], repository: &str, images: &[Image]) -> BTreeSet<String> {
    let snapshot = snapshot(repository, images);
    let mut left = tags(images);
    for policy in policies {
        let planning = Planning::new(policies, &policy.id, std::time::Duration::ZERO, now()).unwrap();
        let plan = plan_repository(&planning, &snapshot, &Usage::nothing());
        for tag in plan.deletions.iter().flat_map(|deletion| &deletion.tags) {
            left.remove(tag.as_str());
        }
    }
    left
}

/// Numbers that look random and are the same each time.
pub(super) struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// Images with some of the tags, pushed at different times; a third of them never pulled, and a third of the tags at
    /// the image of another one, where there are such.
    fn images(&mut self, kinds: Kinds) -> Vec<Image> {
        const TAGS: [&str; 16] = [
            "v1.0",
            "v1.1",
            "v2.0",
            "v2.1-prod",
            "v3.0",
            "prod-1",
            "prod-2",
            "prod-3",
            "beta-1",
            "beta-2",
            "latest",
            "dev",
            "pr-1",
            "pr-2",
            "1.0-prod",
            "nightly",
        ];
        let mut used = BTreeSet::new();
        let mut images: Vec<Image> = Vec::new();
        for tag in TAGS {
            if self.below(3) == 0 {
                continue;
            }
            if kinds.several_tags && !images.is_empty() && self.below(3) == 0 {
                let at = usize::try_from(self.below(images.len() as u64)).unwrap();
                images[at].tags.push(tag.to_owned());
                continue;
            }
            // Never at the edge of a day, and never two at once.
            let mut hour = || loop {
                let hour = i64::try_from(self.below(60 * 24)).unwrap() + 1;
                if hour % 24 != 0 && used.insert(hour) {
                    return hour;
                }
            };
            let (one, other) = (hour(), hour());
            let pulled = (!kinds.unpulled || self.below(3) > 0).then_some(one.min(other));
            images.push(Image { tags: vec![tag.to_owned()], pushed: one.max(other), pulled });
        }
        images
    }
}

/// How what stays here is to what stays there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stays {
    /// The same.
    Same,
    /// All of that, and sometimes more, as a remark says.
    More,
    /// All of that; a remark says when it is more.
    NoLess,
}

/// Compares a translation with a system's own semantics, in many repositories.
pub(super) fn compare(
    from: System,
    policy: &Value,
    expected: Stays,
    kinds: Kinds,
    reference: impl Fn(&Value, &str, &[Image]) -> BTreeSet<String>,
) {
    let (policies, remarks) = translated(from, &policy.to_string());
    let (mut dice, mut went, mut differed) = (Dice(7), 0, 0);
    for repository in ["library/app", "library/infra/app", "tmp/a/b", "tmp", "infra/web", "infra/web/cache", "other"] {
        for _ in 0..25 {
            let images = dice.images(kinds);
            let (here, there) = (kept(&policies, repository, &images), reference(policy, repository, &images));
            let agree = if expected == Stays::Same { here == there } else { here.is_superset(&there) };
            assert!(agree, "{policy}\n{repository} {images:#?}\nhere {here:?}\nthere {there:?}\n{remarks:#?}");
            went += usize::from(here.len() < tags(&images).len());
            differed += usize::from(here != there);
        }
    }
    // A comparison of nothing shows nothing.
    assert!(expected != Stays::Same || went > 0 || policy.to_string().contains("always"), "{policy} never deletes");
    match expected {
        Stays::Same => assert_eq!(differed, 0, "{policy}"),
        Stays::More => assert_ne!(differed, 0, "{policy}"),
        Stays::NoLess => {}
    }
    assert!(differed == 0 || !remarks.is_empty(), "{policy} keeps more, and nothing says so");
}

/// A glob in which `*` stops at slashes, `**` does not, and `{a,b}` is either.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    if let Some((before, rest)) = pattern.split_once('{') {
        let (inner, after) = rest.split_once('}').unwrap();
        return inner.split(',').any(|inner| glob(&format!("{before}{inner}{after}"), text));
    }
    if let Some(rest) = pattern.strip_prefix("**/") {
        return glob(rest, text) || text.match_indices('/').any(|(at, _)| glob(rest, &text[at + 1..]));
    }
    if let Some(rest) = pattern.strip_prefix("**") {
        return (0..=text.len()).any(|at| glob(rest, &text[at..]));
    }
    if let Some(rest) = pattern.strip_prefix('*') {
        let end = text.find('/').unwrap_or(text.len());
        return (0..=end).any(|at| glob(rest, &text[at..]));
    }
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some(p), Some(t)) if p == t => glob(&pattern[p.len_utf8()..], &text[t.len_utf8()..]),
        _ => false,
    }
}

/// The `count` first by a time; the smaller the hours, the later it was.
pub(super) fn newest(mut images: Vec<&Image>, count: u64, hours: impl Fn(&Image) -> i64) -> Vec<&Image> {
    images.sort_by_key(|image| hours(image));
    images.truncate(usize::try_from(count).unwrap());
    images
}

pub(super) fn tags(images: &[Image]) -> BTreeSet<String> {
    images.iter().flat_map(|image| image.tags.clone()).collect()
}
