//! What is needed: by a manifest, by the trash, because it is young.

use crate::{
    oci::Algorithm,
    storage::{
        Audience, Conflict, TrashFilter,
        guard::pending::{Operation, Pending, Subject},
        tests::paths_below,
    },
};

use super::*;

#[tokio::test]
async fn what_is_young_stays() {
    let world = World::new();
    let repository = world.repository("app").await;
    let (old, young) = (orphan(&repository, "old").await, orphan(&repository, "refreshed").await);
    let bytes_alone = Bytes::from("no link yet");
    world.clock.advance(GRACE * 2);
    repository.stat_blob(&young, Audience::Pusher).await.unwrap();
    world.memory.put_now(&PathSpec::BlobData(&sha256(&bytes_alone)).path(), "no link yet");
    let catalog = world.open().await;
    let progress = collect(&catalog).await;
    assert_eq!(progress.garbage_blobs.get(), 1);
    assert!(!has_bytes(&catalog, &old).await);
    assert!(has_bytes(&catalog, &young).await, "somebody was told that it is there");
    assert!(has_bytes(&catalog, &sha256(&bytes_alone)).await, "its link may be about to be written");
}

#[tokio::test]
async fn an_age_that_lies_in_the_future_counts_as_young() {
    let world = World::new();
    let repository = world.repository("app").await;
    let (by_link, by_data) = (orphan(&repository, "link").await, orphan(&repository, "data").await);
    world.clock.advance(GRACE * 2);
    let future = crate::storage::Clock::now(&*world.clock) + SignedDuration::from_hours(1000);
    world.memory.touch(&PathSpec::LayerLink(&name("app"), &by_link).path(), future).await.unwrap();
    world.memory.touch(&PathSpec::BlobData(&by_data).path(), future).await.unwrap();
    let catalog = world.open().await;
    assert_eq!(collect(&catalog).await.removed_blobs.get(), 0);
    assert!(has_bytes(&catalog, &by_link).await && has_bytes(&catalog, &by_data).await);
}

#[tokio::test]
async fn a_tombstone_stays_until_its_delete_has_ended() {
    let world = World::new();
    let repository = world.repository("app").await;
    let image = image("a");
    image.push(&repository, Some("v1")).await.unwrap();
    let tombstone = repository.delete_manifest(&by(&image.digest()), cause()).await.unwrap();
    let catalog = aged(&world).await;
    world.clock.advance(Duration::from_secs(24 * 60 * 60) * 2);
    for (id, resumes) in [(tombstone.id.0, None), (ulid::Ulid::from_parts(1, 1), Some(tombstone.id.0))] {
        let pending = Pending {
            operation: Operation::Delete,
            repository: Some(name("app")),
            subject: Some(Subject { kind: tombstone.kind, digest: image.digest() }),
            manifests: Vec::new(),
            tags: tombstone.tags.clone(),
            blobs: Vec::new(),
            policy: None,
            replica: None,
            resumes,
        };
        catalog.store.put_pending(id, &pending).await.unwrap();
        assert_eq!(
            collect(&catalog).await.tombstones_expired.get(),
            0,
            "who ends the delete finds out by it that it began"
        );
        catalog.store.remove_pending(id).await.unwrap();
    }
    assert_eq!(collect(&catalog).await.tombstones_expired.get(), 1);
}

#[tokio::test]
async fn what_is_in_the_trash_stays_until_ten_minutes_after_it_expired() {
    let world = World::new();
    let repository = world.repository("app").await;
    let image = image("a");
    image.push(&repository, Some("v1")).await.unwrap();
    repository.delete_manifest(&by(&image.digest()), cause()).await.unwrap();
    let catalog = aged(&world).await;
    assert_eq!(collect(&catalog).await.garbage_blobs.get(), 0);
    // The window is a day; two tenths of one have passed. The margin is a tenth of ten minutes.
    world.clock.advance(Duration::from_secs(24 * 60 * 60 + 50).saturating_sub(GRACE * 2));
    let progress = collect(&catalog).await;
    assert_eq!((progress.garbage_blobs.get(), progress.tombstones_expired.get()), (0, 0), "it expired just now");
    world.clock.advance(Duration::from_secs(20));
    let progress = collect(&catalog).await;
    assert_eq!((progress.removed_blobs.get(), progress.tombstones_expired.get()), (4, 1));
    assert_eq!(paths_below(&world.memory, "lagan/v1/trash"), Vec::<String>::new(), "and all that led to it");
    assert_ne!(paths_below(&world.memory, "lagan/v1/facts"), Vec::<String>::new(), "its history stays");
    assert_eq!(paths_below(&world.memory, "docker/registry/v2/blobs"), Vec::<String>::new());
    assert_eq!(paths_below(&world.memory, "docker/registry/v2/repositories"), Vec::<String>::new());
}

