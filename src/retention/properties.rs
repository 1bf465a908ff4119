//! What holds for every policy and every repository, tried on many small ones.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::oci::{Digest, Reference, Tag};

use super::fixtures::{HOUR, RESTORE_WINDOW, ago, digest, newest, now, plan_with_usage, policy, repository};
use super::reference::Question;
use super::{Criterion, Mode, Policy, RepositoryPlan, RepositorySnapshot, UnmatchedTags, UntaggedAction, Usage};

/// Enough for an index of an index with a referrer, and few enough that they meet.
const MANIFESTS: usize = 6;
const TAGS: usize = 7;

fn name(manifest: usize) -> String {
    format!("m{manifest}")
}

/// Few ages, so that they are often equal, and often equal to what a policy asks for.
fn age() -> impl Strategy<Value = Duration> {
    select(vec![0_u32, 1, 2, 24, 48, 100, 200]).prop_map(|hours| HOUR * hours)
}

#[derive(Debug, Clone)]
struct ManifestDraft {
    pushed: Option<Duration>,
    untagged: Option<Duration>,
    restored: Option<Duration>,
    children: Vec<bool>,
    subject: Option<usize>,
    unreadable: bool,
}

fn manifest_draft() -> impl Strategy<Value = ManifestDraft> {
    let times = (option::weighted(0.95, age()), option::weighted(0.5, age()), option::weighted(0.1, age()));
    let references = (
        vec(proptest::bool::weighted(0.25), MANIFESTS),
        option::weighted(0.3, 0..MANIFESTS + 1),
        proptest::bool::weighted(0.02),
    );
    (times, references).prop_map(|((pushed, untagged, restored), (children, subject, unreadable))| ManifestDraft {
        pushed,
        untagged,
        restored,
        children,
        subject,
        unreadable,
    })
}

/// A manifest refers to earlier ones only, as content must; or to one that is not there.
fn snapshot() -> impl Strategy<Value = RepositorySnapshot> {
    let tag = (0..=MANIFESTS, option::weighted(0.95, age()), option::weighted(0.1, age()));
    (vec(manifest_draft(), MANIFESTS), vec(tag, 0..TAGS)).prop_map(|(manifests, tags)| {
        let mut result = repository();
        for (at, draft) in manifests.into_iter().enumerate() {
            result = result.image(&name(at), Duration::ZERO).manifest(&name(at), |manifest| {
                manifest.pushed_at = draft.pushed.map(ago);
                manifest.untagged_since = draft.untagged.map(ago);
                manifest.restored_at = draft.restored.map(ago);
                let content = manifest.content.as_mut().unwrap();
                content.children = (0..at).filter(|child| draft.children[*child]).map(|c| digest(&name(c))).collect();
                content.subject = draft.subject.filter(|s| *s < at || *s == MANIFESTS).map(|s| digest(&name(s)));
                if draft.unreadable {
                    manifest.content = None;
                }
            });
        }
        for (at, (target, pushed, restored)) in tags.into_iter().enumerate() {
            let tag = format!("t{at}");
            result = result.tag(&tag, &name(target), Duration::ZERO).change_tag(&tag, |tag| {
                tag.pushed_at = pushed.map(ago);
                tag.restored_at = restored.map(ago);
            });
        }
        result
    })
}

fn criterion() -> impl Strategy<Value = Criterion> {
    prop_oneof![
        1 => Just(Criterion::Always),
        4 => (1_u32..4).prop_map(newest),
        4 => age().prop_map(Criterion::PushedWithin),
    ]
}

fn pattern() -> impl Strategy<Value = &'static str> {
    select(vec!["*", "t[0-3]", "t[2-5]", "t6", "v*"])
}

fn reference() -> impl Strategy<Value = String> {
    prop_oneof![(0..TAGS).prop_map(|tag| format!("t{tag}")), (0..MANIFESTS).prop_map(|m| digest(&name(m)).to_string())]
}

