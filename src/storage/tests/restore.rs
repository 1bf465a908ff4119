//! Restoring.

use std::time::Duration;

use futures::future;

use crate::{
    oci::Digest,
    storage::{
        Audience, Catalog, Conflict, DeleteCause, Error, Repository, Tombstone, TombstoneState,
        driver::{StorageDriver as _, faulty::Fault},
        fixtures::{World, name, sha256},
        layout::PathSpec,
    },
};

use super::{assert_consistent, by, cause, image, index, is_there, put, reference, referrers, seed_blob, tag, tags};

async fn opened(world: &World) -> (Catalog, Repository) {
    let catalog = world.open().await;
    let repository = catalog.repository(&name("app"));
    (catalog, repository)
}

async fn delete(repository: &Repository, digest: &Digest) -> Tombstone {
    repository.delete_manifest(&by(digest), cause()).await.unwrap()
}

#[tokio::test]
async fn a_restored_manifest_has_its_bytes_tags_and_push_times() {
    let world = World::new();
    let (catalog, repository) = opened(&world).await;
    let image = image("a");
    let digest = image.push(&repository, Some("v1")).await.unwrap();
    world.clock.advance(Duration::from_secs(60));
    image.push(&repository, Some("v2")).await.unwrap();
    let before = repository.inventory().await.unwrap();
    let tombstone = delete(&repository, &digest).await;
    world.clock.advance(Duration::from_secs(60));
    let restored = catalog.trash().restore(&tombstone.id, Conflict::Fail, "restorer").await.unwrap();
    assert_eq!((&restored.digest, &restored.tags[..]), (&digest, &[tag("v1"), tag("v2")][..]));
    assert_eq!((&restored.manifests[..], restored.already_present), (&[digest.clone()][..], false));
    assert_eq!(repository.manifest(&reference("v2")).await.unwrap().bytes, image.bytes());
    assert_eq!(tags(&repository).await, ["v1", "v2"]);
    let after = repository.inventory().await.unwrap();
    assert_eq!(after.tags, before.tags);
    assert_eq!(after.revisions[0].pushed_at, before.revisions[0].pushed_at);
    assert_eq!(after.revisions[0].restored_at, Some(after.taken_at));
    assert!(matches!(catalog.trash().get(&tombstone.id).await, Err(Error::TombstoneUnknown { .. })));
    let again = catalog.trash().restore(&tombstone.id, Conflict::Fail, "restorer").await;
    assert!(matches!(again, Err(Error::TombstoneUnknown { .. })));
}

#[tokio::test]
async fn a_child_that_comes_back_with_its_index_is_not_offered_for_restore() {
    let world = World::new();
    let (catalog, repository) = opened(&world).await;
    let child = image("child");
    child.push(&repository, None).await.unwrap();
    let index = index(&[&child]);
    let digest = repository.put_manifest(put(&index, Some("v1"))).await.unwrap();
    let of_index = delete(&repository, &digest).await;
    let of_child = delete(&repository, &child.digest()).await;
    catalog.trash().restore(&of_index.id, Conflict::Fail, "test").await.unwrap();
    assert!(is_there(&repository, &by(&child.digest())).await);
    assert_eq!(catalog.trash().get(&of_child.id).await.unwrap().state, TombstoneState::Revived);
}

#[tokio::test]
async fn a_restored_index_has_its_children() {
    let world = World::new();
    let (catalog, repository) = opened(&world).await;
    let (first, second) = (image("first"), image("second"));
    first.push(&repository, None).await.unwrap();
    second.push(&repository, None).await.unwrap();
    let digest = repository.put_manifest(put(&index(&[&first, &second]), Some("multi"))).await.unwrap();
    let tombstone = delete(&repository, &digest).await;
    delete(&repository, &first.digest()).await;
    delete(&repository, &second.digest()).await;
    for blob in second.blobs() {
        repository.delete_blob(&crate::storage::fixtures::sha256(&blob), cause()).await.unwrap();
    }
    assert_eq!(tags(&repository).await, [""; 0]);
    let restored = catalog.trash().restore(&tombstone.id, Conflict::Fail, "restorer").await.unwrap();
    assert_eq!(restored.manifests.len(), 3);
    for digest in [&digest, &first.digest(), &second.digest()] {
        assert!(is_there(&repository, &by(digest)).await);
    }
    assert_consistent(&repository).await;
}

