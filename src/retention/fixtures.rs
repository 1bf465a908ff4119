//! Policies and repositories in few words, for tests.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::oci::{Algorithm, Digest, ImageConfig, RepositoryName};

use super::{
    Blob, Criterion, Granularity, Hold, ImageFacts, ImmutableTags, InUseProtection, Limits, ManifestContent,
    ManifestSnapshot, Mode, OrphanedReferrers, Planning, Policy, PolicyId, PullsKnown, RepositoryPatterns,
    RepositoryPlan, RepositorySnapshot, Rule, TagPatterns, TagSnapshot, UnmatchedTags, Untagged, UntaggedAction, Usage,
    VersionRule, plan_repository,
};

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(super) const RESTORE_WINDOW: Duration = Duration::from_secs(168 * 3600);

pub(super) fn now() -> Timestamp {
    "2026-07-01T12:00:00Z".parse().unwrap()
}

pub(super) fn ago(age: Duration) -> Timestamp {
    now() - SignedDuration::try_from(age).unwrap()
}

pub(super) fn digest(name: &str) -> Digest {
    Digest::of(Algorithm::Sha256, name.as_bytes())
}

pub(super) fn app() -> RepositoryName {
    "app".parse().unwrap()
}

/// A policy for every repository that keeps nothing and deletes nothing: no floor, no rule.
pub(super) fn policy(name: &str) -> Policy {
    Policy {
        id: PolicyId { namespace: "ns".into(), name: name.into(), uid: format!("uid-{name}"), generation: 1 },
        mode: Mode::Enforce,
        suspended: false,
        repositories: RepositoryPatterns::new(&["**".into()], &[]).unwrap(),
        minimum_age: Duration::ZERO,
        unmatched_tags: UnmatchedTags::Ignore,
        granularity: Granularity::Tag,
        keep: Vec::new(),
        untagged: Untagged { action: UntaggedAction::Keep, minimum_age: Duration::ZERO },
        orphaned: OrphanedReferrers::Delete,
        in_use: InUseProtection::Enabled,
        holds: Vec::new(),
        limits: Limits { max_deletions: u64::MAX, max_delete_percent: 100 },
    }
}

impl Policy {
    /// Tags that no rule matches go.
    pub(super) fn deleting_unmatched(mut self) -> Self {
        self.unmatched_tags = UnmatchedTags::Delete;
        self
    }

    /// The tags of an image stay together.
    pub(super) fn of_images(mut self) -> Self {
        self.granularity = Granularity::Image;
        self
    }

    /// Manifests go that have had no tag for `age`.
    pub(super) fn deleting_untagged_after(mut self, age: Duration) -> Self {
        self.untagged = Untagged { action: UntaggedAction::Delete, minimum_age: age };
        self
    }

    pub(super) fn keeping(mut self, name: &str, tags: &str, criteria: &[Criterion]) -> Self {
        let tags = TagPatterns::new(&[tags.into()]).unwrap();
        self.keep.push(Rule::new(name, tags, criteria.to_vec()).unwrap());
        self
    }

    pub(super) fn holding(mut self, reference: &str) -> Self {
        self.holds.push(Hold {
            repository: app(),
            reference: reference.parse().unwrap(),
            until: None,
            reason: Some("an audit".into()),
        });
        self
    }

    pub(super) fn with_floor(mut self, age: Duration) -> Self {
        self.minimum_age = age;
        self
    }

    pub(super) fn only_for(mut self, repositories: &str) -> Self {
        self.repositories = RepositoryPatterns::new(&[repositories.into()], &[]).unwrap();
        self
    }
}

pub(super) fn newest(count: u32) -> Criterion {
    Criterion::MostRecentlyPushed(NonZeroU32::new(count).unwrap())
}

pub(super) fn pulled_last(count: u32) -> Criterion {
    Criterion::MostRecentlyPulled(NonZeroU32::new(count).unwrap())
}

/// Versions of a range, so many of each minor version; 0: all of them.
pub(super) fn versions(range: &str, per_minor: u32) -> Criterion {
    let range = (!range.is_empty()).then(|| range.parse().unwrap());
    let rule = VersionRule { range, keep_per_minor: NonZeroU32::new(per_minor), ..VersionRule::default() };
    Criterion::Version(Arc::new(rule))
}

