//! What is counted, and what stays together, where a policy is about images.

use std::time::Duration;

use super::NONE;
use crate::retention::fixtures::{
    DAY, HOUR, immutable, newest, plan, plan_with_immutable, policy, pulled_last, repository,
};
use crate::retention::{Criterion, RepositorySnapshot, Usage};

/// Four images of two tags: `v1` and `sha-1` of the newest, which is one day old.
fn four() -> RepositorySnapshot {
    (1..=4).fold(repository(), |repository, n| {
        repository.tagged(&format!("v{n}"), DAY * n).tag(&format!("sha-{n}"), &format!("v{n}"), DAY * n)
    })
}

#[test]
fn tags_of_one_image_take_one_place() {
    let counting = |criterion: Criterion| policy("p").keeping("rule", "*", &[criterion]);
    let tags = plan(&[counting(newest(3))], &four());
    assert_eq!(tags.tags_that_go().len(), 5);
    let images = plan(&[counting(newest(3)).of_images()], &four());
    assert_eq!(images.tags_that_go(), ["sha-4", "v4"]);
    assert_eq!(images.reason("v4"), "not among the 3 most recently pushed");
    let pulled = four().pulled("sha-4", HOUR);
    assert_eq!(plan(&[counting(pulled_last(3)).of_images()], &pulled).tags_that_go(), ["sha-3", "v3"]);
}

#[test]
fn tags_of_an_image_are_as_young_and_as_lately_pulled_as_any_of_them() {
    let repository = four().tag("stable", "v4", HOUR).pulled("sha-3", HOUR);
    for (criterion, gone) in [
        (Criterion::PushedWithin(HOUR * 2), &["v1", "v2", "v3"][..]),
        (Criterion::PulledWithin(HOUR * 2), &["v1", "v2"]),
        (newest(1), &["v1", "v2", "v3"]),
        (pulled_last(2), &["v1", "v2"]),
    ] {
        let policy = policy("p").keeping("rule", "v*", std::slice::from_ref(&criterion)).of_images();
        assert_eq!(plan(&[policy], &repository).tags_that_go(), gone, "{criterion}");
    }
}

#[test]
fn an_image_stays_with_all_of_its_tags() {
    let repository = repository()
        .tagged("release-1", DAY * 9)
        .tag("latest", "release-1", DAY * 9)
        .tag("stable", "release-1", DAY * 9)
        .tagged("dev", DAY);
    let keeping = policy("p").keeping("releases", "release-*", &[Criterion::Always]).deleting_unmatched();
    assert_eq!(plan(std::slice::from_ref(&keeping), &repository).tags_that_go(), ["dev", "latest", "stable"]);
    let plan = plan(&[keeping.of_images()], &repository);
    assert_eq!(plan.tags_that_go(), ["dev"]);
    assert_eq!(plan.reason("latest"), "another tag of the image stays: release-1");
    assert_eq!(plan.kept.iter().filter(|kept| kept.rule.as_deref() == Some("releases")).count(), 3);
}

#[test]
fn what_keeps_one_tag_of_an_image_for_any_reason_keeps_the_others() {
    let running = policy("p").deleting_unmatched().of_images();
    let immutable_tag =
        plan_with_immutable(std::slice::from_ref(&running), &four(), &Usage::nothing(), &immutable("v2"));
    assert_eq!(immutable_tag.tags_that_go(), ["sha-1", "sha-3", "sha-4", "v1", "v3", "v4"]);
    assert_eq!(immutable_tag.reason("sha-2"), "another tag of the image stays: v2");
    let held = plan(&[running.clone().holding("sha-3")], &four());
    assert_eq!(held.tags_that_go(), ["sha-1", "sha-2", "sha-4", "v1", "v2", "v4"]);
    let young = plan(&[running.with_floor(HOUR * 2)], &four().tag("again", "v1", HOUR));
    assert_eq!(young.tags_that_go(), ["sha-2", "sha-3", "sha-4", "v2", "v3", "v4"]);
}

#[test]
fn a_tag_of_which_the_policy_says_nothing_keeps_no_other() {
    let policy = policy("p").keeping("few", "v*", &[newest(2)]).of_images();
    assert_eq!(plan(&[policy], &four()).tags_that_go(), ["v3", "v4"]);
}

#[test]
fn another_policy_keeps_tags_or_images_as_it_says_itself() {
    let other = policy("other").keeping("pin", "v2", &[Criterion::Always]);
    let running = policy("p").deleting_unmatched();
    let by_tag = plan(&[running.clone(), other.clone()], &four());
    assert_eq!(by_tag.tags_that_go(), ["sha-1", "sha-2", "sha-3", "sha-4", "v1", "v3", "v4"]);
    for policies in [[running.clone(), other.clone().of_images()], [running.of_images(), other]] {
        let plan = plan(&policies, &four());
        assert_eq!(plan.tags_that_go(), ["sha-1", "sha-3", "sha-4", "v1", "v3", "v4"]);
        assert_eq!(plan.reason("sha-2"), "another tag of the image stays: v2, by policy ns/other");
        assert_eq!(plan.prevented.len(), 2, "{:?}", plan.prevented);
    }
}

#[test]
fn an_image_goes_with_its_tags_when_nothing_keeps_one() {
    let policy = policy("p").keeping("few", "*", &[newest(3)]).of_images().deleting_untagged_after(Duration::ZERO);
    let plan = plan(&[policy], &four());
    assert_eq!(plan.manifests_that_go(&["v4"]), ["v4"]);
    assert_ne!(plan.tags_that_go(), NONE);
}
