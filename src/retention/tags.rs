//! Which tags stay.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use jiff::Timestamp;

use crate::oci::{Digest, Reference, Tag};

use super::graph::Graph;
use super::protection::Protection;
use super::standing::{Facts, Standing, Verdict};
use super::{
    Action, Criterion, Decision, Granularity, Planning, Policy, Reason, RepositorySnapshot, Rule, TagSnapshot,
    UnmatchedTags, VersionMiss,
};

/// A rule, with what its criteria say of all tags.
struct RankedRule<'a> {
    rule: &'a Rule,
    standings: Vec<(&'a Criterion, Standing<'a>)>,
}

impl<'a> RankedRule<'a> {
    fn new(rule: &'a Rule, granularity: Granularity, facts: &Facts<'a>) -> Self {
        let standing = |criterion| (criterion, Standing::new(criterion, rule, granularity, facts));
        Self { rule, standings: rule.criteria().iter().map(standing).collect() }
    }

    /// The first criterion that holds for a tag which the rule matches; else the first of which that is not known.
    fn criterion(
        &self,
        tag: &TagSnapshot,
        pushed_at: Timestamp,
        facts: &Facts<'_>,
    ) -> Option<(&'a Criterion, Verdict)> {
        let verdicts = self.standings.iter().map(|(criterion, standing)| {
            let verdict = standing.of(criterion, tag, pushed_at, facts);
            (*criterion, verdict)
        });
        let mut unknown = None;
        for (criterion, verdict) in verdicts {
            match verdict {
                Verdict::Holds => return Some((criterion, verdict)),
                Verdict::Unknown => unknown = unknown.or(Some((criterion, verdict))),
                Verdict::Fails => {}
            }
        }
        unknown
    }
}

/// What a policy's rules say about a tag.
enum Stance<'a> {
    /// A criterion holds, or may hold.
    Keep(&'a Rule, &'a Criterion, Verdict),
    /// Rules match, and no criterion holds: which ones, by their places.
    Drop(Vec<usize>),
    /// No rule matches.
    Unmatched,
}

/// A policy's rules over the tags of one repository.
struct RankedPolicy<'a> {
    policy: &'a Policy,
    rules: Vec<RankedRule<'a>>,
}

impl<'a> RankedPolicy<'a> {
    fn new(policy: &'a Policy, facts: &Facts<'a>) -> Self {
        let rules = policy.keep.iter().map(|rule| RankedRule::new(rule, policy.granularity, facts));
        Self { policy, rules: rules.collect() }
    }

    /// Of each image of which a rule keeps a tag, the first by name, and the rule; none, unless images stay together.
    fn kept_images(
        &self,
        snapshot: &'a RepositorySnapshot,
        facts: &Facts<'_>,
    ) -> HashMap<&'a Digest, (&'a Tag, &'a Rule)> {
        let mut kept = HashMap::new();
        if self.policy.granularity == Granularity::Tag {
            return kept;
        }
        for tag in &snapshot.tags {
            let Some(Stance::Keep(rule, ..)) = tag.pushed_at.map(|at| self.stance(tag, at, facts)) else { continue };
            let first = kept.entry(&tag.digest).or_insert((&tag.tag, rule));
            if tag.tag < *first.0 {
                *first = (&tag.tag, rule);
            }
        }
        kept
    }

    fn stance(&self, tag: &TagSnapshot, pushed_at: Timestamp, facts: &Facts<'_>) -> Stance<'a> {
        let mut matching = Vec::new();
        for (place, ranked) in self.rules.iter().enumerate().filter(|(_, r)| r.rule.tags().matches(&tag.tag)) {
            if let Some((criterion, verdict)) = ranked.criterion(tag, pushed_at, facts) {
                return Stance::Keep(ranked.rule, criterion, verdict);
            }
            matching.push(place);
        }
        if matching.is_empty() { Stance::Unmatched } else { Stance::Drop(matching) }
    }
}

/// The reason of a criterion that keeps.
fn kept(criterion: &Criterion, verdict: Verdict, policy: Option<String>) -> Reason {
    let criterion = criterion.clone();
    if verdict == Verdict::Unknown { Reason::Unclear { criterion, policy } } else { Reason::Kept { criterion, policy } }
}