fn pairs(pairs: &[(&str, &str)]) -> Arc<BTreeMap<String, String>> {
    Arc::new(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
}

pub(super) fn labels(wanted: &[(&str, &str)]) -> Criterion {
    Criterion::Labels(pairs(wanted))
}

pub(super) fn annotations(wanted: &[(&str, &str)]) -> Criterion {
    Criterion::Annotations(pairs(wanted))
}

pub(super) fn types(wanted: &[&str]) -> Criterion {
    Criterion::ArtifactTypes(wanted.iter().map(|text| (*text).to_owned()).collect())
}

pub(super) fn platforms(wanted: &[&str]) -> Criterion {
    Criterion::Platforms(wanted.iter().map(|text| text.parse().unwrap()).collect())
}

/// What an image says that says no more than every image does.
fn config_of_image() -> ImageConfig {
    ImageConfig { platform: Some("linux/amd64".parse().unwrap()), ..ImageConfig::default() }
}

/// The tags of every repository that match a pattern.
pub(super) fn immutable(tags: &str) -> ImmutableTags {
    let mut immutable = ImmutableTags::none();
    immutable.add(&["**".into()], &[tags.into()]).unwrap();
    immutable
}

/// The repository `app`.
pub(super) fn repository() -> RepositorySnapshot {
    RepositorySnapshot { repository: app(), tags: Vec::new(), manifests: Vec::new(), pulls: PullsKnown::All }
}

impl RepositorySnapshot {
    /// An image, pushed so long ago, that has no tag yet. Its config is `<name>-config`, its layer `<name>-layer`.
    pub(super) fn image(mut self, name: &str, age: Duration) -> Self {
        let config = digest(&format!("{name}-config"));
        let layer = Blob { digest: digest(&format!("{name}-layer")), size: 1000 };
        self.manifests.push(ManifestSnapshot {
            digest: digest(name),
            media_type: None,
            size: 10,
            pushed_at: Some(ago(age)),
            pulled_at: None,
            untagged_since: None,
            restored_at: None,
            content: Some(ManifestContent {
                config: Some(config.clone()),
                blobs: vec![Blob { digest: config, size: 100 }, layer],
                image: ImageFacts::Known(config_of_image()),
                ..ManifestContent::default()
            }),
        });
        self
    }

    /// An index over manifests.
    pub(super) fn index(self, name: &str, children: &[&str], age: Duration) -> Self {
        let children = children.iter().map(|child| digest(child)).collect();
        let content = ManifestContent { children, image: ImageFacts::None, ..ManifestContent::default() };
        self.image(name, age).manifest(name, |manifest| manifest.content = Some(content))
    }

    /// A manifest that says something about another.
    pub(super) fn referrer(self, name: &str, subject: &str, age: Duration) -> Self {
        self.image(name, age).manifest(name, |manifest| {
            manifest.content.as_mut().unwrap().subject = Some(digest(subject));
        })
    }

    /// A tag, pushed so long ago.
    pub(super) fn tag(mut self, tag: &str, target: &str, age: Duration) -> Self {
        self.tags.push(TagSnapshot {
            tag: tag.parse().unwrap(),
            digest: digest(target),
            pushed_at: Some(ago(age)),
            pulled_at: None,
            restored_at: None,
        });
        self
    }

    /// An image with a tag of its name.
    pub(super) fn tagged(self, name: &str, age: Duration) -> Self {
        self.image(name, age).tag(name, name, age)
    }

    pub(super) fn manifest(mut self, name: &str, change: impl FnOnce(&mut ManifestSnapshot)) -> Self {
        change(self.manifests.iter_mut().find(|manifest| manifest.digest == digest(name)).unwrap());
        self
    }

    /// Changes what an image's config says.
    pub(super) fn config(self, name: &str, change: impl FnOnce(&mut ImageConfig)) -> Self {
        self.manifest(name, |manifest| {
            let mut config = config_of_image();
            change(&mut config);
            manifest.content.as_mut().unwrap().image = ImageFacts::Known(config);
        })
    }

    /// A tag that was pulled so long ago.
    pub(super) fn pulled(self, name: &str, age: Duration) -> Self {
        self.change_tag(name, |tag| tag.pulled_at = Some(ago(age)))
    }

    pub(super) fn change_tag(mut self, name: &str, change: impl FnOnce(&mut TagSnapshot)) -> Self {
        change(self.tags.iter_mut().find(|tag| tag.tag.as_str() == name).unwrap());
        self
    }
}

/// The first policy runs.
pub(super) fn plan_with_usage(policies: &[Policy], snapshot: &RepositorySnapshot, usage: &Usage) -> RepositoryPlan {
    plan_with_immutable(policies, snapshot, usage, &ImmutableTags::none())
}

pub(super) fn plan_with_immutable(
    policies: &[Policy],
    snapshot: &RepositorySnapshot,
    usage: &Usage,
    immutable: &ImmutableTags,
) -> RepositoryPlan {
    let planning = Planning::new(policies, &policies[0].id, RESTORE_WINDOW, now()).unwrap().with_immutable(immutable);
    plan_repository(&planning, snapshot, usage)
}

pub(super) fn plan(policies: &[Policy], snapshot: &RepositorySnapshot) -> RepositoryPlan {
    plan_with_usage(policies, snapshot, &Usage::nothing())
}

impl RepositoryPlan {
    /// The tags that go, sorted.
    pub(super) fn tags_that_go(&self) -> Vec<String> {
        let mut tags: Vec<String> = self.deletions.iter().flat_map(|d| &d.tags).map(ToString::to_string).collect();
        tags.sort_unstable();
        tags
    }

    /// Of the manifests of these names, those that go, in the plan's order.
    pub(super) fn manifests_that_go(&self, names: &[&str]) -> Vec<String> {
        let gone = self.deletions.iter().filter(|deletion| deletion.takes_manifest());
        let name = |d: &Digest| names.iter().find(|name| digest(name) == *d).map(|name| (*name).to_owned());
        gone.map(|deletion| name(&deletion.digest).unwrap_or_else(|| deletion.digest.to_string())).collect()
    }

    /// Why a tag or manifest stays or goes, in words. Only a sample of what stays is known.
    pub(super) fn reason(&self, reference: &str) -> String {
        let deletions = self.deletions.iter().flat_map(|deletion| &deletion.decisions);
        let mut decisions = deletions.chain(&self.kept_sample);
        let found = decisions.find(|decision| decision.reference.to_string() == reference);
        found.map_or_else(|| format!("nothing is said of {reference}"), |decision| decision.reason.to_string())
    }
}
