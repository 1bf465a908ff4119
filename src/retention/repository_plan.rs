//! The plan for one repository.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap, HashSet},
    mem::{Discriminant, discriminant},
};

use crate::oci::{Digest, Reference, RepositoryName, Tag};

use super::graph::{Graph, Node};
use super::manifests::ManifestJudge;
use super::protection::Protection;
use super::tags::TagJudge;
use super::{Action, Decision, Deletion, Planning, Policy, Reason, RepositorySnapshot, Usage};

/// Kept references that a repository's plan shows for each kind of reason. Two tell a case from a pattern.
const SHOWN_PER_REASON: usize = 2;

/// What is to become of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryPlan {
    /// Which one.
    pub repository: RepositoryName,
    /// How many tags it has; 0 if it is not among the policy's repositories.
    pub tags_in_scope: u64,
    /// What goes, in the order in which it is to go: tags, then manifests, each after all that refer to it.
    pub deletions: Vec<Deletion>,
    /// How many references stay: tags, and manifests that no tag points to.
    pub keeps: u64,
    /// How many references would go if nothing was in use.
    pub protected_in_use: u64,
    /// What stays, one by one, in no order.
    pub kept: Vec<Decision>,
    /// Some of what stays, for each kind of reason.
    pub kept_sample: Vec<Decision>,
    /// What would go if there was no other policy, and stays.
    pub prevented: Vec<Prevented>,
}

/// A deletion that another policy prevents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prevented {
    /// The tag or manifest.
    pub reference: Reference,
    /// The other policy, as `namespace/name`.
    pub policy: String,
}

impl RepositoryPlan {
    /// How many references stop answering.
    #[must_use]
    pub fn deletes(&self) -> u64 {
        self.deletions.iter().map(Deletion::count).sum()
    }

    /// How many tags go.
    #[must_use]
    pub fn deleted_tags(&self) -> u64 {
        self.deletions.iter().map(|deletion| deletion.tags.len() as u64).sum()
    }
}

/// Plans a repository. It takes time and memory in proportion to the snapshot, and to its logarithm.
#[must_use]
pub fn plan_repository(planning: &Planning<'_>, snapshot: &RepositorySnapshot, usage: &Usage) -> RepositoryPlan {
    if !planning.running().repositories.matches(&snapshot.repository) {
        return RepositoryPlan {
            repository: snapshot.repository.clone(),
            tags_in_scope: 0,
            deletions: Vec::new(),
            keeps: 0,
            protected_in_use: 0,
            kept: Vec::new(),
            kept_sample: Vec::new(),
            prevented: Vec::new(),
        };
    }
    let graph = Graph::new(snapshot);
    let alone = if planning.policies().len() > 1 {
        references(&plan_with(&planning.alone(), snapshot, &graph, usage, &HashSet::new()))
    } else {
        HashSet::new()
    };
    let mut plan = plan_with(planning, snapshot, &graph, usage, &alone);
    if !usage.is_empty() {
        let unprotected = plan_with(planning, snapshot, &graph, &Usage::nothing(), &HashSet::new()).deletes();
        plan.protected_in_use = unprotected.saturating_sub(plan.deletes());
    }
    plan
}

/// What a plan deletes.
fn references(plan: &RepositoryPlan) -> HashSet<Reference> {
    plan.deletions.iter().flat_map(|d| &d.decisions).map(|decision| decision.reference.clone()).collect()
}

