//! Deletes that a policy decided on.

use std::time::Duration;

use crate::{
    oci::Digest,
    storage::{
        Catalog, Clock as _, Conflict, DeletionMode, Error, PlannedDelete, PlannedOutcome, Repository,
        fixtures::{World, name},
        layout::PathSpec,
    },
};

use super::{by, cause, image, index, is_there, put, reference, tag, tags};

async fn opened(world: &World) -> (Catalog, Repository) {
    let catalog = world.open().await;
    let repository = catalog.repository(&name("app"));
    (catalog, repository)
}

/// A decision made a minute after what was pushed last, and carried out a minute later.
fn plan(world: &World, digest: &Digest, what: &str, tags: &[&str]) -> PlannedDelete {
    world.clock.advance(Duration::from_secs(60));
    let planned_at = world.clock.now();
    world.clock.advance(Duration::from_secs(60));
    PlannedDelete {
        reference: reference(what),
        expected: digest.clone(),
        tags: tags.iter().map(|text| tag(text)).collect(),
        planned_at,
        not_after: jiff::Timestamp::MAX,
        cause: cause(),
    }
}

async fn reason(repository: &Repository, plan: PlannedDelete) -> String {
    match repository.delete_planned(plan).await.unwrap() {
        PlannedOutcome::Changed { reason } => reason,
        PlannedOutcome::Deleted(tombstone) => panic!("deleted: {tombstone:?}"),
    }
}

async fn assert_deleted(repository: &Repository, plan: PlannedDelete) {
    match repository.delete_planned(plan).await.unwrap() {
        PlannedOutcome::Deleted(_) => {}
        PlannedOutcome::Changed { reason } => panic!("{reason}"),
    }
}

#[tokio::test]
async fn a_decision_whose_time_is_over_is_not_carried_out() {
    let world = World::new();
    let (_, repository) = opened(&world).await;
    let digest = image("a").push(&repository, Some("v1")).await.unwrap();
    let mut planned = plan(&world, &digest, &digest.to_string(), &["v1"]);
    planned.not_after = world.clock.now();
    assert!(reason(&repository, planned).await.contains("too late"));
    assert_eq!(tags(&repository).await, ["v1"]);
}

#[tokio::test]
async fn a_planned_manifest_goes_with_its_tags_in_one_tombstone() {
    let world = World::new();
    let (_, repository) = opened(&world).await;
    let digest = image("a").push(&repository, Some("v1")).await.unwrap();
    image("a").push(&repository, Some("v2")).await.unwrap();
    let mut planned = plan(&world, &digest, &digest.to_string(), &["v1", "v2"]);
    planned.cause.policy = Some("ns/name".into());
    let PlannedOutcome::Deleted(tombstone) = repository.delete_planned(planned).await.unwrap() else { panic!() };
    assert_eq!((tombstone.tags.len(), tombstone.policy.as_deref()), (2, Some("ns/name")));
    assert_eq!(tags(&repository).await, [""; 0]);
}

#[tokio::test]
async fn a_planned_tag_goes_alone() {
    let world = World::new();
    let (_, repository) = opened(&world).await;
    let digest = image("a").push(&repository, Some("v1")).await.unwrap();
    assert_deleted(&repository, plan(&world, &digest, "v1", &[])).await;
    assert!(!is_there(&repository, &reference("v1")).await);
    assert!(is_there(&repository, &by(&digest)).await);
}

#[tokio::test]
async fn what_is_not_as_it_was_planned_stays() {
    let world = World::new();
    let (_, repository) = opened(&world).await;
    let digest = image("a").push(&repository, Some("v1")).await.unwrap();
    let other = image("b").push(&repository, Some("v2")).await.unwrap();
    let whole = digest.to_string();

    let planned = plan(&world, &other, "v1", &[]);
    assert_eq!(reason(&repository, planned).await, format!("it points to {digest} by now"));
    let planned = plan(&world, &digest, "v9", &[]);
    assert_eq!(reason(&repository, planned).await, "it is not there any more");
    let planned = plan(&world, &digest, &whole, &[]);
    assert_eq!(reason(&repository, planned).await, "tag v1 points to it by now");
    let planned = plan(&world, &digest, &whole, &["v1", "v2"]);
    assert_eq!(reason(&repository, planned).await, "tag v2 does not point to it any more");

    let planned = plan(&world, &digest, "v1", &[]);
    image("a").push(&repository, Some("v1")).await.unwrap();
    assert_eq!(reason(&repository, planned).await, "tag v1 was pushed since");
    repository.delete_manifest(&reference("v1"), cause()).await.unwrap();
    let planned = plan(&world, &digest, &whole, &[]);
    image("a").push(&repository, None).await.unwrap();
    assert_eq!(reason(&repository, planned).await, "it was pushed since");
    assert_eq!(tags(&repository).await, ["v2"]);
    assert!(is_there(&repository, &by(&digest)).await);
}

