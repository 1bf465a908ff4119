//! What the engine decides, case by case.

use std::time::Duration;

use super::fixtures::{
    DAY, HOUR, RESTORE_WINDOW, ago, app, digest, newest, now, plan, plan_with_usage, policy, repository,
};
use super::{Criterion, Plan, Planning, Policy, RepositorySnapshot, Usage, plan_repository};

const NONE: &[&str] = &[];

/// Five tags, v1 the newest: v1 is one day old, v5 five.
fn five() -> RepositorySnapshot {
    (1..=5).fold(repository(), |repository, n| repository.tagged(&format!("v{n}"), DAY * n))
}

fn used(tags: &[&str], digests: &[&str]) -> Usage {
    Usage {
        tags: tags.iter().map(|tag| (tag.parse().unwrap(), "Deployment shop".to_owned())).collect(),
        digests: digests.iter().map(|name| (digest(name), "Pod shop-0".to_owned())).collect(),
    }
}

#[test]
fn criteria_keep_what_they_say() {
    let cases: [(&str, Vec<Criterion>, &[&str]); 6] = [
        ("always", vec![Criterion::Always], &[]),
        ("two newest", vec![newest(2)], &["v3", "v4", "v5"]),
        ("more than there are", vec![newest(9)], &[]),
        ("three days", vec![Criterion::PushedWithin(DAY * 3)], &["v3", "v4", "v5"]),
        ("either", vec![newest(1), Criterion::PushedWithin(DAY * 4)], &["v4", "v5"]),
        ("nobody", vec![Criterion::PushedWithin(Duration::ZERO)], &["v1", "v2", "v3", "v4", "v5"]),
    ];
    for (name, criteria, gone) in cases {
        let plan = plan(&[policy("p").keeping("rule", "v*", &criteria)], &five());
        assert_eq!(plan.tags_that_go(), gone, "{name}");
    }
}

#[test]
fn most_recently_pushed_counts_only_tags_that_the_rule_matches() {
    let repository = five().tagged("latest", Duration::ZERO).tagged("pr-1", HOUR);
    let plan = plan(&[policy("p").keeping("rule", "v*", &[newest(3)])], &repository);
    assert_eq!(plan.tags_that_go(), ["v4", "v5"]);
}

#[test]
fn of_tags_pushed_at_the_same_time_the_later_name_is_the_later() {
    let repository = repository().tagged("a", DAY).tagged("b", DAY).tagged("c", DAY);
    assert_eq!(plan(&[policy("p").keeping("rule", "*", &[newest(1)])], &repository).tags_that_go(), ["a", "b"]);
}

#[test]
fn a_tag_of_unknown_age_stays_and_takes_nobodys_place() {
    let repository = five().change_tag("v3", |tag| tag.pushed_at = None);
    let plan = plan(&[policy("p").keeping("rule", "v*", &[newest(2)])], &repository);
    assert_eq!(plan.tags_that_go(), ["v4", "v5"]);
    assert_eq!(plan.reason("v3"), "it is not known when it was pushed");
}

#[test]
fn one_matching_rule_that_keeps_is_enough() {
    let policy = policy("p").keeping("few", "v*", &[newest(1)]).keeping("third", "v3", &[Criterion::Always]);
    assert_eq!(plan(&[policy], &five()).tags_that_go(), ["v2", "v4", "v5"]);
}

#[test]
fn unmatched_tags_are_ignored_or_deleted() {
    let keeping = policy("p").keeping("one", "v1", &[Criterion::Always]);
    let ignoring = plan(std::slice::from_ref(&keeping), &five());
    assert_eq!(ignoring.tags_that_go(), NONE);
    assert_eq!(ignoring.reason("v2"), "no rule matches it, and unmatchedTags is Ignore");
    assert_eq!(plan(&[keeping.deleting_unmatched()], &five()).tags_that_go(), ["v2", "v3", "v4", "v5"]);
}

#[test]
fn another_policys_keep_beats_the_delete_suspended_or_in_a_dry_run() {
    let mut other = policy("other").keeping("pin", "v4", &[Criterion::Always]);
    other.suspended = true;
    other.mode = super::Mode::DryRun;
    let running = policy("p").keeping("few", "v*", &[newest(1)]);
    let plan = plan(&[running, other], &five());
    assert_eq!(plan.tags_that_go(), ["v2", "v3", "v5"]);
    assert_eq!(plan.reason("v4"), "always kept, by policy ns/other");
}

