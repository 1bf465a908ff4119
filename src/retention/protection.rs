//! What stays in a repository whatever the rules say.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use crate::oci::{Digest, Reference, Tag};

use super::graph::{Graph, Node};
use super::planning::{Planning, is_younger};
use super::{Hold, Policy, Reason, RepositorySnapshot, TagSnapshot, Usage};

/// A hold, with the policy that it is in.
type PolicyHold<'a> = (&'a Policy, &'a Hold);

/// Holds, use, floors, and what cannot be read, resolved for one repository.
pub(super) struct Protection<'a> {
    held_tags: HashMap<&'a Tag, PolicyHold<'a>>,
    /// Manifests that a hold names by digest.
    held_digests: HashMap<&'a Digest, PolicyHold<'a>>,
    /// Every manifest that a hold names or that belongs to such a one.
    held: HashMap<Node, PolicyHold<'a>>,
    used_tags: &'a HashMap<Tag, String>,
    /// Every manifest in use, with what belongs to it.
    used: HashMap<Node, &'a str>,
    /// The highest floor, and the other policy that it is from.
    floor: (Duration, Option<String>),
    unreadable: Option<&'a Digest>,
}

impl<'a> Protection<'a> {
    /// `applying` are the policies whose repositories this one is among.
    pub(super) fn new(
        planning: &Planning<'a>,
        applying: &[&'a Policy],
        snapshot: &'a RepositorySnapshot,
        graph: &Graph<'a>,
        usage: &'a Usage,
    ) -> Self {
        let mut held_tags = HashMap::new();
        let mut held_digests = HashMap::new();
        let holds = planning.policies().iter().flat_map(|policy| policy.holds.iter().map(move |hold| (policy, hold)));
        for (policy, hold) in holds.filter(|(_, h)| h.repository == snapshot.repository && h.is_active(planning.now()))
        {
            match &hold.reference {
                Reference::Tag(tag) => drop(held_tags.entry(tag).or_insert((policy, hold))),
                Reference::Digest(digest) => drop(held_digests.entry(digest).or_insert((policy, hold))),
            }
        }
        Self {
            held: held_manifests(snapshot, graph, &held_tags, &held_digests),
            held_tags,
            held_digests,
            used_tags: &usage.tags,
            used: used_manifests(snapshot, graph, usage),
            floor: floor(planning, applying),
            unreadable: snapshot.manifests.iter().find(|m| m.content.is_none()).map(|m| &m.digest),
        }
    }

    /// The reason to keep a tag that a hold names, or whose manifest one names by digest.
    pub(super) fn held_tag(&self, tag: &TagSnapshot) -> Option<Reason> {
        self.held_tags.get(&tag.tag).or_else(|| self.held_digests.get(&tag.digest)).map(held_reason)
    }

    /// The reason to keep a manifest that is held.
    pub(super) fn held(&self, node: Node) -> Option<Reason> {
        self.held.get(&node).map(held_reason)
    }

    /// The reason to keep a tag that is in use, or whose manifest belongs to something in use.
    pub(super) fn used_tag(&self, tag: &TagSnapshot, node: Option<Node>) -> Option<Reason> {
        let named = self.used_tags.get(&tag.tag).map(|by| Reason::InUse { by: by.clone() });
        named.or_else(|| self.used(node?))
    }

    /// The reason to keep a manifest that belongs to something in use.
    pub(super) fn used(&self, node: Node) -> Option<Reason> {
        self.used.get(&node).map(|by| Reason::InUse { by: (*by).to_owned() })
    }

    /// The reason to keep what is younger than the highest floor.
    pub(super) fn too_young(&self, pushed_at: Timestamp, now: Timestamp) -> Option<Reason> {
        let (minimum_age, policy) = &self.floor;
        let minimum_age = *minimum_age;
        is_younger(pushed_at, minimum_age, now).then(|| Reason::TooYoung {
            pushed_at,
            minimum_age,
            policy: policy.clone(),
        })
    }

    /// A manifest that cannot be read, if there is one: it may refer to any other.
    pub(super) fn first_unreadable(&self) -> Option<&'a Digest> {
        self.unreadable
    }
}

/// The running policy's own floor where it is as high as any other.
fn floor(planning: &Planning<'_>, applying: &[&Policy]) -> (Duration, Option<String>) {
    let highest = applying.iter().max_by_key(|policy| (policy.minimum_age, policy.id == planning.running().id));
    highest.map_or_else(Default::default, |policy| {
        let other = (policy.id != planning.running().id).then(|| policy.id.to_string());
        (policy.minimum_age, other)
    })
}

fn held_reason((policy, hold): &PolicyHold<'_>) -> Reason {
    Reason::Held { policy: policy.id.to_string(), until: hold.until, why: hold.reason.clone() }
}

/// What holds name, and what belongs to it.
fn held_manifests<'a>(
    snapshot: &'a RepositorySnapshot,
    graph: &Graph<'a>,
    tags: &HashMap<&'a Tag, PolicyHold<'a>>,
    digests: &HashMap<&'a Digest, PolicyHold<'a>>,
) -> HashMap<Node, PolicyHold<'a>> {
    if tags.is_empty() && digests.is_empty() {
        return HashMap::new();
    }
    let by_digest = graph.iter().filter_map(|(node, manifest)| Some((node, *digests.get(&manifest.digest)?)));
    let by_tag = snapshot.tags.iter().filter_map(|tag| Some((graph.node(&tag.digest)?, *tags.get(&tag.tag)?)));
    // What a hold names may not be there itself, and what refers to it is held all the same.
    let absent_targets = snapshot.tags.iter().filter_map(|tag| Some((&tag.digest, *tags.get(&tag.tag)?)));
    let absent: HashMap<&Digest, PolicyHold<'a>> = digests
        .iter()
        .map(|(digest, hold)| (*digest, *hold))
        .chain(absent_targets)
        .filter(|(digest, _)| graph.node(digest).is_none())
        .collect();
    let by_subject = graph.iter().filter_map(|(node, manifest)| {
        let subject = manifest.content.as_ref()?.subject.as_ref()?;
        Some((node, *absent.get(subject)?))
    });
    graph.spread(by_digest.chain(by_tag).chain(by_subject), Graph::below)
}

/// What usage names, the indexes that reach it, and what belongs to any of those.
fn used_manifests<'a>(snapshot: &'a RepositorySnapshot, graph: &Graph<'a>, usage: &'a Usage) -> HashMap<Node, &'a str> {
    if usage.is_empty() {
        return HashMap::new();
    }
    let by_digest = graph.iter().filter_map(|(node, _)| {
        let by = graph.names(node).find_map(|digest| usage.digests.get(digest))?;
        Some((node, by.as_str()))
    });
    let by_tag =
        snapshot.tags.iter().filter_map(|tag| Some((graph.node(&tag.digest)?, usage.tags.get(&tag.tag)?.as_str())));
    let reaching = graph.spread(by_digest.chain(by_tag), Graph::indexes);
    let mut reaching: Vec<_> = reaching.into_iter().collect();
    reaching.sort_unstable();
    graph.spread(reaching, Graph::below)
}