#[tokio::test]
async fn what_was_collected_around_can_be_restored() {
    let world = World::new();
    let repository = world.repository("app").await;
    let image = image("a");
    image.push(&repository, Some("v1")).await.unwrap();
    orphan(&repository, "orphan").await;
    repository.delete_manifest(&by(&image.digest()), cause()).await.unwrap();
    let catalog = aged(&world).await;
    assert_eq!(collect(&catalog).await.removed_blobs.get(), 1);
    let listed = catalog.trash().list(&TrashFilter::default(), None, 10).await.unwrap().entries;
    catalog.trash().restore(&listed[0].id, Conflict::Fail, "test").await.unwrap();
    let repository = catalog.repository(&name("app"));
    assert_consistent(&repository).await;
    assert_eq!(tags(&repository).await, ["v1"]);
}

#[tokio::test]
async fn what_an_index_lists_stays_also_where_it_was_deleted_by_itself() {
    let world = World::new();
    let repository = world.repository("app").await;
    let (first, second) = (image("first"), image("second"));
    for image in [&first, &second] {
        image.push(&repository, None).await.unwrap();
    }
    repository.put_manifest(put(&index(&[&first, &second]), Some("v1"))).await.unwrap();
    repository.delete_manifest(&by(&first.digest()), cause()).await.unwrap();
    world.clock.advance(PAST_THE_WINDOW);
    let catalog = world.open().await;
    let progress = collect(&catalog).await;
    assert_eq!((progress.garbage_blobs.get(), progress.tombstones_expired.get()), (0, 1));
    for digest in digests(&first) {
        assert!(has_bytes(&catalog, &digest).await, "the index needs {digest}");
    }
}

#[tokio::test]
async fn a_subject_is_not_needed_by_what_refers_to_it() {
    let world = World::new();
    let repository = world.repository("app").await;
    let subject = image("subject");
    subject.push(&repository, None).await.unwrap();
    let signature = image("signature").about(&subject.digest());
    signature.push(&repository, None).await.unwrap();
    repository.delete_manifest(&by(&subject.digest()), cause()).await.unwrap();
    world.clock.advance(PAST_THE_WINDOW);
    let catalog = world.open().await;
    collect(&catalog).await;
    assert!(!has_bytes(&catalog, &subject.digest()).await);
    for digest in digests(&signature) {
        assert!(has_bytes(&catalog, &digest).await);
    }
}

#[tokio::test]
async fn a_link_stays_where_another_repository_needs_the_blob() {
    let world = World::new();
    let (owner, other) = (world.repository("owner").await, world.repository("other").await);
    let image = image("a");
    image.push(&owner, Some("v1")).await.unwrap();
    let shared = seed_blob(&other, &image.blobs()[1]).await.unwrap();
    let catalog = aged(&world).await;
    assert_eq!(collect(&catalog).await.removed_blobs.get(), 0);
    assert!(has_layer_link(&catalog.repository(&name("other")), &shared).await);
}

#[tokio::test]
async fn the_links_of_all_repositories_go_with_a_blob() {
    let world = World::new();
    let content = Bytes::from("orphan of three");
    let mut links = Vec::new();
    for repository in ["a", "b", "c/d"] {
        let digest = seed_blob(&world.repository(repository).await, &content).await.unwrap();
        links.push(PathSpec::LayerLink(&name(repository), &digest).path());
    }
    let catalog = aged(&world).await;
    assert_eq!(collect(&catalog).await.removed_blobs.get(), 1);
    let left = world.memory.paths();
    assert!(links.iter().all(|link| !left.contains(link)), "{left:?}");
}