#[tokio::test]
async fn referrers_of_the_same_group_come_back_and_others_do_not() {
    let world = World::new();
    let (catalog, repository) = opened(&world).await;
    let digest = image("a").push(&repository, Some("v1")).await.unwrap();
    let (signature, other) = (image("signature").about(&digest), image("other").about(&digest));
    let nested = image("nested").about(&signature.digest());
    for referrer in [&signature, &other, &nested] {
        referrer.push(&repository, None).await.unwrap();
    }
    let tombstone = delete(&repository, &digest).await;
    let group = DeleteCause { group: Some(tombstone.group.clone()), ..cause() };
    for referrer in [&signature, &nested] {
        repository.delete_manifest(&by(&referrer.digest()), group.clone()).await.unwrap();
    }
    delete(&repository, &other.digest()).await;
    let restored = catalog.trash().restore(&tombstone.id, Conflict::Fail, "restorer").await.unwrap();
    assert_eq!(restored.manifests.len(), 3);
    assert!(is_there(&repository, &by(&signature.digest())).await);
    assert!(is_there(&repository, &by(&nested.digest())).await);
    assert!(!is_there(&repository, &by(&other.digest())).await);
    let listed = referrers(&repository, &digest).await;
    assert_eq!(listed.iter().map(|each| &each.digest).collect::<Vec<_>>(), [&signature.digest()]);
}

#[tokio::test]
async fn a_tag_that_points_elsewhere_is_a_conflict_unless_it_is_replaced() {
    let world = World::new();
    let (catalog, repository) = opened(&world).await;
    let old = image("old").push(&repository, Some("v1")).await.unwrap();
    let tombstone = delete(&repository, &old).await;
    let new = image("new").push(&repository, Some("v1")).await.unwrap();
    let failed = catalog.trash().restore(&tombstone.id, Conflict::Fail, "restorer").await;
    assert!(matches!(failed, Err(Error::TagConflict { tag: t, digest }) if t == tag("v1") && digest == new));
    assert!(!is_there(&repository, &by(&old)).await, "nothing was restored");
    catalog.trash().restore(&tombstone.id, Conflict::Replace, "restorer").await.unwrap();
    assert_eq!(repository.stat_manifest(&reference("v1")).await.unwrap().digest, old);
    assert!(is_there(&repository, &by(&new)).await, "a replaced tag leaves its manifest");
    let displaced = catalog.trash().list(&crate::storage::TrashFilter::default(), None, 10).await.unwrap().entries;
    assert!(matches!(&displaced[..], [entry] if entry.digest == new && entry.tags == [tag("v1")]));
}

#[tokio::test]
async fn a_tag_comes_back_alone_where_the_others_of_its_entry_point_elsewhere_by_now() {
    let world = World::new();
    let (catalog, repository) = opened(&world).await;
    let (app, trash) = (name("app"), catalog.trash());
    let old = image("old").push(&repository, Some("v1")).await.unwrap();
    image("old").push(&repository, Some("latest")).await.unwrap();
    let tombstone = delete(&repository, &old).await;
    let new = image("new").push(&repository, Some("latest")).await.unwrap();
    let whole = trash.restore(&tombstone.id, Conflict::Fail, "restorer").await;
    assert!(matches!(whole, Err(Error::TagConflict { .. })), "the entry as a whole is in conflict");

    let restored = trash.restore_reference(&app, &reference("v1"), Conflict::Fail, "restorer").await.unwrap();

    assert_eq!(restored.tags, [tag("v1")]);
    assert_eq!(repository.stat_manifest(&reference("v1")).await.unwrap().digest, old);
    assert_eq!(repository.stat_manifest(&reference("latest")).await.unwrap().digest, new);
    assert_consistent(&repository).await;
    // Told to replace, it brings back all of the entry.
    let tombstone = delete(&repository, &old).await;
    assert_eq!(tombstone.tags, [tag("v1")]);
    delete(&repository, &new).await;
    let newest = image("newest").push(&repository, Some("latest")).await.unwrap();
    let replaced = trash.restore_reference(&app, &by(&new), Conflict::Replace, "restorer").await.unwrap();
    assert_eq!(replaced.tags, [tag("latest")]);
    assert_eq!(repository.stat_manifest(&reference("latest")).await.unwrap().digest, new);
    assert!(is_there(&repository, &by(&newest)).await);
}

