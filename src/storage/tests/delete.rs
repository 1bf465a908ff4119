//! Deleting.

use std::time::Duration;

use crate::{
    oci::Reference,
    storage::{
        Clock as _, DeletionMode, Error, TombstoneKind, TombstoneState,
        fixtures::{World, name, sha256},
        layout::PathSpec,
    },
};

use super::{
    assert_consistent, by, cause, image, index, is_there, paths_below, pending_count, put, reference, seed_blob, tag,
    tags,
};

#[tokio::test]
async fn a_deleted_manifest_is_gone_from_every_path_with_its_tags() {
    let world = World::new();
    let repository = world.repository("app").await;
    let image = image("a");
    let digest = image.push(&repository, Some("v1")).await.unwrap();
    image.push(&repository, Some("v2")).await.unwrap();
    super::image("kept").push(&repository, Some("kept")).await.unwrap();
    assert!(is_there(&repository, &reference("v1")).await, "so it is cached");

    let tombstone = repository.delete_manifest(&by(&digest), cause()).await.unwrap();
    assert_eq!(tombstone.kind, TombstoneKind::Manifest);
    assert_eq!(tombstone.tags, [tag("v1"), tag("v2")]);
    assert_eq!(tombstone.size, Some(image.bytes().len() as u64));
    let needed = image.blobs().iter().map(|blob| sha256(blob)).chain([digest.clone()]).collect::<Vec<_>>();
    assert!(needed.iter().all(|digest| tombstone.closure.contains(digest)));
    assert_eq!(tombstone.closure.len(), needed.len());
    assert!(!tombstone.layer_link);

    for reference in [reference("v1"), reference("v2"), by(&digest)] {
        assert!(!is_there(&repository, &reference).await, "{reference} is still there");
        let lists = world.driver.lists();
        repository.stat_manifest(&reference).await.unwrap_err();
        assert_eq!(world.driver.lists(), lists, "a HEAD has no body that would tell of the trash");
        let error = repository.manifest(&reference).await.unwrap_err();
        let Error::ManifestUnknown { trash: Some(trash), .. } = error else { panic!("{error:?}") };
        assert_eq!(*trash, tombstone);
    }
    assert_eq!(tags(&repository).await, ["kept"]);
    assert_eq!(pending_count(&world).await, 0);
    assert_consistent(&repository).await;
    let again = repository.delete_manifest(&by(&digest), cause()).await;
    assert!(matches!(again, Err(Error::ManifestUnknown { trash: Some(_), .. })));
}

#[tokio::test]
async fn a_delete_leaves_the_paths_that_distribution_expects() {
    let world = World::new();
    let repository = world.repository("app").await;
    let gone = image("a").push(&repository, Some("v1")).await.unwrap();
    let kept = image("b").push(&repository, Some("v2")).await.unwrap();
    seed_blob(&repository, &image("a").bytes()).await.unwrap();
    let tombstone = repository.delete_manifest(&by(&gone), cause()).await.unwrap();
    assert!(tombstone.layer_link, "2.8.2 finds a manifest through its layer link");
    let manifests = paths_below(&world.memory, "docker/registry/v2/repositories/app/_manifests/");
    let hex = kept.hex();
    let expected = [
        format!("revisions/sha256/{hex}/link"),
        "tags/v2/current/link".into(),
        format!("tags/v2/index/sha256/{hex}/link"),
    ];
    assert_eq!(manifests, expected);
    assert_eq!(paths_below(&world.memory, "docker/registry/v2/repositories/app/_layers/").len(), 6);
    assert_eq!(paths_below(&world.memory, "docker/registry/v2/blobs/").len(), 8, "the bytes stay");
    let trash = paths_below(&world.memory, "lagan/v1/trash/");
    assert_eq!(trash, ["_i/<ulid>".into(), "app/_n/v1/<ulid>".into(), format!("app/_t/{gone}/<ulid>")]);
    assert!(paths_below(&world.memory, "lagan/v1/facts/app/").contains(&"_g/v1/<ulid>".into()), "history stays");
}

#[tokio::test]
async fn a_deleted_tag_leaves_its_manifest() {
    let world = World::new();
    let repository = world.repository("app").await;
    let digest = image("a").push(&repository, Some("v1")).await.unwrap();
    image("a").push(&repository, Some("v2")).await.unwrap();
    let tombstone = repository.delete_manifest(&reference("v1"), cause()).await.unwrap();
    assert_eq!(
        (tombstone.kind, &tombstone.tags[..], &tombstone.digest),
        (TombstoneKind::Tag, &[tag("v1")][..], &digest)
    );
    assert!(!is_there(&repository, &reference("v1")).await);
    assert!(is_there(&repository, &reference("v2")).await);
    assert!(is_there(&repository, &by(&digest)).await);
    assert_eq!(tags(&repository).await, ["v2"]);
}

