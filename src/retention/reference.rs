//! The semantics a second time, as slowly and as plainly as it can be said. The engine must agree with it.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use crate::oci::{Digest, ImageConfig, Platform, Reference, Tag};

use super::{
    Criterion, Granularity, ImageFacts, ImmutableTags, ManifestContent, ManifestSnapshot, OrphanedReferrers, Policy,
    PullsKnown, RepositorySnapshot, Rule, TagSnapshot, UnmatchedTags, UntaggedAction, Usage, VersionRule,
};

/// The question; the first policy runs.
pub(super) struct Question<'a> {
    pub(super) policies: &'a [Policy],
    pub(super) snapshot: &'a RepositorySnapshot,
    pub(super) usage: &'a Usage,
    pub(super) immutable: &'a ImmutableTags,
    pub(super) restore_window: Duration,
    pub(super) now: Timestamp,
}

type Digests = BTreeSet<Digest>;

impl Question<'_> {
    /// The tags and the manifests that go.
    pub(super) fn answer(&self) -> (BTreeSet<Tag>, Digests) {
        if !self.policies[0].repositories.matches(&self.snapshot.repository) {
            return (BTreeSet::new(), Digests::new());
        }
        let gone: BTreeSet<Tag> =
            self.snapshot.tags.iter().filter(|tag| !self.keeps_tag(tag)).map(|tag| tag.tag.clone()).collect();
        let mut kept = Digests::new();
        while let Some(manifest) =
            self.snapshot.manifests.iter().find(|m| !kept.contains(&m.digest) && self.keeps_manifest(m, &gone, &kept))
        {
            kept.insert(manifest.digest.clone());
        }
        let manifests = self.snapshot.manifests.iter().map(|m| m.digest.clone()).filter(|d| !kept.contains(d));
        (gone, manifests.collect())
    }

    /// The tags that a policy looks at together with one: all of the same image, or itself.
    fn together(&self, granularity: Granularity, tag: &TagSnapshot) -> Vec<&TagSnapshot> {
        let tags = self.snapshot.tags.iter();
        tags.filter(|t| if granularity == Granularity::Image { t.digest == tag.digest } else { t.tag == tag.tag })
            .collect()
    }

    fn younger(&self, since: Timestamp, age: Duration) -> bool {
        self.now.as_second() - since.as_second() < i64::try_from(age.as_secs()).unwrap()
    }

    fn applying(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter().filter(|policy| policy.repositories.matches(&self.snapshot.repository))
    }

    fn find(&self, digest: &Digest) -> Option<&ManifestSnapshot> {
        self.snapshot.manifests.iter().find(|manifest| manifest.digest == *digest)
    }

    fn recently_restored(&self, at: Option<Timestamp>) -> bool {
        at.is_some_and(|at| self.younger(at, self.restore_window))
    }

    fn below_a_floor(&self, pushed_at: Timestamp) -> bool {
        self.applying().any(|policy| self.younger(pushed_at, policy.minimum_age))
    }

    /// What a hold names, in this repository and now.
    fn hold_references(&self) -> impl Iterator<Item = &Reference> {
        let holds = self.policies.iter().flat_map(|policy| &policy.holds);
        holds
            .filter(|h| h.repository == self.snapshot.repository && h.until.is_none_or(|until| until > self.now))
            .map(|hold| &hold.reference)
    }

    /// With what the manifests list, and what refers to them.
    fn with_what_is_below(&self, mut set: Digests) -> Digests {
        loop {
            let more = self.snapshot.manifests.iter().find(|m| {
                let listed = set.iter().any(|d| self.find(d).is_some_and(|index| lists(index, &m.digest)));
                !set.contains(&m.digest) && (listed || set.iter().any(|subject| refers(m, subject)))
            });
            match more {
                Some(manifest) => drop(set.insert(manifest.digest.clone())),
                None => return set,
            }
        }
    }

    fn held(&self) -> Digests {
        let targets = self.hold_references().flat_map(|reference| match reference {
            Reference::Digest(digest) => vec![digest.clone()],
            Reference::Tag(tag) => {
                self.snapshot.tags.iter().filter(|t| t.tag == *tag).map(|t| t.digest.clone()).collect()
            }
        });
        self.with_what_is_below(targets.collect())
    }

    fn used(&self) -> Digests {
        let mut set = Digests::new();
        for manifest in &self.snapshot.manifests {
            let config = manifest.content.as_ref().and_then(|content| content.config.as_ref());
            let children = manifest.content.iter().flat_map(|content| &content.children);
            let mut names = children.chain(config).chain([&manifest.digest]);
            let tagged = self.snapshot.tags.iter().filter(|tag| tag.digest == manifest.digest);
            if names.any(|name| self.usage.digests.contains_key(name))
                || tagged.into_iter().any(|tag| self.usage.tags.contains_key(&tag.tag))
            {
                set.insert(manifest.digest.clone());
            }
        }
        while let Some(index) =
            self.snapshot.manifests.iter().find(|m| !set.contains(&m.digest) && set.iter().any(|child| lists(m, child)))
        {
            set.insert(index.digest.clone());
        }
        self.with_what_is_below(set)
    }

    /// The manifest of a tag, and everything that it lists, at any depth.
    fn reached(&self, tag: &TagSnapshot) -> Digests {
        let mut set = Digests::from([tag.digest.clone()]);
        loop {
            let inside = self.snapshot.manifests.iter().filter(|manifest| set.contains(&manifest.digest));
            let mut listed = inside.flat_map(|manifest| manifest.content.iter().flat_map(|content| &content.children));
            match listed.find(|child| !set.contains(child)).cloned() {
                Some(child) => drop(set.insert(child)),
                None => return set,
            }
        }
    }

    /// When a tag, or its image, was last pushed.
    fn last_pushed(&self, granularity: Granularity, tag: &TagSnapshot) -> Timestamp {
        self.together(granularity, tag).iter().filter_map(|tag| tag.pushed_at).max().unwrap()
    }

    /// When a tag, or its image, was last pulled or pushed.
    fn last_used(&self, granularity: Granularity, tag: &TagSnapshot) -> Timestamp {
        let together = self.together(granularity, tag);
        together.iter().filter_map(|tag| Some(self.tag_last_used(tag, tag.pushed_at?))).max().unwrap()
    }

    /// How many places are taken by what `time` says came later than a tag, among the tags that its rule matches.
    fn places_after(
        &self,
        rule: &Rule,
        granularity: Granularity,
        own: &TagSnapshot,
        is_later: impl Fn((&TagSnapshot, &Tag), (&TagSnapshot, &Tag)) -> bool,
    ) -> usize {
        let matched = self.matched(rule);
        // The name that tells apart what came at the same time: that of the tag, or the last of its image's.
        let name = |tag: &TagSnapshot| -> Tag {
            let together = self.together(granularity, tag);
            let names = matched.iter().filter(|(other, _)| together.iter().any(|t| t.tag == other.tag));
            names.map(|(other, _)| other.tag.clone()).max().unwrap()
        };
        let later = matched.iter().filter(|(other, _)| is_later((other, &name(other)), (own, &name(own))));
        match granularity {
            Granularity::Tag => later.count(),
            Granularity::Image => later.map(|(other, _)| &other.digest).collect::<BTreeSet<_>>().len(),
        }
    }

    /// When a tag was last pulled, by its name, by its digest or by that of something that it lists; or pushed.
    fn tag_last_used(&self, tag: &TagSnapshot, pushed_at: Timestamp) -> Timestamp {
        let reached = self.reached(tag);
        let by_digest =
            self.snapshot.manifests.iter().filter(|m| reached.contains(&m.digest)).filter_map(|m| m.pulled_at);
        by_digest.chain(tag.pulled_at).chain([pushed_at]).max().unwrap()
    }

    /// Until when anything may have been pulled.
    fn missing_until(&self) -> Timestamp {
        match self.snapshot.pulls {
            PullsKnown::All => Timestamp::MIN,
            PullsKnown::Until(missing) => missing,
            PullsKnown::Nothing => Timestamp::MAX,
        }
    }

    /// The tags that a rule matches, with the time of their push, where that is known.
    fn matched(&self, rule: &Rule) -> Vec<(&TagSnapshot, Timestamp)> {
        let matched = self.snapshot.tags.iter().filter(|tag| rule.tags().matches(&tag.tag));
        matched.filter_map(|tag| Some((tag, tag.pushed_at?))).collect()
    }

    /// Whether something that a tag reaches says yes; also where something that it reaches says nothing.
    fn any(&self, tag: &TagSnapshot, ask: impl Fn(&ManifestContent) -> Option<bool>) -> bool {
        self.reached(tag).iter().any(|digest| {
            let content = self.find(digest).and_then(|manifest| manifest.content.as_ref());
            content.and_then(&ask).unwrap_or(true)
        })
    }

    fn created_within(&self, tag: &TagSnapshot, age: Duration) -> bool {
        let mut times = Vec::new();
        for digest in self.reached(tag) {
            let Some(content) = self.find(&digest).and_then(|manifest| manifest.content.as_ref()) else { return true };
            let image = match &content.image {
                ImageFacts::Unknown => return true,
                ImageFacts::Known(image) => image.created,
                ImageFacts::None => None,
            };
            let annotated = content.annotations.get("org.opencontainers.image.created").and_then(|at| at.parse().ok());
            times.extend(image.or(annotated));
        }
        times.into_iter().max().is_none_or(|at| self.younger(at, age))
    }

    /// So many versions of its group at most are higher than a tag's; those of its rule and range count, each once.
    fn version_stays(&self, rule: &Rule, versions: &VersionRule, tag: &TagSnapshot) -> bool {
        let parse = |tag: &Tag| -> Option<semver::Version> {
            let text = tag.as_str().replacen('_', "+", 1);
            let version: semver::Version = text.strip_prefix('v').unwrap_or(&text).parse().ok()?;
            versions.range.as_ref().is_none_or(|range| range.matches(&version)).then_some(version)
        };
        let Some(own) = parse(&tag.tag) else { return false };
        let matched = self.snapshot.tags.iter().filter(|other| rule.tags().matches(&other.tag));
        let all: Vec<semver::Version> = matched.filter_map(|other| parse(&other.tag)).collect();
        let higher = |depth: usize| {
            let group = |v: &semver::Version| [v.major, v.minor, v.patch][..depth].to_vec();
            let mut higher: Vec<String> = Vec::new();
            for version in all.iter().filter(|v| group(v) == group(&own) && v.cmp_precedence(&own).is_gt()) {
                let mut plain = version.clone();
                plain.build = semver::BuildMetadata::EMPTY;
                higher.push(plain.to_string());
            }
            higher.sort();
            higher.dedup();
            u32::try_from(higher.len()).unwrap()
        };
        let limits = [versions.keep_per_major, versions.keep_per_minor, versions.keep_per_patch];
        let within =
            |(at, limit): (usize, &Option<std::num::NonZeroU32>)| limit.is_some_and(|n| higher(at + 1) < n.get());
        limits.iter().all(Option::is_none) || limits.iter().enumerate().any(within)
    }

    /// The bytes of a tag and of all that were pushed after it.
    fn size_down_to(&self, rule: &Rule, granularity: Granularity, tag: &TagSnapshot) -> u64 {
        let mut sizes = std::collections::BTreeMap::new();
        for (other, _) in self.matched(rule) {
            let (at, own) = (self.last_pushed(granularity, other), self.last_pushed(granularity, tag));
            if (at, &other.tag) >= (own, &tag.tag) {
                for manifest in self.reached(other).iter().filter_map(|digest| self.find(digest)) {
                    sizes.insert((true, manifest.digest.clone()), manifest.size);
                    let blobs = manifest.content.iter().flat_map(|content| &content.blobs);
                    sizes.extend(blobs.map(|blob| ((false, blob.digest.clone()), blob.size)));
                }
            }
        }
        sizes.values().sum()
    }

    fn criterion_holds(&self, granularity: Granularity, rule: &Rule, criterion: &Criterion, tag: &TagSnapshot) -> bool {
        let image = |ask: &dyn Fn(&ImageConfig) -> bool| {
            self.any(tag, |content| match &content.image {
                ImageFacts::Known(image) => Some(ask(image)),
                ImageFacts::None => Some(false),
                ImageFacts::Unknown => None,
            })
        };
        match criterion {
            Criterion::Always => true,
            Criterion::PushedWithin(age) => self.younger(self.last_pushed(granularity, tag), *age),
            Criterion::MostRecentlyPushed(count) => {
                let at = |tag: &TagSnapshot| self.last_pushed(granularity, tag);
                let later = self
                    .places_after(rule, granularity, tag, |(a, a_name), (b, b_name)| (at(a), a_name) > (at(b), b_name));
                later < count.get() as usize
            }
            Criterion::PulledWithin(age) => {
                self.snapshot.pulls == PullsKnown::Nothing
                    || self.younger(self.last_used(granularity, tag).max(self.missing_until()), *age)
            }
            Criterion::MostRecentlyPulled(count) => {
                let at = |tag: &TagSnapshot| self.last_used(granularity, tag);
                let own = at(tag);
                // It may have been used as late as anything could be that is not known.
                let surely_later = self
                    .places_after(rule, granularity, tag, |(other, _), _| at(other) > own.max(self.missing_until()));
                let later = self
                    .places_after(rule, granularity, tag, |(a, a_name), (b, b_name)| (at(a), a_name) > (at(b), b_name));
                let is_doubtful = own <= self.missing_until();
                (if is_doubtful { surely_later.min(later) } else { later }) < count.get() as usize
            }
            Criterion::CreatedWithin(age) => self.created_within(tag, *age),
            Criterion::Version(versions) => self.version_stays(rule, versions, tag),
            Criterion::Labels(wanted) => image(&|image| wanted.iter().all(|(k, v)| image.labels.get(k) == Some(v))),
            Criterion::Platforms(wanted) => self.any(tag, |content| {
                let listed = content.platforms.iter().cloned().map(Some);
                let own = match &content.image {
                    ImageFacts::Known(image) => vec![image.platform.clone()],
                    ImageFacts::Unknown => vec![None],
                    ImageFacts::None => Vec::new(),
                };
                let covers = |said: &Option<Platform>, wanted: &Platform| wanted.covers(said.as_ref()?);
                let said: Vec<_> = listed.chain(own).collect();
                let all: Vec<_> = said.iter().flat_map(|said| wanted.iter().map(move |w| covers(said, w))).collect();
                if all.contains(&Some(true)) { Some(true) } else { (!all.contains(&None)).then_some(false) }
            }),
            Criterion::Annotations(wanted) => {
                self.any(tag, |content| Some(wanted.iter().all(|(k, v)| content.annotations.get(k) == Some(v))))
            }
            Criterion::ArtifactTypes(types) => {
                self.any(tag, |content| Some(types.iter().any(|t| content.artifact_type.as_ref() == Some(t))))
            }
            Criterion::WithinSize(bytes) => self.size_down_to(rule, granularity, tag) <= *bytes,
        }
    }

    /// Whether a rule of a policy keeps a tag, or one that the policy looks at together with it.
    fn rules_keep(&self, policy: &Policy, tag: &TagSnapshot) -> bool {
        let granularity = policy.granularity;
        let keeps = |rule: &Rule, tag: &TagSnapshot| {
            let holds = |criterion| self.criterion_holds(granularity, rule, criterion, tag);
            rule.tags().matches(&tag.tag) && tag.pushed_at.is_some() && rule.criteria().iter().any(holds)
        };
        self.together(granularity, tag).iter().any(|tag| policy.keep.iter().any(|rule| keeps(rule, tag)))
    }

    /// Whether something keeps a tag, itself or one that the running policy looks at together with it.
    fn keeps_tag(&self, tag: &TagSnapshot) -> bool {
        let running = &self.policies[0];
        let is_matched = running.keep.iter().any(|rule| rule.tags().matches(&tag.tag));
        self.together(running.granularity, tag).iter().any(|tag| self.something_keeps(tag))
            || (!is_matched && running.unmatched_tags == UnmatchedTags::Ignore)
    }

    fn something_keeps(&self, tag: &TagSnapshot) -> bool {
        let Some(pushed_at) = tag.pushed_at else { return true };
        let Some(manifest) = self.find(&tag.digest) else { return true };
        let named = |reference: &Reference| match reference {
            Reference::Tag(name) => *name == tag.tag,
            Reference::Digest(digest) => *digest == tag.digest,
        };
        self.hold_references().any(named)
            || self.usage.tags.contains_key(&tag.tag)
            || self.used().contains(&tag.digest)
            || self.immutable.contains(&self.snapshot.repository, &tag.tag)
            || self.recently_restored(tag.restored_at)
            || self.recently_restored(manifest.restored_at)
            || manifest.content.is_none()
            || self.below_a_floor(pushed_at)
            || self.applying().any(|policy| self.rules_keep(policy, tag))
    }

    fn keeps_manifest(&self, manifest: &ManifestSnapshot, gone: &BTreeSet<Tag>, kept: &Digests) -> bool {
        let untagged = self.policies[0].untagged;
        let tags: Vec<_> = self.snapshot.tags.iter().filter(|tag| tag.digest == manifest.digest).collect();
        let subject = manifest.content.as_ref().and_then(|content| content.subject.as_ref());
        let subject_is_there = subject.is_some_and(|subject| self.find(subject).is_some());
        let Some(pushed_at) = manifest.pushed_at else { return true };
        let untagged_too_short = if tags.is_empty() {
            !subject_is_there && self.younger(manifest.untagged_since.unwrap_or(pushed_at), untagged.minimum_age)
        } else {
            untagged.minimum_age > Duration::ZERO
        };
        untagged.action == UntaggedAction::Keep
            || (subject.is_some() && self.policies[0].orphaned == OrphanedReferrers::Keep)
            || untagged_too_short
            || tags.iter().any(|tag| !gone.contains(&tag.tag))
            || self.held().contains(&manifest.digest)
            || self.used().contains(&manifest.digest)
            || self.recently_restored(manifest.restored_at)
            || self.snapshot.manifests.iter().any(|other| other.content.is_none())
            || self.below_a_floor(pushed_at)
            || kept.iter().any(|d| self.find(d).is_some_and(|index| lists(index, &manifest.digest)))
            || kept.iter().any(|d| refers(manifest, d))
    }
}

fn lists(index: &ManifestSnapshot, child: &Digest) -> bool {
    index.content.as_ref().is_some_and(|content| content.children.contains(child))
}

fn refers(referrer: &ManifestSnapshot, subject: &Digest) -> bool {
    referrer.content.as_ref().is_some_and(|content| content.subject.as_ref() == Some(subject))
}