#[tokio::test]
async fn a_restore_that_broke_at_any_write_is_whole_when_it_is_asked_for_again() {
    for after in 0.. {
        assert!(after < 200);
        let world = World::new();
        let (catalog, repository) = opened(&world).await;
        let digest = image("a").push(&repository, Some("te")).await.unwrap();
        image("a").push(&repository, Some("ue")).await.unwrap();
        let signature = image("signature").about(&digest);
        signature.push(&repository, None).await.unwrap();
        let tombstone = delete(&repository, &digest).await;
        let group = DeleteCause { group: Some(tombstone.group.clone()), ..cause() };
        repository.delete_manifest(&by(&signature.digest()), group).await.unwrap();
        let wanted = if after % 2 == 0 { by(&digest) } else { reference("te") };
        let restore =
            || async { catalog.trash().restore_reference(&name("app"), &wanted, Conflict::Fail, "restorer").await };
        let writes = world.driver.writes();
        world.driver.crash(after, Fault::Refused);
        let broken = restore().await;
        let is_over = world.driver.writes() - writes <= after;
        world.driver.heal();
        for shown in tags(&repository).await {
            assert!(is_there(&repository, &reference(&shown)).await, "after {after} writes {shown} leads nowhere");
        }
        restore().await.unwrap();
        assert_eq!(tags(&repository).await, ["te", "ue"], "after {after} writes");
        assert_consistent(&repository).await;
        assert!(is_there(&repository, &by(&signature.digest())).await, "after {after} writes");
        let left = crate::storage::tests::paths_below(&world.memory, "lagan/v1/trash/app/_t");
        assert!(left.is_empty(), "after {after} writes: {left:?}");
        if is_over {
            assert!(broken.is_ok());
            break;
        }
    }
}