#[tokio::test]
async fn a_child_of_an_index_and_a_referrer_of_a_subject_stay() {
    let world = World::new();
    let (_, repository) = opened(&world).await;
    let (child, lone) = (image("child"), image("lone"));
    let child_digest = child.push(&repository, None).await.unwrap();
    let lone_digest = lone.push(&repository, None).await.unwrap();
    let parent = repository.put_manifest(put(&index(&[&child]), None)).await.unwrap();
    let signature = image("signature").about(&lone_digest);
    let signature_digest = signature.push(&repository, None).await.unwrap();

    let of = |digest: &Digest| plan(&world, digest, &digest.to_string(), &[]);
    assert_eq!(reason(&repository, of(&child_digest)).await, format!("index {parent} lists it"));
    assert_eq!(reason(&repository, of(&signature_digest)).await, format!("its subject {lone_digest} is there"));
    // Parents first, then it holds.
    for digest in [&parent, &child_digest, &lone_digest, &signature_digest] {
        assert_deleted(&repository, of(digest)).await;
    }
    assert!(repository.inventory().await.unwrap().revisions.is_empty());
    // What was remembered of a parent that is gone keeps nothing, and one that is new does.
    child.push(&repository, None).await.unwrap();
    assert_deleted(&repository, of(&child_digest)).await;
    child.push(&repository, None).await.unwrap();
    repository.put_manifest(put(&index(&[&child]), None)).await.unwrap();
    assert_eq!(reason(&repository, of(&child_digest)).await, format!("index {parent} lists it"));
}

#[tokio::test]
async fn what_was_restored_stays_for_a_restore_window() {
    let world = World::new();
    let (catalog, repository) = opened(&world).await;
    let digest = image("a").push(&repository, Some("v1")).await.unwrap();
    let tombstone = repository.delete_manifest(&by(&digest), cause()).await.unwrap();
    catalog.trash().restore(&tombstone.id, Conflict::Fail, "restorer").await.unwrap();
    for (what, tags) in [("v1", &[][..]), (&digest.to_string(), &["v1"])] {
        let planned = plan(&world, &digest, what, tags);
        assert!(reason(&repository, planned).await.starts_with("it was restored at "));
    }
    world.clock.advance(world.options.restore_window);
    assert_deleted(&repository, plan(&world, &digest, "v1", &[])).await;
}

#[tokio::test]
async fn what_cannot_be_read_stays() {
    let world = World::new();
    let (_, repository) = opened(&world).await;
    let digest = image("a").push(&repository, None).await.unwrap();
    super::tear(&world, PathSpec::Fact(&repository.name, &digest)).await;
    let inventory = repository.inventory().await.unwrap();
    assert_eq!((inventory.revisions[0].pushed_at, inventory.revisions[0].untagged_since), (None, None));
    let planned = plan(&world, &digest, &digest.to_string(), &[]);
    assert_eq!(reason(&repository, planned).await, "when it was pushed cannot be read");
    super::tear(&world, PathSpec::RestoredAt(&repository.name, &digest)).await;
    let planned = plan(&world, &digest, &digest.to_string(), &[]);
    assert_eq!(reason(&repository, planned).await, "when it was restored cannot be read");
}

#[tokio::test]
async fn a_policy_deletes_nothing_where_deletion_is_disabled() {
    let mut world = World::new();
    world.options.deletion = DeletionMode::Disabled;
    let (_, repository) = opened(&world).await;
    let digest = image("a").push(&repository, Some("v1")).await.unwrap();
    let refused = repository.delete_planned(plan(&world, &digest, "v1", &[])).await;
    assert!(matches!(refused, Err(Error::DeletionDisabled)));
    assert!(is_there(&repository, &reference("v1")).await);
}