/// `alone` is what would go without the other policies.
fn plan_with(
    planning: &Planning<'_>,
    snapshot: &RepositorySnapshot,
    graph: &Graph<'_>,
    usage: &Usage,
    alone: &HashSet<Reference>,
) -> RepositoryPlan {
    let applying: Vec<&Policy> =
        planning.policies().iter().filter(|policy| policy.repositories.matches(&snapshot.repository)).collect();
    let others: Vec<&Policy> = applying.iter().copied().filter(|p| p.id != planning.running().id).collect();
    let protection = Protection::new(planning, &applying, snapshot, graph, usage);
    let tags = TagJudge::new(planning, graph, &protection, &others, snapshot);
    let decisions: HashMap<&Tag, Decision> = tags.decisions();
    let dropped = decisions.iter().filter(|(_, d)| d.action == Action::Delete).map(|(tag, _)| *tag).collect();
    let judge = ManifestJudge { planning, graph, protection: &protection, dropped: &dropped };
    let kept = judge.kept();
    let builder = Builder { snapshot, graph, judge: &judge, decisions: &decisions, kept: &kept };
    let Keeps { kept, sample: kept_sample, prevented } = builder.keeps(alone);
    RepositoryPlan {
        repository: snapshot.repository.clone(),
        tags_in_scope: snapshot.tags.len() as u64,
        deletions: builder.deletions(),
        keeps: kept.len() as u64,
        kept,
        protected_in_use: 0,
        kept_sample,
        prevented,
    }
}

/// What stays.
#[derive(Default)]
struct Keeps {
    kept: Vec<Decision>,
    sample: Vec<Decision>,
    prevented: Vec<Prevented>,
}

/// Makes the plan's lists from what was decided.
struct Builder<'a> {
    snapshot: &'a RepositorySnapshot,
    graph: &'a Graph<'a>,
    judge: &'a ManifestJudge<'a>,
    decisions: &'a HashMap<&'a Tag, Decision>,
    kept: &'a HashMap<Node, Reason>,
}