#[test]
fn another_policy_of_other_repositories_keeps_nothing_here() {
    let other = policy("other").keeping("pin", "*", &[Criterion::Always]).with_floor(DAY * 30).only_for("team/*");
    assert_eq!(plan(&[policy("p").deleting_unmatched(), other], &five()).tags_that_go().len(), 5);
}

#[test]
fn the_highest_floor_of_any_policy_counts() {
    let running = policy("p").deleting_unmatched().with_floor(DAY);
    assert_eq!(plan(std::slice::from_ref(&running), &five()).tags_that_go(), ["v1", "v2", "v3", "v4", "v5"]);
    let other = policy("other").with_floor(DAY * 3);
    assert_eq!(plan(&[running, other], &five()).tags_that_go(), ["v3", "v4", "v5"]);
}

#[test]
fn a_repository_out_of_scope_is_left_alone() {
    let plan = plan(&[policy("p").deleting_unmatched().only_for("team/*")], &five());
    assert_eq!((plan.tags_in_scope, plan.deletes(), plan.keeps), (0, 0, 0));
}

#[test]
fn holds_keep_by_tag_and_by_digest_until_their_time() {
    let running = policy("p").deleting_unmatched().holding("v2").holding(&digest("v4").to_string());
    let plan_held = plan(std::slice::from_ref(&running), &five());
    assert_eq!(plan_held.tags_that_go(), ["v1", "v3", "v5"]);
    assert_eq!(plan_held.reason("v2"), "held by policy ns/p: an audit");
    let mut expired = running;
    expired.holds.iter_mut().for_each(|hold| hold.until = Some(ago(HOUR)));
    assert_eq!(plan(&[expired], &five()).tags_that_go().len(), 5);
}

#[test]
fn a_hold_of_a_policy_for_other_repositories_holds_where_it_says() {
    let other = policy("other").only_for("team/*").holding("v2");
    assert_eq!(plan(&[policy("p").deleting_unmatched(), other], &five()).tags_that_go(), ["v1", "v3", "v4", "v5"]);
}

#[test]
fn what_was_restored_within_the_window_stays() {
    let running = [policy("p").deleting_unmatched().deleting_untagged_after(Duration::ZERO)];
    let at = |age: Duration| five().manifest("v2", |manifest| manifest.restored_at = Some(ago(age)));
    assert_eq!(plan(&running, &at(HOUR * 167)).tags_that_go(), ["v1", "v3", "v4", "v5"]);
    assert_eq!(plan(&running, &at(RESTORE_WINDOW)).tags_that_go().len(), 5);
    let tag = five().change_tag("v3", |tag| tag.restored_at = Some(ago(HOUR)));
    assert_eq!(plan(&running, &tag).tags_that_go(), ["v1", "v2", "v4", "v5"]);
}

#[test]
fn a_tag_alone_goes_when_untagged_is_kept() {
    let plan = plan(&[policy("p").keeping("few", "v*", &[newest(4)])], &five());
    assert_eq!(plan.tags_that_go(), ["v5"]);
    assert_eq!(plan.manifests_that_go(&["v5"]), NONE);
    assert_eq!(plan.deletions[0].unshared_bytes, 0);
}

#[test]
fn with_no_age_a_manifest_goes_with_its_last_tag_as_one() {
    let repository = five().tag("old", "v5", DAY * 9);
    let policy = policy("p").keeping("few", "v*", &[newest(4)]).deleting_untagged_after(Duration::ZERO);
    let first = plan(std::slice::from_ref(&policy), &repository);
    assert_eq!(first.tags_that_go(), ["v5"]);
    assert_eq!(first.manifests_that_go(&["v5"]), NONE, "tag old still points to it");
    let second = plan(&[policy.deleting_unmatched()], &repository);
    assert_eq!(second.deletions.len(), 1, "one tombstone holds both tags");
    assert_eq!(second.tags_that_go(), ["old", "v5"]);
    assert_eq!(second.manifests_that_go(&["v5"]), ["v5"]);
    assert_eq!(second.deletes(), 2);
    assert_eq!(second.deletions[0].unshared_bytes, 1110);
}