/// As stock distribution writes it: the link of a SHA-512 digest names content by its SHA-256.
async fn alias(world: &World, repository: &Repository, content: &Bytes) -> Digest {
    let digest = seed_blob(repository, content).await.unwrap();
    world.memory.remove_now(&PathSpec::LayerLink(&repository.name, &digest).path());
    let alias = Digest::of(Algorithm::Sha512, content);
    world.memory.put_now(&PathSpec::LayerLink(&repository.name, &alias).path(), &digest.to_string());
    alias
}

fn of_sha512(image: &Image) -> Bytes {
    let mut text = String::from_utf8(image.bytes().to_vec()).unwrap();
    for blob in image.blobs() {
        let long = Digest::of(Algorithm::Sha512, &blob);
        text = text.replace(&sha256(&blob).to_string(), &long.to_string());
    }
    Bytes::from(text)
}

#[tokio::test]
async fn content_of_two_addresses_is_needed_by_either() {
    let world = World::new();
    let repository = world.repository("app").await;
    let image = image("a");
    for blob in image.blobs() {
        alias(&world, &repository, &blob).await;
    }
    let manifest = repository.put_manifest(put(&of_sha512(&image), Some("v1"))).await.unwrap();
    let unused = Bytes::from("nobody needs it");
    let unused_alias = alias(&world, &repository, &unused).await;
    let catalog = aged(&world).await;
    let progress = collect(&catalog).await;
    assert_eq!(progress.removed_blobs.get(), 1);
    let repository = catalog.repository(&name("app"));
    assert!(!has_bytes(&catalog, &sha256(&unused)).await);
    assert!(!has_layer_link(&repository, &unused_alias).await);
    assert_consistent(&repository).await;
    repository.delete_manifest(&by(&manifest), cause()).await.unwrap();
    world.clock.advance(GRACE * 2);
    assert_eq!(collect(&catalog).await.removed_blobs.get(), 0, "what is in the trash is needed by either, too");
    world.clock.advance(PAST_THE_WINDOW);
    assert_eq!(collect(&catalog).await.removed_blobs.get(), 4);
}

#[tokio::test]
async fn an_address_that_stands_for_other_bytes_elsewhere_keeps_its_own() {
    let world = World::new();
    let repository = world.repository("app").await;
    let image = image("a");
    for blob in image.blobs() {
        alias(&world, &repository, &blob).await;
        // The same content, pushed here under the address by which the other registry linked it.
        let mut upload = world.repository("other").await.create_upload().await.unwrap();
        upload.append(blob.clone()).await.unwrap();
        upload.commit(&Digest::of(Algorithm::Sha512, &blob)).await.unwrap();
    }
    let manifest = put(&of_sha512(&image), Some("v1"));
    repository.put_manifest(manifest.clone()).await.unwrap();
    world.repository("other").await.put_manifest(manifest).await.unwrap();
    let catalog = aged(&world).await;
    assert_eq!(collect(&catalog).await.removed_blobs.get(), 0);
    assert_consistent(&catalog.repository(&name("app"))).await;
    assert_consistent(&catalog.repository(&name("other"))).await;
}

#[tokio::test]
async fn a_torn_link_stands_for_its_own_address() {
    let world = World::new();
    let repository = world.repository("app").await;
    let image = image("a");
    image.push(&repository, Some("v1")).await.unwrap();
    tear(&world, PathSpec::RevisionLink(&name("app"), &image.digest())).await;
    let young = orphan(&repository, "young").await;
    world.clock.advance(GRACE * 2);
    tear(&world, PathSpec::LayerLink(&name("app"), &young)).await;
    let catalog = world.open().await;
    assert_eq!(collect(&catalog).await.removed_blobs.get(), 0);
    assert_consistent(&catalog.repository(&name("app"))).await;
}