fn any_policy(which: &'static str) -> impl Strategy<Value = Policy> {
    let rules = vec((pattern(), vec(criterion(), 1..3)), 0..3);
    let holds = vec(reference(), 0..2);
    let scope = prop_oneof![9 => Just("**"), 1 => Just("team/*")];
    (rules, holds, age(), any::<bool>(), option::weighted(0.8, age()), scope).prop_map(
        move |(rules, holds, floor, delete_unmatched, untagged, scope)| {
            let mut result = policy(which).with_floor(floor).only_for(scope);
            for (at, (pattern, criteria)) in rules.into_iter().enumerate() {
                result = result.keeping(&format!("rule-{at}"), pattern, &criteria);
            }
            for hold in holds {
                result = result.holding(&hold);
            }
            if delete_unmatched {
                result = result.deleting_unmatched();
            }
            untagged.map_or(result.clone(), |age| result.deleting_untagged_after(age))
        },
    )
}

fn policies() -> impl Strategy<Value = Vec<Policy>> {
    let others = [any_policy("second").boxed(), any_policy("third").boxed()];
    (any_policy("first"), 0_usize..3, others)
        .prop_map(|(first, count, others)| std::iter::once(first).chain(others.into_iter().take(count)).collect())
}

fn usage() -> impl Strategy<Value = Usage> {
    let digests = (0..MANIFESTS, any::<bool>());
    (vec(0..TAGS, 0..2), vec(digests, 0..2)).prop_map(|(tags, digests)| Usage {
        tags: tags.into_iter().map(|tag| (format!("t{tag}").parse().unwrap(), "a pod".to_owned())).collect(),
        digests: digests
            .into_iter()
            .map(|(m, config)| (digest(&if config { format!("{}-config", name(m)) } else { name(m) }), "a pod".into()))
            .collect(),
    })
}

fn gone(plan: &RepositoryPlan) -> (BTreeSet<Tag>, BTreeSet<Digest>) {
    let tags = plan.deletions.iter().flat_map(|deletion| deletion.tags.clone()).collect();
    let manifests = plan.deletions.iter().filter(|d| d.takes_manifest()).map(|d| d.digest.clone()).collect();
    (tags, manifests)
}