/// Another policy that applies, and of what images it keeps a tag.
struct Other<'a> {
    ranked: RankedPolicy<'a>,
    images: HashMap<&'a Digest, (&'a Tag, &'a Rule)>,
}

impl<'a> Other<'a> {
    fn new(policy: &'a Policy, snapshot: &'a RepositorySnapshot, facts: &Facts<'a>) -> Self {
        let ranked = RankedPolicy::new(policy, facts);
        let images = ranked.kept_images(snapshot, facts);
        Self { ranked, images }
    }

    /// The rule that keeps a tag, and why.
    fn keeps(&self, tag: &TagSnapshot, pushed_at: Timestamp, facts: &Facts<'_>) -> Option<(String, Reason)> {
        // For most tags nothing is to be said, and so nothing is written.
        let policy = || self.ranked.policy.id.to_string();
        let (rule, reason) = match self.ranked.stance(tag, pushed_at, facts) {
            Stance::Keep(rule, criterion, verdict) => (rule, kept(criterion, verdict, Some(policy()))),
            Stance::Drop(_) | Stance::Unmatched => {
                let (other, rule) = *self.images.get(&tag.digest)?;
                (rule, Reason::OtherTag { tag: other.clone(), policy: Some(policy()) })
            }
        };
        Some((format!("{}/{}", policy(), rule.name()), reason))
    }
}

/// Decides about the tags of a repository.
pub(super) struct TagJudge<'a> {
    planning: &'a Planning<'a>,
    graph: &'a Graph<'a>,
    protection: &'a Protection<'a>,
    snapshot: &'a RepositorySnapshot,
    facts: Facts<'a>,
    running: RankedPolicy<'a>,
    others: Vec<Other<'a>>,
    /// The criteria of some of the running policy's rules, by their places.
    criteria: RefCell<HashMap<Vec<usize>, Arc<[Criterion]>>>,
}

impl<'a> TagJudge<'a> {
    /// `others` are the policies that apply to the repository, without the one that runs.
    pub(super) fn new(
        planning: &'a Planning<'a>,
        graph: &'a Graph<'a>,
        protection: &'a Protection<'a>,
        others: &[&'a Policy],
        snapshot: &'a RepositorySnapshot,
    ) -> Self {
        let facts = Facts::new(snapshot, graph, planning.now());
        let mut policies = others.iter().copied().chain([planning.running()]);
        let asks_for_images = policies.any(|policy| policy.granularity == Granularity::Image);
        let facts = if asks_for_images { facts.with_images() } else { facts };
        let running = RankedPolicy::new(planning.running(), &facts);
        let others = others.iter().map(|policy| Other::new(policy, snapshot, &facts)).collect();
        Self { planning, graph, protection, snapshot, facts, running, others, criteria: RefCell::default() }
    }

    /// What becomes of each tag.
    pub(super) fn decisions(&self) -> HashMap<&'a Tag, Decision> {
        let tags = &self.snapshot.tags;
        let mut decisions = tags.iter().map(|tag| (&tag.tag, self.decide(tag))).collect();
        if self.planning.running().granularity == Granularity::Image {
            self.keep_together(&mut decisions);
        }
        decisions
    }

    /// Keeps the tags of images of which another one stays. What the policy says nothing of keeps no others.
    fn keep_together(&self, decisions: &mut HashMap<&'a Tag, Decision>) {
        let mut keepers: HashMap<&Digest, &Tag> = HashMap::new();
        let stays = |d: &Decision| d.action == Action::Keep && d.reason != Reason::NotCovered;
        for tag in self.snapshot.tags.iter().filter(|tag| decisions.get(&tag.tag).is_some_and(stays)) {
            let first = keepers.entry(&tag.digest).or_insert(&tag.tag);
            *first = (&tag.tag).min(*first);
        }
        for tag in &self.snapshot.tags {
            let Some(keeper) = keepers.get(&tag.digest).filter(|keeper| **keeper != &tag.tag) else { continue };
            let Some((rule, policy)) =
                decisions.get(*keeper).map(|d| (d.rule.clone(), d.reason.policy().map(str::to_owned)))
            else {
                continue;
            };
            if let Some(decision) = decisions.get_mut(&tag.tag).filter(|decision| decision.action == Action::Delete) {
                let reason = Reason::OtherTag { tag: (*keeper).clone(), policy };
                *decision = Decision { reference: decision.reference.clone(), action: Action::Keep, rule, reason };
            }
        }
    }

