//! What holds for every policy and every repository, tried on many small ones.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::oci::{Digest, ImageConfig, Reference, Tag};

use super::fixtures::{
    HOUR, RESTORE_WINDOW, ago, annotations, digest, immutable, labels, newest, now, plan_with_immutable,
    plan_with_usage, platforms, policy, pulled_last, repository, types, versions,
};
use super::reference::Question;
use super::{
    Criterion, ImageFacts, ImmutableTags, Mode, OrphanedReferrers, Policy, PullsKnown, RepositoryPlan,
    RepositorySnapshot, UnmatchedTags, UntaggedAction, Usage,
};

/// Enough for an index of an index with a referrer, and few enough that they meet.
const MANIFESTS: usize = 6;
const TAGS: usize = 7;

/// Some are versions.
const TAG_NAMES: [&str; TAGS] = ["t0", "t1", "1.0.0", "v1.0.1", "1.1.0-rc.1", "2.0.0", "t6"];

/// The size of everything in a test's repository is some thousands of bytes.
const SIZES: [u64; 5] = [0, 1110, 2220, 3500, 10_000];

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
    pulled: Option<Duration>,
    says: Says,
}

/// What the content of a manifest says.
#[derive(Debug, Clone)]
struct Says {
    config: Option<bool>,
    created: Option<Duration>,
    labelled: bool,
    annotated: bool,
    typed: bool,
}

fn says() -> impl Strategy<Value = Says> {
    let config = prop_oneof![8 => Just(Some(true)), 1 => Just(Some(false)), 1 => Just(None)];
    let rest = (option::weighted(0.7, age()), any::<bool>(), any::<bool>(), any::<bool>());
    (config, rest).prop_map(|(config, (created, labelled, annotated, typed))| Says {
        config,
        created,
        labelled,
        annotated,
        typed,
    })
}

impl Says {
    fn write(self, content: &mut super::ManifestContent) {
        let labels = if self.labelled { [("keep".to_owned(), "true".to_owned())].into() } else { [].into() };
        let platform = |is_intel: bool| if is_intel { "linux/amd64" } else { "linux/arm/v7" }.parse().unwrap();
        content.image = match self.config {
            Some(true) => ImageFacts::Known(ImageConfig {
                created: self.created.map(ago),
                platform: (self.typed || self.annotated).then(|| platform(self.typed)),
                labels,
            }),
            Some(false) => ImageFacts::None,
            None => ImageFacts::Unknown,
        };
        if self.config == Some(false) && self.labelled {
            content.platforms = vec![platform(self.typed)];
        }
        if self.annotated {
            content.annotations.insert("tier".into(), "gold".into());
        }
        content.artifact_type = self.typed.then(|| "application/x".to_owned());
    }
}

fn manifest_draft() -> impl Strategy<Value = ManifestDraft> {
    let times = (option::weighted(0.95, age()), option::weighted(0.5, age()), option::weighted(0.1, age()));
    let references = (
        vec(proptest::bool::weighted(0.25), MANIFESTS),
        option::weighted(0.3, 0..MANIFESTS + 1),
        proptest::bool::weighted(0.02),
    );
    let more = (option::weighted(0.3, age()), says());
    (times, references, more).prop_map(
        |((pushed, untagged, restored), (children, subject, unreadable), (pulled, says))| ManifestDraft {
            pushed,
            untagged,
            restored,
            children,
            subject,
            unreadable,
            pulled,
            says,
        },
    )
}