proptest! {
    #[test]
    fn engine_agrees_with_the_plain_semantics(
        policies in policies(), snapshot in snapshot(), usage in usage()
    ) {
        let plan = plan_with_usage(&policies, &snapshot, &usage);
        let question = Question {
            policies: &policies, snapshot: &snapshot, usage: &usage, restore_window: RESTORE_WINDOW, now: now()
        };
        prop_assert_eq!(gone(&plan), question.answer());
    }

    #[test]
    fn plan_says_everything_once_and_in_order(policies in policies(), snapshot in snapshot(), usage in usage()) {
        let plan = plan_with_usage(&policies, &snapshot, &usage);
        let decided: Vec<&Reference> =
            plan.deletions.iter().flat_map(|d| &d.decisions).map(|decision| &decision.reference).collect();
        prop_assert_eq!(decided.iter().collect::<BTreeSet<_>>().len(), decided.len());
        prop_assert!(plan.deletions.iter().all(|deletion| !deletion.decisions.is_empty()));
        if plan.tags_in_scope > 0 {
            let tagged: BTreeSet<&Digest> = snapshot.tags.iter().map(|tag| &tag.digest).collect();
            let loose = snapshot.manifests.iter().filter(|m| !tagged.contains(&m.digest)).count();
            prop_assert_eq!(plan.deletes() + plan.keeps, (snapshot.tags.len() + loose) as u64);
        }
        let place: HashMap<&Digest, usize> =
            plan.deletions.iter().enumerate().filter(|(_, d)| d.takes_manifest()).map(|(at, d)| (&d.digest, at)).collect();
        for manifest in &snapshot.manifests {
            let (Some(at), Some(content)) = (place.get(&manifest.digest), &manifest.content) else { continue };
            prop_assert!(content.children.iter().filter_map(|child| place.get(child)).all(|child| child > at));
            // Where one both lists and has a subject, the two may ask for contrary orders: then lists win.
            let contents = || snapshot.manifests.iter().filter_map(|m| m.content.as_ref());
            let plain = contents().all(|content| content.children.is_empty() || content.subject.is_none());
            let mut subjects = content.subject.iter().filter_map(|subject| place.get(subject));
            prop_assert!(!plain || subjects.all(|subject| subject < at));
        }
    }

    #[test]
    fn mode_and_suspension_change_no_plan(policies in policies(), snapshot in snapshot(), usage in usage()) {
        let mut other = policies.clone();
        for policy in &mut other {
            policy.mode = if policy.mode == Mode::DryRun { Mode::Enforce } else { Mode::DryRun };
            policy.suspended = !policy.suspended;
        }
        prop_assert_eq!(plan_with_usage(&policies, &snapshot, &usage), plan_with_usage(&other, &snapshot, &usage));
    }

    #[test]
    fn another_rule_to_keep_never_deletes_more(
        policies in policies(), snapshot in snapshot(), usage in usage(),
        pattern in pattern(), criteria in vec(criterion(), 1..3)
    ) {
        let before = gone(&plan_with_usage(&policies, &snapshot, &usage));
        let mut elsewhere = policies.clone();
        elsewhere.push(policy("another").keeping("more", pattern, &criteria));
        let mut here = policies;
        // A rule also says that the tags it does not keep are to go. Only one that keeps all it matches just keeps.
        here[0] = here[0].clone().keeping("more", pattern, &[Criterion::Always]);
        for policies in [elsewhere, here] {
            let after = gone(&plan_with_usage(&policies, &snapshot, &usage));
            prop_assert!(after.0.is_subset(&before.0) && after.1.is_subset(&before.1));
        }
    }

    #[test]
    fn more_use_never_deletes_more(
        policies in policies(), snapshot in snapshot(), usage in usage(), further in usage()
    ) {
        let before = plan_with_usage(&policies, &snapshot, &usage);
        let mut both = usage;
        both.tags.extend(further.tags);
        both.digests.extend(further.digests);
        let after = plan_with_usage(&policies, &snapshot, &both);
        prop_assert!(gone(&after).0.is_subset(&gone(&before).0) && gone(&after).1.is_subset(&gone(&before).1));
        let nothing = plan_with_usage(&policies, &snapshot, &Usage::nothing());
        prop_assert_eq!(after.protected_in_use, nothing.deletes() - after.deletes());
    }

    #[test]
    fn nothing_protected_is_ever_in_a_plan(policies in policies(), snapshot in snapshot(), usage in usage()) {
        let (tags, manifests) = gone(&plan_with_usage(&policies, &snapshot, &usage));
        let floor = policies.iter().filter(|p| p.repositories.matches(&snapshot.repository)).map(|p| p.minimum_age).max();
        let old = |at: Option<jiff::Timestamp>| at.is_some_and(|at| at <= ago(floor.unwrap_or_default()));
        for tag in snapshot.tags.iter().filter(|tag| tags.contains(&tag.tag)) {
            prop_assert!(old(tag.pushed_at) && !usage.tags.contains_key(&tag.tag));
            prop_assert!(!usage.digests.contains_key(&tag.digest));
        }
        for manifest in snapshot.manifests.iter().filter(|manifest| manifests.contains(&manifest.digest)) {
            prop_assert!(old(manifest.pushed_at) && !usage.digests.contains_key(&manifest.digest));
            prop_assert!(manifest.content.is_some());
            prop_assert!(manifest.restored_at.is_none_or(|at| at <= ago(RESTORE_WINDOW)));
        }
        for hold in policies.iter().flat_map(|policy| &policy.holds) {
            match &hold.reference {
                Reference::Tag(tag) => prop_assert!(!tags.contains(tag)),
                Reference::Digest(digest) => prop_assert!(!manifests.contains(digest)),
            }
        }
        let running = &policies[0];
        prop_assert!(running.untagged.action == UntaggedAction::Delete || manifests.is_empty());
        prop_assert!(running.unmatched_tags == UnmatchedTags::Delete || !running.keep.is_empty() || tags.is_empty());
    }
}

/// The cases above mean something only if they often delete something.
#[test]
fn cases_that_are_tried_delete_and_keep() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let strategy = (policies(), snapshot(), usage());
    let mut seen = [0_u32; 4];
    for _ in 0..500 {
        let (policies, snapshot, usage) = strategy.new_tree(&mut runner).unwrap().current();
        let plan = plan_with_usage(&policies, &snapshot, &usage);
        let (tags, manifests) = gone(&plan);
        let found = [!tags.is_empty(), !manifests.is_empty(), plan.keeps > 0, plan.protected_in_use > 0];
        found.iter().zip(&mut seen).for_each(|(found, seen)| *seen += u32::from(*found));
    }
    assert!(seen.iter().all(|seen| *seen >= 40), "tags, manifests, keeps, uses: {seen:?} of 500");
}