#[tokio::test]
async fn a_repository_without_manifests_does_not_exist() {
    let world = World::new();
    let catalog = world.open().await;
    let repository = catalog.repository(&name("app"));
    let digest = image("a").push(&repository, Some("v1")).await.unwrap();
    repository.delete_manifest(&by(&digest), cause()).await.unwrap();
    assert!(matches!(repository.tags(None, 10).await, Err(Error::RepositoryUnknown { .. })));
    assert!(!repository.store.has_revision(&name("app")).await.unwrap());
}

#[tokio::test]
async fn deleting_an_index_leaves_its_children() {
    let world = World::new();
    let repository = world.repository("app").await;
    let child = image("a");
    child.push(&repository, None).await.unwrap();
    let index = super::index(&[&child]);
    let digest = repository.put_manifest(super::put(&index, Some("multi"))).await.unwrap();
    let tombstone = repository.delete_manifest(&by(&digest), cause()).await.unwrap();
    assert_eq!(tombstone.closure.len(), 5, "index, child, config and two layers");
    assert!(is_there(&repository, &by(&child.digest())).await);
}

#[tokio::test]
async fn a_deleted_blob_is_unlinked_and_explained() {
    let world = World::new();
    let repository = world.repository("app").await;
    let digest = seed_blob(&repository, &"layer".into()).await.unwrap();
    let tombstone = repository.delete_blob(&digest, cause()).await.unwrap();
    assert_eq!((tombstone.kind, tombstone.size), (TombstoneKind::Blob, Some(5)));
    assert_eq!(repository.store.link(PathSpec::LayerLink(&repository.name, &digest), &digest).await.unwrap(), None);
    let error = repository.delete_blob(&digest, cause()).await.unwrap_err();
    let Error::BlobUnknown { trash: Some(trash), .. } = error else { panic!("{error:?}") };
    assert_eq!(*trash, tombstone);
}

#[tokio::test]
async fn deletion_that_is_disabled_is_refused() {
    let mut world = World::new();
    world.options.deletion = DeletionMode::Disabled;
    let repository = world.repository("app").await;
    let digest = image("a").push(&repository, Some("v1")).await.unwrap();
    for reference in [by(&digest), reference("v1"), reference("absent")] {
        assert!(matches!(repository.delete_manifest(&reference, cause()).await, Err(Error::DeletionDisabled)));
    }
    assert!(matches!(repository.delete_blob(&digest, cause()).await, Err(Error::DeletionDisabled)));
    assert!(is_there(&repository, &reference("v1")).await);
}

#[tokio::test]
async fn pushing_again_what_was_deleted_marks_the_tombstone() {
    let world = World::new();
    let catalog = world.open().await;
    let repository = catalog.repository(&name("app"));
    let digest = image("a").push(&repository, Some("v1")).await.unwrap();
    let tombstone = repository.delete_manifest(&by(&digest), cause()).await.unwrap();
    assert_eq!(tombstone.state, TombstoneState::Restorable);
    image("a").push(&repository, Some("v2")).await.unwrap();
    assert_eq!(catalog.trash().get(&tombstone.id).await.unwrap().state, TombstoneState::Revived);
    assert!(is_there(&repository, &by(&digest)).await);
    assert_eq!(tags(&repository).await, ["v2"]);
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_can_be_deleted_and_restored() {
    let world = World::new();
    let catalog = world.open().await;
    let repository = catalog.repository(&name("app"));
    let digest = seed_blob(&repository, &"signed by an older schema".into()).await.unwrap();
    repository.store.put_link(PathSpec::RevisionLink(&repository.name, &digest), &digest).await.unwrap();
    let tombstone = repository.delete_manifest(&by(&digest), cause()).await.unwrap();
    assert!(!is_there(&repository, &by(&digest)).await);
    catalog.trash().restore(&tombstone.id, crate::storage::Conflict::Fail, "restorer").await.unwrap();
    assert!(is_there(&repository, &Reference::Digest(digest)).await);
}

#[tokio::test]
async fn what_only_the_deleted_reached_is_untagged_since_then_or_since_that_was() {
    for had_tag in [true, false] {
        let world = World::new();
        let repository = world.repository("app").await;
        let child = image("child");
        child.push(&repository, None).await.unwrap();
        let index = index(&[&child]);
        let digest = repository.put_manifest(put(&index, Some("latest"))).await.unwrap();
        let signature = image("signature").about(&digest);
        signature.push(&repository, None).await.unwrap();
        world.clock.advance(Duration::from_secs(60));
        let moved_at = world.clock.now();
        if !had_tag {
            image("other").push(&repository, Some("latest")).await.unwrap();
        }
        world.clock.advance(Duration::from_secs(60));
        repository.delete_manifest(&by(&digest), cause()).await.unwrap();
        let since = if had_tag { world.clock.now() } else { moved_at };
        let inventory = repository.inventory().await.unwrap();
        for image in [&child, &signature] {
            let entry = inventory.revisions.iter().find(|entry| entry.digest == image.digest()).unwrap();
            assert_eq!(entry.untagged_since, Some(since), "with a tag until then: {had_tag}");
        }
    }
}