#[test]
fn with_an_age_a_manifest_follows_its_last_tag_later() {
    let policy = [policy("p").deleting_unmatched().deleting_untagged_after(DAY)];
    let before = plan(&policy, &repository().tagged("v1", DAY * 9));
    assert_eq!((before.tags_that_go(), before.manifests_that_go(&["v1"])), (vec!["v1".to_owned()], Vec::new()));
    let untagged = |age: Duration| {
        let image = repository().image("v1", DAY * 9);
        plan(&policy, &image.manifest("v1", |manifest| manifest.untagged_since = Some(ago(age))))
    };
    assert_eq!(untagged(HOUR * 23).manifests_that_go(&["v1"]), NONE);
    assert_eq!(untagged(DAY).manifests_that_go(&["v1"]), ["v1"]);
    assert_eq!(
        untagged(DAY).reason(&digest("v1").to_string()),
        "without a tag since 2026-06-30T12:00:00Z, at least 24h ago"
    );
}

#[test]
fn an_image_pushed_by_digest_counts_from_its_push() {
    let policy = [policy("p").deleting_untagged_after(DAY)];
    assert_eq!(plan(&policy, &repository().image("a", DAY * 2)).manifests_that_go(&["a"]), ["a"]);
    assert_eq!(plan(&policy, &repository().image("a", HOUR)).manifests_that_go(&["a"]), NONE);
}

#[test]
fn children_of_a_kept_index_stay_and_those_of_a_deleted_one_follow_it() {
    let repository = repository()
        .image("amd64", DAY)
        .image("arm64", DAY)
        .image("riscv", DAY)
        .index("old", &["amd64", "riscv"], DAY)
        .index("new", &["amd64", "arm64"], DAY)
        .tag("v1", "old", DAY * 2)
        .tag("v2", "new", DAY);
    let policy = policy("p").keeping("one", "v*", &[newest(1)]).deleting_untagged_after(Duration::ZERO);
    let plan = plan(&[policy], &repository);
    assert_eq!(plan.manifests_that_go(&["amd64", "arm64", "riscv", "old", "new"]), ["old", "riscv"]);
    assert_eq!(plan.reason(&digest("amd64").to_string()), format!("listed by {}, which is kept", digest("new")));
    assert_eq!(plan.deletions[0].closure.len(), 5, "index, two children, their configs");
}

#[test]
fn referrers_stay_and_go_with_their_subject_in_its_group() {
    let repository = repository()
        .tagged("v1", DAY * 2)
        .tagged("v2", DAY)
        .referrer("sig-1", "v1", HOUR * 2)
        .referrer("sig-2", "v2", DAY)
        .referrer("sig-of-sig-1", "sig-1", HOUR * 2)
        .referrer("lost", "never-pushed", DAY * 3);
    let names = ["v1", "v2", "sig-1", "sig-2", "sig-of-sig-1", "lost"];
    let policy = policy("p").keeping("one", "v*", &[newest(1)]).deleting_untagged_after(Duration::ZERO);
    let plan_now = plan(&[policy], &repository);
    let gone = plan_now.manifests_that_go(&names);
    assert_eq!(gone.iter().filter(|name| *name != "lost").collect::<Vec<_>>(), ["v1", "sig-1", "sig-of-sig-1"]);
    assert!(gone.contains(&"lost".to_owned()), "what it refers to is not there");
    let groups: Vec<_> = plan_now.deletions.iter().filter(|d| d.group == digest("v1")).collect();
    assert_eq!(groups.len(), 3);
    assert_eq!(plan_now.reason(&digest("sig-1").to_string()), format!("refers to {}, which goes", digest("v1")));
}

#[test]
fn a_referrer_goes_with_its_subject_although_it_never_had_a_tag_to_lose() {
    let repository = repository()
        .image("v1", DAY * 9)
        .manifest("v1", |manifest| manifest.untagged_since = Some(ago(DAY * 2)))
        .referrer("sig", "v1", HOUR);
    let plan_of = |policy: Policy| plan(&[policy], &repository).manifests_that_go(&["v1", "sig"]);
    assert_eq!(plan_of(policy("p").deleting_untagged_after(DAY)), ["v1", "sig"]);
    assert_eq!(plan_of(policy("p").deleting_untagged_after(DAY).with_floor(HOUR * 2)), ["v1"]);
    assert_eq!(plan_of(policy("p").deleting_untagged_after(DAY * 3)), NONE);
}

