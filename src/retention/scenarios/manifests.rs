//! Which manifests follow their tags.

use std::time::Duration;

use super::{NONE, five, used};
use crate::retention::fixtures::{DAY, HOUR, ago, digest, newest, plan, plan_with_usage, policy, repository};
use crate::retention::{Criterion, OrphanedReferrers, Policy};

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
    let share = |manifest: &mut crate::retention::ManifestSnapshot| {
        manifest.content.as_mut().unwrap().blobs[1] = crate::retention::Blob { digest: digest("base"), size: 5000 };
    };
    let repository = repository().tagged("v1", DAY).tagged("v2", DAY * 2).manifest("v1", share).manifest("v2", share);
    let policy = policy("p").keeping("one", "v*", &[newest(1)]).deleting_untagged_after(Duration::ZERO);
    assert_eq!(plan(std::slice::from_ref(&policy), &repository).deletions[0].unshared_bytes, 110);
    let all = plan(&[policy.keeping("none", "*", &[Criterion::PushedWithin(HOUR)])], &repository);
    assert_eq!(all.deletions.iter().map(|d| d.unshared_bytes).sum::<u64>(), 110);
}

#[test]
fn referrers_without_a_subject_stay_where_the_policy_says_so() {
    let repository = repository()
        .tagged("v1", DAY * 2)
        .referrer("sig", "v1", DAY)
        .referrer("lost", "never-pushed", DAY * 3)
        .image("loose", DAY * 3);
    let mut policy = policy("p").deleting_unmatched().deleting_untagged_after(Duration::ZERO);
    let names = ["v1", "sig", "lost", "loose"];
    assert_eq!(plan(std::slice::from_ref(&policy), &repository).manifests_that_go(&names).len(), 4);
    policy.orphaned = OrphanedReferrers::Keep;
    let plan = plan(&[policy], &repository);
    let mut gone = plan.manifests_that_go(&names);
    gone.sort_unstable();
    assert_eq!(gone, ["loose", "v1"]);
    let reason = "refers to a manifest that is not kept, and referrers.orphaned is Keep";
    assert_eq!(plan.reason(&digest("lost").to_string()), reason);
}
