//! What the plan of a whole registry says.

use std::time::Duration;

use super::five;
use crate::retention::fixtures::{DAY, HOUR, RESTORE_WINDOW, app, digest, newest, now, plan, policy, repository};
use crate::retention::{Criterion, Plan, Planning, Policy, RepositorySnapshot, Usage, plan_repository};

fn whole_plan(policy: &Policy, run: &str, repositories: &[RepositorySnapshot]) -> Plan {
    let policies = [policy.clone()];
    let planning = Planning::new(&policies, &policy.id, RESTORE_WINDOW, now()).unwrap();
    let mut plan = Plan::new(policy, run);
    for repository in repositories {
        plan.add(plan_repository(&planning, repository, &Usage::nothing()));
    }
    plan
}

fn named(mut snapshot: RepositorySnapshot, name: &str) -> RepositorySnapshot {
    snapshot.repository = name.parse().unwrap();
    snapshot
}

#[test]
fn limits_count_references_and_look_at_the_share_of_tags() {
    let mut policy = policy("p").keeping("few", "v*", &[newest(4)]);
    let plan_with = |policy: &Policy| whole_plan(policy, "r", &[five(), named(five(), "b")]);
    let plan = plan_with(&policy);
    assert_eq!((plan.deletes(), plan.keeps(), plan.tags_in_scope()), (2, 8, 10));
    for (deletions, percent, message) in [
        (2, 20, None),
        (1, 100, Some("the plan deletes 2 tags and manifests, and limits.maxDeletions is 1")),
        (2, 19, Some("the plan deletes 2 of the 10 tags in its repositories, and limits.maxDeletePercent is 19")),
    ] {
        policy.limits = crate::retention::Limits { max_deletions: deletions, max_delete_percent: percent };
        let error = plan_with(&policy).check_limits().err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), message);
    }
}

#[test]
fn a_plan_that_frees_nothing_says_so() {
    let keeping = policy("p").deleting_unmatched();
    assert!(whole_plan(&keeping, "r", &[five()]).remark().is_some());
    assert_eq!(whole_plan(&keeping, "r", &[repository()]).remark(), None);
    assert_eq!(whole_plan(&keeping.deleting_untagged_after(DAY), "r", &[five()]).remark(), None);
}

#[test]
fn a_plans_hash_covers_policy_run_and_deletions_and_not_their_order() {
    let base = policy("p").keeping("few", "v*", &[newest(4)]);
    let (a, b) = (five(), named(five(), "b"));
    let hash = whole_plan(&base, "r", &[a.clone(), b.clone()]).hash();
    assert_eq!(hash.len(), 64);
    assert_eq!(hash, whole_plan(&base, "r", &[b.clone(), a.clone()]).hash());
    let mut next_generation = base.clone();
    next_generation.id.generation = 2;
    let others = [
        whole_plan(&base, "other", &[a.clone(), b.clone()]),
        whole_plan(&next_generation, "r", &[a.clone(), b.clone()]),
        whole_plan(&base, "r", std::slice::from_ref(&a)),
        whole_plan(&base, "r", &[a, b.tagged("v6", DAY * 6)]),
    ];
    for other in others {
        assert_ne!(hash, other.hash());
    }
}

#[test]
fn a_sample_shows_deletions_first_and_some_of_each_reason_to_keep() {
    let policy = policy("p").keeping("few", "v*", &[newest(4)]).holding("extra");
    let plan = whole_plan(&policy, "r", &[five().tagged("extra", DAY).tagged("other", DAY)]);
    let lines: Vec<String> = plan.sample(20).map(|(name, d)| format!("{}: {}", d.name_in(name), d.reason)).collect();
    assert_eq!(
        lines,
        [
            "app:v5: not among the 4 most recently pushed",
            "app:v1: among the 4 most recently pushed",
            "app:v2: among the 4 most recently pushed",
            "app:extra: held by policy ns/p: an audit",
            "app:other: no rule matches it, and unmatchedTags is Ignore",
        ]
    );
    assert_eq!(plan.sample(1).count(), 1);
    assert_eq!(plan.sample(1).next().map(|(name, _)| name.clone()), Some(app()));
}

#[test]
fn a_plan_says_which_of_its_deletions_other_policies_prevent() {
    let running = policy("p").deleting_unmatched().deleting_untagged_after(Duration::ZERO).holding("v5");
    let mut pin = policy("pin").keeping("pin", "v[45]", &[Criterion::Always]);
    pin.suspended = true;
    let holder = policy("holder").holding("v3").holding(&digest("loose").to_string());
    let floor = policy("floor").with_floor(HOUR * 36);
    let policies = [running.clone(), pin, holder, floor];
    let planning = Planning::new(&policies, &running.id, RESTORE_WINDOW, now()).unwrap();
    let mut plan = Plan::new(&running, "r");
    plan.add(plan_repository(&planning, &five().image("loose", DAY * 9), &Usage::nothing()));
    let prevented: Vec<(String, Vec<String>)> =
        plan.prevented().iter().map(|(policy, by)| (policy.clone(), by.sample.clone())).collect();
    let loose = format!("app@{}", digest("loose"));
    assert_eq!(
        prevented,
        [
            ("ns/floor".to_owned(), vec!["app:v1".to_owned()]),
            ("ns/holder".to_owned(), vec!["app:v3".to_owned(), loose]),
            ("ns/pin".to_owned(), vec!["app:v4".to_owned()]),
        ]
    );
    assert_eq!(plan.prevented().values().map(|by| by.count).sum::<u64>(), 4);
    assert_eq!(plan.deletes(), 1, "v2 alone goes");
}

/// Twice as long a repository takes about twice the steps: a quadratic step would take minutes here.
#[test]
fn a_hundred_thousand_tags_are_planned_at_once() {
    let mut repository = repository();
    for n in 0..100_000_u32 {
        repository = repository.tagged(&format!("v{n}"), Duration::from_secs(u64::from(n)));
    }
    let policy = policy("p").keeping("few", "v*", &[newest(1000)]).deleting_untagged_after(Duration::ZERO);
    let plan = plan(&[policy], &repository);
    assert_eq!((plan.deletes(), plan.keeps), (99_000, 1000));
}
