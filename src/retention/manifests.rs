//! Which manifests follow the tags that go.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use crate::oci::{Digest, Tag};

use super::graph::{Graph, Node};
use super::planning::is_younger;
use super::protection::Protection;
use super::{ManifestSnapshot, OrphanedReferrers, Planning, Reason, UntaggedAction};

/// Decides about the manifests of a repository, once it is known which tags go.
pub(super) struct ManifestJudge<'a> {
    pub(super) planning: &'a Planning<'a>,
    pub(super) graph: &'a Graph<'a>,
    pub(super) protection: &'a Protection<'a>,
    /// The tags that go.
    pub(super) dropped: &'a HashSet<&'a Tag>,
}

impl ManifestJudge<'_> {
    /// Why each kept manifest stays. Those that are not here go.
    ///
    /// First come those with a reason of their own, then what they reach. What is left is asked whether it has been
    /// without a tag for long enough, and what that keeps reaches further. So what a kept index lists says so,
    /// rather than that it has no tag.
    pub(super) fn kept(&self) -> HashMap<Node, Reason> {
        let own = self.graph.iter().filter_map(|(node, manifest)| Some((node, self.own_reason(node, manifest)?)));
        let mut kept = self.with_what_they_reach(own.collect());
        let waiting = self.graph.iter().filter(|(node, _)| !kept.contains_key(node));
        let waiting = waiting.filter_map(|(node, manifest)| Some((node, self.untagged_reason(node, manifest)?)));
        for (node, reason) in self.with_what_they_reach(waiting.collect()) {
            kept.entry(node).or_insert(reason);
        }
        kept
    }

    /// Why a manifest that goes, goes.
    pub(super) fn reason_to_go(&self, node: Node, manifest: &ManifestSnapshot) -> Reason {
        if let Some(subject) = self.graph.subject(node).and_then(|subject| self.graph.manifest(subject)) {
            return Reason::SubjectDeleted { subject: subject.digest.clone() };
        }
        let minimum_age = self.planning.running().untagged.minimum_age;
        let since = untagged_since(manifest).unwrap_or(self.planning.now());
        Reason::Untagged { since, minimum_age }
    }

    fn with_what_they_reach(&self, seeds: Vec<(Node, Reason)>) -> HashMap<Node, Reason> {
        let mut kept: HashMap<Node, Reason> = HashMap::new();
        let mut open: Vec<Node> = Vec::new();
        for (node, reason) in seeds {
            kept.insert(node, reason);
            open.push(node);
        }
        while let Some(node) = open.pop() {
            let Some(digest) = self.graph.manifest(node).map(|m| &m.digest) else { continue };
            for (further, reason) in self.reached_by(node, digest) {
                if let std::collections::hash_map::Entry::Vacant(entry) = kept.entry(further) {
                    entry.insert(reason);
                    open.push(further);
                }
            }
        }
        kept
    }

    fn reached_by<'b>(&'b self, node: Node, digest: &'b Digest) -> impl Iterator<Item = (Node, Reason)> + 'b {
        let children = self.graph.children(node).iter().map(|n| (*n, Reason::ChildOf { index: digest.clone() }));
        let referrers = self.graph.referrers(node).iter().map(|n| (*n, Reason::ReferrerOf { subject: digest.clone() }));
        children.chain(referrers)
    }

    /// What keeps a manifest by itself.
    fn own_reason(&self, node: Node, manifest: &ManifestSnapshot) -> Option<Reason> {
        let kept_tag = || self.graph.tags(node).iter().find(|tag| !self.dropped.contains(&tag.tag));
        self.protection
            .held(node)
            .or_else(|| kept_tag().map(|tag| Reason::Tagged { tag: tag.tag.clone() }))
            .or_else(|| self.protection.used(node))
            .or_else(|| manifest.restored_at.and_then(|at| self.planning.restored(at)))
            .or_else(|| manifest.content.is_none().then_some(Reason::Unreadable))
            .or_else(|| match manifest.pushed_at {
                None => Some(Reason::PushTimeUnknown),
                Some(pushed_at) => self.protection.too_young(pushed_at, self.planning.now()),
            })
    }

    /// What keeps a manifest that nothing kept reaches.
    fn untagged_reason(&self, node: Node, manifest: &ManifestSnapshot) -> Option<Reason> {
        let untagged = self.planning.running().untagged;
        if untagged.action == UntaggedAction::Keep {
            return Some(Reason::UntaggedKept);
        }
        let is_referrer = manifest.content.as_ref().is_some_and(|content| content.subject.is_some());
        if is_referrer && self.planning.running().orphaned == OrphanedReferrers::Keep {
            return Some(Reason::OrphanKept);
        }
        if let Some(unreadable) = self.protection.first_unreadable() {
            return Some(Reason::MayBeReferred { unreadable: unreadable.clone() });
        }
        let minimum_age = untagged.minimum_age;
        if !self.graph.tags(node).is_empty() {
            return (!minimum_age.is_zero()).then_some(Reason::UntaggedTooShort { since: None, minimum_age });
        }
        // A referrer has no tag to lose: it goes with its subject, and stays with it.
        if self.graph.subject(node).is_some() {
            return None;
        }
        let since = untagged_since(manifest)?;
        is_younger(since, minimum_age, self.planning.now())
            .then_some(Reason::UntaggedTooShort { since: Some(since), minimum_age })
    }
}

/// Since when a manifest without tags has had none.
fn untagged_since(manifest: &ManifestSnapshot) -> Option<Timestamp> {
    manifest.untagged_since.or(manifest.pushed_at)
}
