//! Which tags stay.

use std::time::Duration;

use super::{NONE, five, used};
use crate::retention::fixtures::{
    DAY, HOUR, RESTORE_WINDOW, ago, digest, immutable, newest, plan, plan_with_immutable, plan_with_usage, policy,
    repository,
};
use crate::retention::{Criterion, Usage};

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
    other.mode = crate::retention::Mode::DryRun;
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
fn an_immutable_tag_stays_whatever_the_rules_say() {
    let policy = [policy("p").deleting_unmatched().deleting_untagged_after(Duration::ZERO)];
    let plan = plan_with_immutable(&policy, &five(), &Usage::nothing(), &immutable("v[24]"));
    assert_eq!(plan.tags_that_go(), ["v1", "v3", "v5"]);
    assert_eq!(plan.reason("v2"), "immutable");
    assert_eq!(plan.manifests_that_go(&["v1", "v3", "v5"]).len(), 3);
}

#[test]
fn a_tag_in_use_stays_with_what_it_points_to() {
    let policy = [policy("p").deleting_unmatched().deleting_untagged_after(Duration::ZERO)];
    let plan = plan_with_usage(&policy, &five(), &used(&["v3"], &[]));
    assert_eq!(plan.tags_that_go(), ["v1", "v2", "v4", "v5"]);
    assert_eq!(plan.protected_in_use, 1);
    assert_eq!(plan.reason("v3"), "in use: Deployment shop");
}