/// A manifest refers to earlier ones only, as content must; or to one that is not there.
fn snapshot() -> impl Strategy<Value = RepositorySnapshot> {
    let seldom = option::weighted(0.1, age());
    let tag = (0..=MANIFESTS, option::weighted(0.95, age()), seldom, option::weighted(0.4, age()));
    let pulls = prop_oneof![
        6 => Just(PullsKnown::All),
        2 => age().prop_map(|age| PullsKnown::Until(ago(age))),
        1 => Just(PullsKnown::Nothing),
    ];
    (vec(manifest_draft(), MANIFESTS), vec(tag, 0..=TAGS), pulls).prop_map(|(manifests, tags, pulls)| {
        let mut result = repository();
        result.pulls = pulls;
        for (at, draft) in manifests.into_iter().enumerate() {
            result = result.image(&name(at), Duration::ZERO).manifest(&name(at), |manifest| {
                manifest.pushed_at = draft.pushed.map(ago);
                manifest.untagged_since = draft.untagged.map(ago);
                manifest.restored_at = draft.restored.map(ago);
                manifest.pulled_at = draft.pulled.map(ago);
                let content = manifest.content.as_mut().unwrap();
                content.children = (0..at).filter(|child| draft.children[*child]).map(|c| digest(&name(c))).collect();
                draft.says.write(content);
                content.subject = draft.subject.filter(|s| *s < at || *s == MANIFESTS).map(|s| digest(&name(s)));
                if draft.unreadable {
                    manifest.content = None;
                }
            });
        }
        for (tag, (target, pushed, restored, pulled)) in TAG_NAMES.into_iter().zip(tags) {
            result = result.tag(tag, &name(target), Duration::ZERO).change_tag(tag, |tag| {
                tag.pushed_at = pushed.map(ago);
                tag.pulled_at = pulled.map(ago);
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
        3 => (1_u32..4).prop_map(pulled_last),
        3 => age().prop_map(Criterion::PulledWithin),
        3 => age().prop_map(Criterion::CreatedWithin),
        3 => (select(vec!["", "^1", ">=1.0.1"]), 0_u32..3).prop_map(|(range, count)| versions(range, count)),
        1 => Just(labels(&[("keep", "true")])),
        1 => Just(annotations(&[("tier", "gold")])),
        1 => Just(types(&["application/x", "application/y"])),
        1 => Just(platforms(&["linux/arm"])),
        3 => select(SIZES.to_vec()).prop_map(Criterion::WithinSize),
    ]
}

fn pattern() -> impl Strategy<Value = &'static str> {
    select(vec!["*", "t*", "*.*", "t6", "regex:v?1[.].*", "x*"])
}

fn reference() -> impl Strategy<Value = String> {
    prop_oneof![
        select(TAG_NAMES.to_vec()).prop_map(str::to_owned),
        (0..MANIFESTS).prop_map(|m| digest(&name(m)).to_string())
    ]
}

fn any_policy(which: &'static str) -> impl Strategy<Value = Policy> {
    let rules = vec((pattern(), vec(criterion(), 1..3)), 0..3);
    let holds = vec(reference(), 0..2);
    let scope = prop_oneof![9 => Just("**"), 1 => Just("team/*")];
    let flags = (any::<bool>(), proptest::bool::weighted(0.2), any::<bool>());
    (rules, holds, age(), flags, option::weighted(0.8, age()), scope).prop_map(
        move |(rules, holds, floor, (delete_unmatched, keep_orphans, of_images), untagged, scope)| {
            let mut result = policy(which).with_floor(floor).only_for(scope);
            for (at, (pattern, criteria)) in rules.into_iter().enumerate() {
                result = result.keeping(&format!("rule-{at}"), pattern, &criteria);
            }
            for hold in holds {
                result = result.holding(&hold);
            }
            if keep_orphans {
                result.orphaned = OrphanedReferrers::Keep;
            }
            if of_images {
                result = result.of_images();
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
        tags: tags.into_iter().map(|tag| (TAG_NAMES[tag].parse().unwrap(), "a pod".to_owned())).collect(),
        digests: digests
            .into_iter()
            .map(|(m, config)| (digest(&if config { format!("{}-config", name(m)) } else { name(m) }), "a pod".into()))
            .collect(),
    })
}

fn immutable_tags() -> impl Strategy<Value = ImmutableTags> {
    prop_oneof![3 => Just(ImmutableTags::none()), 1 => select(vec!["v*", "t1", "2.*"]).prop_map(immutable)]
}

fn gone(plan: &RepositoryPlan) -> (BTreeSet<Tag>, BTreeSet<Digest>) {
    let tags = plan.deletions.iter().flat_map(|deletion| deletion.tags.clone()).collect();
    let manifests = plan.deletions.iter().filter(|d| d.takes_manifest()).map(|d| d.digest.clone()).collect();
    (tags, manifests)
}

proptest! {
    #[test]
    fn engine_agrees_with_the_plain_semantics(
        policies in policies(), snapshot in snapshot(), usage in usage(), immutable in immutable_tags()
    ) {
        let plan = plan_with_immutable(&policies, &snapshot, &usage, &immutable);
        let question = Question {
            policies: &policies,
            snapshot: &snapshot,
            usage: &usage,
            immutable: &immutable,
            restore_window: RESTORE_WINDOW,
            now: now(),
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
        pattern in pattern(), criteria in vec(criterion(), 1..3), of_images in any::<bool>()
    ) {
        let before = gone(&plan_with_usage(&policies, &snapshot, &usage));
        let mut elsewhere = policies.clone();
        let another = policy("another").keeping("more", pattern, &criteria);
        elsewhere.push(if of_images { another.of_images() } else { another });
        let mut here = policies;
        // A rule also says that the tags it does not keep are to go. Only one that keeps all it matches just keeps.
        here[0] = here[0].clone().keeping("more", pattern, &[Criterion::Always]);
        for policies in [elsewhere, here] {
            let after = gone(&plan_with_usage(&policies, &snapshot, &usage));
            prop_assert!(after.0.is_subset(&before.0) && after.1.is_subset(&before.1));
        }
    }

    #[test]
    fn what_another_policy_prevents_is_what_would_go_without_it(
        policies in policies(), snapshot in snapshot(), usage in usage()
    ) {
        let plan = plan_with_usage(&policies, &snapshot, &usage);
        let (together, alone) = (gone(&plan), gone(&plan_with_usage(&policies[..1], &snapshot, &usage)));
        let prevented: BTreeSet<&Reference> = plan.prevented.iter().map(|prevented| &prevented.reference).collect();
        prop_assert_eq!(prevented.len(), plan.prevented.len());
        for tag in alone.0.difference(&together.0) {
            prop_assert!(prevented.contains(&Reference::Tag(tag.clone())), "{} is not said to be prevented", tag);
        }
        for prevented in &plan.prevented {
            prop_assert!(prevented.policy != policies[0].id.to_string());
            match &prevented.reference {
                Reference::Tag(tag) => prop_assert!(alone.0.contains(tag) && !together.0.contains(tag)),
                Reference::Digest(digest) => prop_assert!(alone.1.contains(digest) && !together.1.contains(digest)),
            }
        }
    }

    #[test]
    fn a_plan_applied_in_steps_with_new_plans_between_ends_as_one_applied_at_once(
        policies in policies(), snapshot in snapshot(), usage in usage(), stops in vec(0_usize..4, 0..4)
    ) {
        let whole = plan_with_usage(&policies, &snapshot, &usage);
        let mut at_once = snapshot.clone();
        whole.deletions.iter().for_each(|deletion| apply(&mut at_once, deletion));
        let first: BTreeSet<_> = whole.deletions.iter().map(|d| (d.reference.clone(), d.tags.clone())).collect();
        let mut in_steps = snapshot;
        for stop in stops.into_iter().map(Some).chain([None]) {
            // After a crash the rest is planned anew, and nothing is added to what the first plan named.
            let plan = plan_with_usage(&policies, &in_steps, &usage);
            let named = plan.deletions.iter().filter(|d| first.contains(&(d.reference.clone(), d.tags.clone())));
            let rest: Vec<_> = named.take(stop.unwrap_or(usize::MAX)).cloned().collect();
            for deletion in &rest {
                apply(&mut in_steps, deletion);
            }
        }
        // A referrer that lost its subject in another step is an orphan by now: it goes with a later run, once it is old
        // enough, and so does what it reaches. Nothing else may be different.
        let left: BTreeSet<Digest> = at_once.manifests.iter().map(|manifest| manifest.digest.clone()).collect();
        let there: BTreeSet<Digest> = in_steps.manifests.iter().map(|manifest| manifest.digest.clone()).collect();
        let mut orphans: BTreeSet<Digest> = BTreeSet::new();
        for _ in 0..MANIFESTS {
            let listed: BTreeSet<Digest> = in_steps.manifests.iter().filter(|m| orphans.contains(&m.digest))
                .flat_map(|m| m.content.iter().flat_map(|content| content.children.clone())).collect();
            orphans.extend(in_steps.manifests.iter().filter(|m| !left.contains(&m.digest)).filter(|m| {
                let subject = m.content.as_ref().and_then(|content| content.subject.as_ref());
                let is_orphan = subject.is_some_and(|subject| !there.contains(subject) || orphans.contains(subject));
                is_orphan || listed.contains(&m.digest)
            }).map(|m| m.digest.clone()).collect::<Vec<_>>());
        }
        in_steps.manifests.retain(|manifest| !orphans.contains(&manifest.digest));
        prop_assert_eq!(in_steps, at_once);
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
    fn nothing_protected_is_ever_in_a_plan(
        policies in policies(), snapshot in snapshot(), usage in usage(), immutable in immutable_tags()
    ) {
        let (tags, manifests) = gone(&plan_with_immutable(&policies, &snapshot, &usage, &immutable));
        prop_assert!(tags.iter().all(|tag| !immutable.contains(&snapshot.repository, tag)));
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

/// What the storage does: a tag alone goes, or a manifest with its tags.
fn apply(snapshot: &mut RepositorySnapshot, deletion: &super::Deletion) {
    snapshot.tags.retain(|tag| !deletion.tags.contains(&tag.tag));
    if deletion.takes_manifest() {
        snapshot.manifests.retain(|manifest| manifest.digest != deletion.digest);
    }
}

/// The cases above mean something only if they often delete something.
#[test]
fn cases_that_are_tried_delete_and_keep() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let strategy = (policies(), snapshot(), usage());
    let mut seen = [0_u32; 5];
    for _ in 0..500 {
        let (policies, snapshot, usage) = strategy.new_tree(&mut runner).unwrap().current();
        let plan = plan_with_usage(&policies, &snapshot, &usage);
        let (tags, manifests) = gone(&plan);
        let prevents = !plan.prevented.is_empty();
        let found = [!tags.is_empty(), !manifests.is_empty(), plan.keeps > 0, plan.protected_in_use > 0, prevents];
        found.iter().zip(&mut seen).for_each(|(found, seen)| *seen += u32::from(*found));
    }
    assert!(seen.iter().all(|seen| *seen >= 40), "tags, manifests, keeps, uses, prevented: {seen:?} of 500");
}