impl Builder<'_> {
    /// The references that stay, and some of them.
    fn keeps(&self, alone: &HashSet<Reference>) -> Keeps {
        let tags = self.snapshot.tags.iter().filter_map(|tag| self.decisions.get(&tag.tag)).cloned();
        let untagged = self.graph.iter().filter(|(node, _)| self.graph.tags(*node).is_empty());
        let manifests = untagged.filter_map(|(node, manifest)| {
            Some(Decision {
                reference: Reference::Digest(manifest.digest.clone()),
                action: Action::Keep,
                rule: None,
                reason: self.kept.get(&node)?.clone(),
            })
        });
        let mut shown: HashMap<Discriminant<Reason>, usize> = HashMap::new();
        let mut keeps = Keeps::default();
        for decision in tags.chain(manifests).filter(|decision| decision.action == Action::Keep) {
            if let Some(policy) = decision.reason.policy().filter(|_| alone.contains(&decision.reference)) {
                keeps.prevented.push(Prevented { reference: decision.reference.clone(), policy: policy.to_owned() });
            }
            let shown = shown.entry(discriminant(&decision.reason)).or_default();
            if *shown < SHOWN_PER_REASON {
                *shown += 1;
                keeps.sample.push(decision.clone());
            }
            keeps.kept.push(decision);
        }
        keeps
    }

    /// What goes, in order.
    fn deletions(&self) -> Vec<Deletion> {
        let mut deletions: Vec<Deletion> = self.snapshot.tags.iter().filter_map(|tag| self.lone_tag(tag)).collect();
        deletions.sort_unstable_by(|a, b| a.reference.cmp(&b.reference));
        let mut groups: HashMap<Node, Digest> = HashMap::new();
        let mut counted: HashSet<&Digest> =
            self.kept.keys().flat_map(|node| self.blobs(*node)).map(|(d, _)| d).collect();
        for node in self.in_order() {
            let Some(manifest) = self.graph.manifest(node) else { continue };
            let subject = self.graph.subject(node).and_then(|subject| groups.get(&subject));
            let group = subject.unwrap_or(&manifest.digest).clone();
            groups.insert(node, group.clone());
            let blobs = self.blobs(node).filter(|(digest, _)| counted.insert(digest));
            let unshared_bytes = blobs.map(|(_, size)| size).fold(manifest.size, u64::saturating_add);
            let (tags, decisions) = self.tags_and_decisions(node);
            deletions.push(Deletion {
                reference: Reference::Digest(manifest.digest.clone()),
                digest: manifest.digest.clone(),
                tags,
                decisions,
                group,
                closure: self.graph.closure(node),
                unshared_bytes,
            });
        }
        deletions.shrink_to_fit();
        deletions
    }

    /// A tag that goes, if what it points to stays.
    fn lone_tag(&self, tag: &super::TagSnapshot) -> Option<Deletion> {
        let decision = self.decisions.get(&tag.tag).filter(|decision| decision.action == Action::Delete)?;
        let node = self.graph.node(&tag.digest)?;
        self.kept.contains_key(&node).then(|| Deletion {
            reference: decision.reference.clone(),
            digest: tag.digest.clone(),
            tags: vec![tag.tag.clone()],
            decisions: vec![decision.clone()],
            group: tag.digest.clone(),
            closure: self.graph.closure(node),
            unshared_bytes: 0,
        })
    }

    /// The tags that go with a manifest and why, or why the manifest goes if it has none.
    fn tags_and_decisions(&self, node: Node) -> (Vec<Tag>, Vec<Decision>) {
        let mut tags: Vec<Tag> = self.graph.tags(node).iter().map(|tag| tag.tag.clone()).collect();
        tags.sort_unstable();
        let mut decisions: Vec<Decision> = tags.iter().filter_map(|tag| self.decisions.get(tag)).cloned().collect();
        // Nearly always it is one, and there is room for four. A plan has hundreds of thousands of them.
        decisions.shrink_to_fit();
        if !decisions.is_empty() {
            return (tags, decisions);
        }
        let alone = self.graph.manifest(node).map(|manifest| Decision {
            reference: Reference::Digest(manifest.digest.clone()),
            action: Action::Delete,
            rule: None,
            reason: self.judge.reason_to_go(node, manifest),
        });
        (tags, alone.into_iter().collect())
    }

    fn blobs(&self, node: Node) -> impl Iterator<Item = (&Digest, u64)> {
        let content = self.graph.manifest(node).and_then(|manifest| manifest.content.as_ref());
        content.into_iter().flat_map(|content| &content.blobs).map(|blob| (&blob.digest, blob.size))
    }

    /// The manifests that go: an index before what it lists, a subject before its referrers, else by digest.
    ///
    /// An index may list its own subject, and then no order is right: those come last, the index first. Lists alone
    /// cannot go round in circles, for an index's digest depends on what it lists; what claims to do so stays.
    fn in_order(&self) -> Vec<Node> {
        let going: BTreeSet<Node> =
            self.graph.iter().map(|(node, _)| node).filter(|n| !self.kept.contains_key(n)).collect();
        let mut order = self.sorted(&going, |node| self.graph.above(node), |node| self.graph.below(node));
        let placed: HashSet<Node> = order.iter().copied().collect();
        let left: BTreeSet<Node> = going.into_iter().filter(|node| !placed.contains(node)).collect();
        order.extend(self.sorted(&left, |node| self.graph.indexes(node), |node| self.graph.children(node).to_vec()));
        order
    }

    /// Puts each of `nodes` after all that are `above` it, and the smaller digest first where there is a choice.
    fn sorted(
        &self,
        nodes: &BTreeSet<Node>,
        above: impl Fn(Node) -> Vec<Node>,
        below: impl Fn(Node) -> Vec<Node>,
    ) -> Vec<Node> {
        let entry = |node: Node| Some(Reverse((&self.graph.manifest(node)?.digest, node)));
        let mut waiting: HashMap<Node, usize> =
            nodes.iter().map(|node| (*node, above(*node).iter().filter(|n| nodes.contains(n)).count())).collect();
        let mut ready: BinaryHeap<_> =
            waiting.iter().filter(|(_, above)| **above == 0).filter_map(|(node, _)| entry(*node)).collect();
        let mut order = Vec::with_capacity(nodes.len());
        while let Some(Reverse((_, node))) = ready.pop() {
            order.push(node);
            for next in below(node) {
                let Some(above) = waiting.get_mut(&next) else { continue };
                *above = above.saturating_sub(1);
                if *above == 0 {
                    ready.extend(entry(next));
                }
            }
        }
        order
    }
}