#[test]
fn a_tagged_child_or_referrer_stays_without_what_refers_to_it() {
    let repository = repository()
        .tagged("amd64", DAY)
        .index("index", &["amd64"], DAY)
        .tagged("v1", DAY)
        .referrer("sig", "v1", DAY)
        .tag("sig", "sig", DAY);
    let policy = policy("p")
        .keeping("arch", "amd64", &[Criterion::Always])
        .keeping("sig", "sig", &[Criterion::Always])
        .deleting_unmatched()
        .deleting_untagged_after(Duration::ZERO);
    let mut gone = plan(&[policy], &repository).manifests_that_go(&["amd64", "index", "v1", "sig"]);
    gone.sort_unstable();
    assert_eq!(gone, ["index", "v1"]);
}

#[test]
fn a_held_index_keeps_what_it_lists_and_its_referrers() {
    let repository = repository()
        .image("amd64", DAY)
        .index("index", &["amd64"], DAY)
        .referrer("sig", "index", DAY)
        .image("other", DAY);
    let policy = policy("p").deleting_untagged_after(Duration::ZERO).holding(&digest("index").to_string());
    assert_eq!(plan(&[policy], &repository).manifests_that_go(&["other"]), ["other"]);
}

#[test]
fn an_unreadable_manifest_keeps_its_tags_and_every_manifest_beside_it() {
    let repository = five().image("loose", DAY).manifest("v2", |manifest| manifest.content = None);
    let policy = policy("p").deleting_unmatched().deleting_untagged_after(Duration::ZERO);
    let plan = plan(&[policy], &repository);
    assert_eq!(plan.tags_that_go(), ["v1", "v3", "v4", "v5"]);
    assert_eq!(plan.manifests_that_go(&["loose"]), NONE);
    assert_eq!(plan.reason("v2"), "its manifest could not be read");
    let unreadable = digest("v2");
    assert_eq!(
        plan.reason(&digest("loose").to_string()),
        format!("manifest {unreadable} could not be read, and may refer to it")
    );
}

#[test]
fn a_tag_in_use_stays_with_what_it_points_to() {
    let policy = [policy("p").deleting_unmatched().deleting_untagged_after(Duration::ZERO)];
    let plan = plan_with_usage(&policy, &five(), &used(&["v3"], &[]));
    assert_eq!(plan.tags_that_go(), ["v1", "v2", "v4", "v5"]);
    assert_eq!(plan.protected_in_use, 1);
    assert_eq!(plan.reason("v3"), "in use: Deployment shop");
}

#[test]
fn a_digest_in_use_protects_by_manifest_config_and_child_and_spreads() {
    let repository = repository()
        .image("amd64", DAY)
        .image("arm64", DAY)
        .index("index", &["amd64", "arm64"], DAY)
        .referrer("sig", "index", DAY)
        .tag("v1", "index", DAY)
        .tagged("other", DAY);
    let policy = [policy("p").deleting_unmatched().deleting_untagged_after(Duration::ZERO)];
    for name in ["index", "amd64", "arm64-config"] {
        let plan = plan_with_usage(&policy, &repository, &used(&[], &[name]));
        assert_eq!(plan.tags_that_go(), ["other"], "{name} is in use");
        assert_eq!(plan.manifests_that_go(&["other"]), ["other"], "{name} is in use");
        assert_eq!(plan.protected_in_use, 4, "tag v1, two children and the signature");
    }
    let nothing = plan_with_usage(&policy, &repository, &used(&[], &["amd64-layer"]));
    assert_eq!(nothing.tags_that_go(), ["other", "v1"], "a layer is no image");
}

#[test]
fn bytes_that_a_kept_image_shares_are_not_counted() {
    let share = |manifest: &mut super::ManifestSnapshot| {
        manifest.content.as_mut().unwrap().blobs[1] = super::Blob { digest: digest("base"), size: 5000 };
    };
    let repository = repository().tagged("v1", DAY).tagged("v2", DAY * 2).manifest("v1", share).manifest("v2", share);
    let policy = policy("p").keeping("one", "v*", &[newest(1)]).deleting_untagged_after(Duration::ZERO);
    assert_eq!(plan(std::slice::from_ref(&policy), &repository).deletions[0].unshared_bytes, 110);
    let all = plan(&[policy.keeping("none", "*", &[Criterion::PushedWithin(HOUR)])], &repository);
    assert_eq!(all.deletions.iter().map(|d| d.unshared_bytes).sum::<u64>(), 110);
}

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
        policy.limits = super::Limits { max_deletions: deletions, max_delete_percent: percent };
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