#[tokio::test]
async fn what_was_pushed_again_is_present_whatever_its_entry_held() {
    let world = World::new();
    let (catalog, repository) = opened(&world).await;
    let digest = image("a").push(&repository, Some("v1")).await.unwrap();
    delete(&repository, &digest).await;
    image("a").push(&repository, Some("v2")).await.unwrap();
    let tag_alone = repository.delete_manifest(&reference("v2"), cause()).await.unwrap();
    for wanted in [by(&digest), by(&tag_alone.digest)] {
        let found = catalog.trash().restore_reference(&name("app"), &wanted, Conflict::Fail, "restorer").await.unwrap();
        assert!(found.already_present, "its push took it out of the trash, and its tag is another entry");
        assert_eq!(tags(&repository).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_restore_whose_content_is_gone_lists_it_and_changes_nothing() {
    let world = World::new();
    let (catalog, repository) = opened(&world).await;
    let image = image("a");
    let digest = image.push(&repository, Some("v1")).await.unwrap();
    let tombstone = delete(&repository, &digest).await;
    let layer = crate::storage::fixtures::sha256(&image.blobs()[1]);
    world.memory.delete(&PathSpec::BlobData(&layer).path()).await.unwrap();
    let failed = catalog.trash().restore(&tombstone.id, Conflict::Replace, "restorer").await;
    assert!(matches!(failed, Err(Error::ContentGone { missing }) if missing == [layer]));
    assert!(!is_there(&repository, &by(&digest)).await);
    assert!(catalog.trash().get(&tombstone.id).await.is_ok());
}

#[tokio::test]
async fn a_deleted_tag_is_restored_with_its_manifest_if_need_be() {
    let world = World::new();
    let (catalog, repository) = opened(&world).await;
    let digest = image("a").push(&repository, Some("v1")).await.unwrap();
    image("a").push(&repository, Some("v2")).await.unwrap();
    let tombstone = repository.delete_manifest(&reference("v1"), cause()).await.unwrap();
    catalog.trash().restore(&tombstone.id, Conflict::Fail, "restorer").await.unwrap();
    assert_eq!(tags(&repository).await, ["v1", "v2"]);
    let tombstone = repository.delete_manifest(&reference("v1"), cause()).await.unwrap();
    delete(&repository, &digest).await;
    catalog.trash().restore(&tombstone.id, Conflict::Fail, "restorer").await.unwrap();
    assert_eq!(tags(&repository).await, ["v1"]);
    assert_consistent(&repository).await;
}

#[tokio::test]
async fn a_deleted_blob_is_restored() {
    let world = World::new();
    let (catalog, repository) = opened(&world).await;
    let digest = seed_blob(&repository, &"layer".into()).await.unwrap();
    let tombstone = repository.delete_blob(&digest, cause()).await.unwrap();
    catalog.trash().restore(&tombstone.id, Conflict::Fail, "restorer").await.unwrap();
    let link = repository.store.link(PathSpec::LayerLink(&repository.name, &digest), &digest).await.unwrap();
    assert_eq!(link, Some(digest));
    assert!(matches!(catalog.trash().get(&tombstone.id).await, Err(Error::TombstoneUnknown { .. })));
}

#[tokio::test]
async fn a_reference_brings_back_the_newest_entry() {
    let world = World::new();
    let (catalog, repository) = opened(&world).await;
    let trash = catalog.trash();
    let (app, v1) = (name("app"), reference("v1"));
    let first = image("first").push(&repository, Some("v1")).await.unwrap();
    delete(&repository, &first).await;
    let second = image("second").push(&repository, Some("v1")).await.unwrap();
    delete(&repository, &second).await;
    let restored = trash.restore_reference(&app, &v1, Conflict::Fail, "restorer").await.unwrap();
    assert_eq!((&restored.digest, restored.already_present), (&second, false));
    let present = trash.restore_reference(&app, &v1, Conflict::Fail, "restorer").await.unwrap();
    assert_eq!((&present.digest, present.already_present), (&second, true));
    let by_digest = trash.restore_reference(&app, &by(&first), Conflict::Fail, "restorer").await.unwrap();
    assert_eq!((&by_digest.digest, &by_digest.tags[..]), (&first, &[][..]), "the tag stays where it is");
    assert_eq!(repository.stat_manifest(&v1).await.unwrap().digest, second);
    let nothing = trash.restore_reference(&app, &reference("v9"), Conflict::Fail, "restorer").await;
    assert!(matches!(nothing, Err(Error::NotInTrash { .. })));
}

#[tokio::test]
async fn what_has_expired_cannot_be_restored() {
    let world = World::new();
    let (catalog, repository) = opened(&world).await;
    let digest = image("a").push(&repository, Some("v1")).await.unwrap();
    let tombstone = delete(&repository, &digest).await;
    assert_eq!(tombstone.restorable_until.duration_since(tombstone.deleted_at).as_hours(), 24);
    world.clock.advance(world.options.restore_window.saturating_sub(Duration::from_secs(1)));
    assert!(catalog.trash().get(&tombstone.id).await.is_ok());
    world.clock.advance(Duration::from_secs(1));
    let expired = catalog.trash().restore(&tombstone.id, Conflict::Fail, "restorer").await;
    assert!(matches!(expired, Err(Error::TombstoneUnknown { .. })));
    let error = repository.manifest(&reference("v1")).await.unwrap_err();
    assert!(matches!(error, Error::ManifestUnknown { trash: None, .. }), "it is not offered any more: {error:?}");
}

#[tokio::test]
async fn a_restore_brings_nothing_of_another_repository() {
    let world = World::new();
    let (catalog, repository) = opened(&world).await;
    let other = catalog.repository(&name("other"));
    let secret = image("secret");
    secret.push(&other, None).await.unwrap();
    // As a registry leaves it that accepts indexes whose children it does not have.
    let index = index(&[&secret]);
    let digest = seed_blob(&repository, &index).await.unwrap();
    repository.store.put_link(PathSpec::RevisionLink(&repository.name, &digest), &digest).await.unwrap();
    let tombstone = delete(&repository, &digest).await;
    let restored = catalog.trash().restore(&tombstone.id, Conflict::Fail, "restorer").await.unwrap();
    assert_eq!(restored.manifests, [digest]);
    assert!(!is_there(&repository, &by(&secret.digest())).await);
    for blob in secret.blobs() {
        let found = repository.stat_blob(&sha256(&blob), Audience::Puller).await;
        assert!(matches!(found, Err(Error::BlobUnknown { .. })), "{found:?}");
    }
}

#[tokio::test]
async fn restores_of_the_same_reference_at_once_all_find_it_restored() {
    let world = World::new();
    let (catalog, repository) = opened(&world).await;
    let digest = image("a").push(&repository, Some("v1")).await.unwrap();
    delete(&repository, &digest).await;
    let (trash, v1) = (catalog.trash(), reference("v1"));
    let restores = (0..12).map(|_| trash.restore_reference(&repository.name, &v1, Conflict::Fail, "restorer"));
    let restored = future::try_join_all(restores).await.unwrap();
    assert!(restored.iter().all(|restored| restored.digest == digest));
    assert_eq!(restored.iter().filter(|restored| !restored.already_present).count(), 1);
}

#[tokio::test]
async fn what_is_longer_than_any_manifest_is_not_read_as_one() {
    let world = World::new();
    let repository = world.repository("app").await;
    let bytes = vec![b' '; (64 << 20) + 1].into();
    let digest = seed_blob(&repository, &bytes).await.unwrap();
    assert!(repository.store.manifest_bytes(&digest).await.unwrap().is_none());
}

#[tokio::test]
async fn content_that_goes_while_a_restore_waits_is_missed() {
    let world = World::new();
    let (catalog, repository) = opened(&world).await;
    let image = image("a");
    let digest = image.push(&repository, Some("v1")).await.unwrap();
    let tombstone = delete(&repository, &digest).await;
    let held = world.driver.hold(|path| path.as_str().starts_with("lagan/v1/pending/"));
    let trash = catalog.trash();
    let going = async {
        held.reached.await.unwrap();
        for blob in image.blobs() {
            world.memory.remove_now(&PathSpec::BlobData(&sha256(&blob)).path());
        }
        held.go.send(()).unwrap();
    };
    let (restored, ()) = tokio::join!(trash.restore(&tombstone.id, Conflict::Fail, "restorer"), going);
    assert!(matches!(&restored, Err(Error::ContentGone { missing }) if missing.len() == 3), "{restored:?}");
    assert!(!is_there(&repository, &by(&digest)).await);
}