    /// What becomes of a tag by itself. The first reason to keep that applies is given.
    fn decide(&self, tag: &TagSnapshot) -> Decision {
        let reference = Reference::Tag(tag.tag.clone());
        let keep = |rule, reason| Decision { reference: reference.clone(), action: Action::Keep, rule, reason };
        if let Some(reason) = self.protection.held_tag(tag) {
            return keep(None, reason);
        }
        let Some(pushed_at) = tag.pushed_at else {
            return keep(
                None,
                self.protection.used_tag(tag, self.graph.node(&tag.digest)).unwrap_or(Reason::PushTimeUnknown),
            );
        };
        let stance = self.running.stance(tag, pushed_at, &self.facts);
        if let Stance::Keep(rule, criterion, verdict) = stance {
            return keep(Some(rule.name().to_owned()), kept(criterion, verdict, None));
        }
        if let Some(reason) = self.protected(tag, pushed_at) {
            return keep(None, reason);
        }
        if let Some((rule, reason)) = self.kept_by_others(tag, pushed_at) {
            return keep(Some(rule), reason);
        }
        let delete = |rule, reason| Decision { reference: reference.clone(), action: Action::Delete, rule, reason };
        match (stance, self.planning.running().unmatched_tags) {
            (Stance::Drop(places), _) => {
                let first = self.rules_at(&places).next();
                delete(first.map(|rule| rule.name().to_owned()), self.missed(tag, places))
            }
            (Stance::Unmatched, UnmatchedTags::Delete) => delete(None, Reason::Unmatched),
            (Stance::Unmatched | Stance::Keep(..), _) => keep(None, Reason::NotCovered),
        }
    }

    fn rules_at(&self, places: &[usize]) -> impl Iterator<Item = &'a Rule> {
        places.iter().filter_map(|place| self.running.rules.get(*place)).map(|ranked| ranked.rule)
    }

    /// Why rules that match a tag do not keep it.
    fn missed(&self, tag: &TagSnapshot, places: Vec<usize>) -> Reason {
        let all = |places: &[usize]| self.rules_at(places).flat_map(Rule::criteria).cloned().collect();
        let mut known = self.criteria.borrow_mut();
        let criteria = match known.get(&places) {
            Some(criteria) => Arc::clone(criteria),
            None => Arc::clone(known.entry(places).or_insert_with_key(|places| all(places))),
        };
        let rules = criteria.iter().filter_map(|criterion| match criterion {
            Criterion::Version(rule) => Some(rule),
            _ => None,
        });
        let misses: Option<Vec<VersionMiss>> = rules.map(|rule| rule.miss(&tag.tag)).collect();
        let version = misses.and_then(|misses| misses.first().copied());
        Reason::NoCriterion { criteria, version }
    }

    /// What keeps a tag whatever the rules say.
    fn protected(&self, tag: &TagSnapshot, pushed_at: Timestamp) -> Option<Reason> {
        let node = self.graph.node(&tag.digest);
        let manifest = node.and_then(|node| self.graph.manifest(node));
        let restored = [tag.restored_at, manifest.and_then(|m| m.restored_at)];
        self.protection
            .used_tag(tag, node)
            .or_else(|| restored.into_iter().flatten().find_map(|at| self.planning.restored(at)))
            .or_else(|| self.planning.is_immutable(&self.snapshot.repository, &tag.tag).then_some(Reason::Immutable))
            .or_else(|| manifest.is_none_or(|m| m.content.is_none()).then_some(Reason::Unreadable))
            .or_else(|| self.protection.too_young(pushed_at, self.planning.now()))
    }

    fn kept_by_others(&self, tag: &TagSnapshot, pushed_at: Timestamp) -> Option<(String, Reason)> {
        self.others.iter().find_map(|other| other.keeps(tag, pushed_at, &self.facts))
    }
}
