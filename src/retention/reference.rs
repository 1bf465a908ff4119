//! The semantics a second time, as slowly and as plainly as it can be said. The engine must agree with it.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use crate::oci::{Digest, Reference, Tag};

use super::{
    Criterion, ManifestSnapshot, Policy, RepositorySnapshot, Rule, TagSnapshot, UnmatchedTags, UntaggedAction, Usage,
};

/// The question; the first policy runs.
pub(super) struct Question<'a> {
    pub(super) policies: &'a [Policy],
    pub(super) snapshot: &'a RepositorySnapshot,
    pub(super) usage: &'a Usage,
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

    fn criterion_holds(&self, rule: &Rule, criterion: Criterion, tag: &TagSnapshot, pushed_at: Timestamp) -> bool {
        match criterion {
            Criterion::Always => true,
            Criterion::PushedWithin(age) => self.younger(pushed_at, age),
            Criterion::MostRecentlyPushed(count) => {
                let later = self.snapshot.tags.iter().filter(|other| {
                    rule.tags().matches(&other.tag)
                        && other.pushed_at.is_some_and(|at| (at, &other.tag) > (pushed_at, &tag.tag))
                });
                later.count() < count.get() as usize
            }
        }
    }

    fn keeps_tag(&self, tag: &TagSnapshot) -> bool {
        let Some(pushed_at) = tag.pushed_at else { return true };
        let Some(manifest) = self.find(&tag.digest) else { return true };
        let named = |reference: &Reference| match reference {
            Reference::Tag(name) => *name == tag.tag,
            Reference::Digest(digest) => *digest == tag.digest,
        };
        let matching = |policy: &Policy| policy.keep.iter().filter(|rule| rule.tags().matches(&tag.tag)).count();
        let kept_by = |policy: &Policy| {
            policy.keep.iter().filter(|rule| rule.tags().matches(&tag.tag)).any(|rule| {
                rule.criteria().iter().any(|criterion| self.criterion_holds(rule, *criterion, tag, pushed_at))
            })
        };
        let running = &self.policies[0];
        self.hold_references().any(named)
            || self.usage.tags.contains_key(&tag.tag)
            || self.used().contains(&tag.digest)
            || self.recently_restored(tag.restored_at)
            || self.recently_restored(manifest.restored_at)
            || manifest.content.is_none()
            || self.below_a_floor(pushed_at)
            || self.applying().any(kept_by)
            || (matching(running) == 0 && running.unmatched_tags == UnmatchedTags::Ignore)
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
