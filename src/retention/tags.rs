//! Which tags stay.

use std::{collections::HashMap, num::NonZeroU32};

use jiff::Timestamp;

use crate::oci::{Reference, Tag};

use super::graph::Graph;
use super::planning::is_younger;
use super::protection::Protection;
use super::{Action, Criterion, Decision, Planning, Policy, Reason, Rule, TagSnapshot, UnmatchedTags};

/// A rule, with what its criteria need to know of all tags.
struct RankedRule<'a> {
    rule: &'a Rule,
    /// For tags that it matches and whose time of push is known: how many such tags were pushed later.
    ranks: HashMap<&'a Tag, usize>,
}

impl<'a> RankedRule<'a> {
    fn new(rule: &'a Rule, tags: &'a [TagSnapshot]) -> Self {
        let needs_ranks = rule.criteria().iter().any(|c| matches!(c, Criterion::MostRecentlyPushed(_)));
        let mut newest: Vec<(Timestamp, &Tag)> = if needs_ranks {
            let matched = tags.iter().filter(|tag| rule.tags().matches(&tag.tag));
            matched.filter_map(|tag| Some((tag.pushed_at?, &tag.tag))).collect()
        } else {
            Vec::new()
        };
        newest.sort_unstable_by(|a, b| b.cmp(a));
        Self { rule, ranks: newest.into_iter().enumerate().map(|(rank, (_, tag))| (tag, rank)).collect() }
    }

    /// The first criterion that holds for a tag which the rule matches.
    fn criterion(&self, tag: &TagSnapshot, pushed_at: Timestamp, now: Timestamp) -> Option<Criterion> {
        let among = |count: NonZeroU32| {
            self.ranks.get(&tag.tag).is_some_and(|rank| u32::try_from(*rank).is_ok_and(|rank| rank < count.get()))
        };
        self.rule.criteria().iter().copied().find(|criterion| match criterion {
            Criterion::Always => true,
            Criterion::MostRecentlyPushed(count) => among(*count),
            Criterion::PushedWithin(age) => is_younger(pushed_at, *age, now),
        })
    }
}

/// What a policy's rules say about a tag.
enum Stance<'a> {
    /// A criterion holds.
    Keep(&'a Rule, Criterion),
    /// Rules match, and no criterion holds: the rules.
    Drop(Vec<&'a Rule>),
    /// No rule matches.
    Unmatched,
}

/// A policy's rules over the tags of one repository.
struct RankedPolicy<'a> {
    policy: &'a Policy,
    rules: Vec<RankedRule<'a>>,
}

impl<'a> RankedPolicy<'a> {
    fn new(policy: &'a Policy, tags: &'a [TagSnapshot]) -> Self {
        Self { policy, rules: policy.keep.iter().map(|rule| RankedRule::new(rule, tags)).collect() }
    }

    fn stance(&self, tag: &TagSnapshot, pushed_at: Timestamp, now: Timestamp) -> Stance<'a> {
        let mut matching = Vec::new();
        for ranked in self.rules.iter().filter(|ranked| ranked.rule.tags().matches(&tag.tag)) {
            if let Some(criterion) = ranked.criterion(tag, pushed_at, now) {
                return Stance::Keep(ranked.rule, criterion);
            }
            matching.push(ranked.rule);
        }
        if matching.is_empty() { Stance::Unmatched } else { Stance::Drop(matching) }
    }
}

/// Decides about the tags of a repository.
pub(super) struct TagJudge<'a> {
    planning: &'a Planning<'a>,
    graph: &'a Graph<'a>,
    protection: &'a Protection<'a>,
    running: RankedPolicy<'a>,
    others: Vec<RankedPolicy<'a>>,
}

impl<'a> TagJudge<'a> {
    /// `others` are the policies that apply to the repository, without the one that runs.
    pub(super) fn new(
        planning: &'a Planning<'a>,
        graph: &'a Graph<'a>,
        protection: &'a Protection<'a>,
        others: &[&'a Policy],
        tags: &'a [TagSnapshot],
    ) -> Self {
        let running = RankedPolicy::new(planning.running(), tags);
        let others = others.iter().map(|policy| RankedPolicy::new(policy, tags)).collect();
        Self { planning, graph, protection, running, others }
    }

    /// What becomes of a tag. The first reason to keep that applies is given.
    pub(super) fn decide(&self, tag: &TagSnapshot) -> Decision {
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
        let stance = self.running.stance(tag, pushed_at, self.planning.now());
        if let Stance::Keep(rule, criterion) = stance {
            return keep(Some(rule.name().to_owned()), Reason::Kept { criterion, policy: None });
        }
        if let Some(reason) = self.protected(tag, pushed_at) {
            return keep(None, reason);
        }
        if let Some((rule, reason)) = self.kept_by_others(tag, pushed_at) {
            return keep(Some(rule), reason);
        }
        let delete = |rule, reason| Decision { reference: reference.clone(), action: Action::Delete, rule, reason };
        match (stance, self.planning.running().unmatched_tags) {
            (Stance::Drop(rules), _) => {
                let criteria = rules.iter().flat_map(|rule| rule.criteria()).copied().collect();
                delete(rules.first().map(|rule| rule.name().to_owned()), Reason::NoCriterion { criteria })
            }
            (Stance::Unmatched, UnmatchedTags::Delete) => delete(None, Reason::Unmatched),
            (Stance::Unmatched | Stance::Keep(..), _) => keep(None, Reason::NotCovered),
        }
    }

    /// What keeps a tag whatever the rules say.
    fn protected(&self, tag: &TagSnapshot, pushed_at: Timestamp) -> Option<Reason> {
        let node = self.graph.node(&tag.digest);
        let manifest = node.and_then(|node| self.graph.manifest(node));
        let restored = [tag.restored_at, manifest.and_then(|m| m.restored_at)];
        self.protection
            .used_tag(tag, node)
            .or_else(|| restored.into_iter().flatten().find_map(|at| self.planning.restored(at)))
            .or_else(|| manifest.is_none_or(|m| m.content.is_none()).then_some(Reason::Unreadable))
            .or_else(|| self.protection.too_young(pushed_at, self.planning.now()))
    }

    fn kept_by_others(&self, tag: &TagSnapshot, pushed_at: Timestamp) -> Option<(String, Reason)> {
        self.others.iter().find_map(|other| match other.stance(tag, pushed_at, self.planning.now()) {
            Stance::Keep(rule, criterion) => {
                let policy = other.policy.id.to_string();
                Some((format!("{policy}/{}", rule.name()), Reason::Kept { criterion, policy: Some(policy) }))
            }
            Stance::Drop(_) | Stance::Unmatched => None,
        })
    }
}
