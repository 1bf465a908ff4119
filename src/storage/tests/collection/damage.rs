//! What cannot be read, or makes no sense.

use crate::storage::tests::paths_below;

use super::*;

/// An image, and a blob that only a damaged manifest might need. All of it is old.
async fn with_an_orphan(world: &World) -> (Image, Digest) {
    let repository = world.repository("app").await;
    let image = image("a");
    image.push(&repository, Some("v1")).await.unwrap();
    let orphan = orphan(&repository, "orphan").await;
    world.clock.advance(GRACE * 2);
    (image, orphan)
}

async fn assert_all_is_kept(world: &World, orphan: &Digest, what: &str) {
    let catalog = world.open().await;
    let progress = collect(&catalog).await;
    assert_eq!(progress.removed_blobs.get(), 0, "{what}");
    assert!(has_bytes(&catalog, orphan).await, "{what}");
    assert!(progress.problem_count.get() > 0, "{what}");
    let problem = progress.problems().remove(0);
    assert_eq!(problem.repository, Some(name("app")), "{what}");
    assert!(
        problem.digest.is_some() && problem.message.contains("everything in its repository is kept"),
        "{problem:?}"
    );
}

#[tokio::test]
async fn a_manifest_that_cannot_be_understood_needs_all_that_its_repository_has() {
    for content in ["damaged", ""] {
        let world = World::new();
        let (image, orphan) = with_an_orphan(&world).await;
        world.memory.put_now(&PathSpec::BlobData(&image.digest()).path(), content);
        assert_all_is_kept(&world, &orphan, &format!("{content:?} in its place")).await;
    }
    let world = World::new();
    let (image, orphan) = with_an_orphan(&world).await;
    world.memory.remove_now(&PathSpec::BlobData(&image.digest()).path());
    assert_all_is_kept(&world, &orphan, "it is gone").await;
    let world = World::new();
    let (_, orphan) = with_an_orphan(&world).await;
    let unknown = Bytes::from(r#"{"schemaVersion":1,"name":"app","fsLayers":[]}"#);
    let digest = sha256(&unknown);
    world.memory.put_now(&PathSpec::BlobData(&digest).path(), r#"{"schemaVersion":1,"name":"app","fsLayers":[]}"#);
    world.memory.put_now(&PathSpec::RevisionLink(&name("app"), &digest).path(), &digest.to_string());
    assert_all_is_kept(&world, &orphan, "it is of another kind").await;
}

#[tokio::test]
async fn a_damaged_manifest_keeps_nothing_of_other_repositories() {
    let world = World::new();
    let (image, _) = with_an_orphan(&world).await;
    let elsewhere = orphan(&world.repository("other").await, "elsewhere").await;
    world.clock.advance(GRACE * 2);
    world.memory.put_now(&PathSpec::BlobData(&image.digest()).path(), "damaged");
    let catalog = world.open().await;
    assert_eq!(collect(&catalog).await.removed_blobs.get(), 1);
    assert!(!has_bytes(&catalog, &elsewhere).await);
}

#[tokio::test]
async fn the_same_damaged_manifest_keeps_what_each_of_its_repositories_has() {
    let world = World::new();
    let image = image("a");
    let mut orphans = Vec::new();
    for repository in ["one", "two"] {
        let repository = world.repository(repository).await;
        image.push(&repository, Some("v1")).await.unwrap();
        orphans.push(orphan(&repository, &format!("orphan of {}", repository.name)).await);
    }
    world.memory.put_now(&PathSpec::BlobData(&image.digest()).path(), "damaged");
    let catalog = aged(&world).await;
    assert_eq!(collect(&catalog).await.removed_blobs.get(), 0);
}

#[tokio::test]
async fn an_entry_of_the_trash_that_cannot_be_read_keeps_its_repository() {
    let world = World::new();
    let (image, orphan) = with_an_orphan(&world).await;
    let repository = world.repository("app").await;
    repository.delete_manifest(&by(&image.digest()), cause()).await.unwrap();
    let entries = world.memory.paths();
    let entry = entries.iter().find(|path| path.as_str().contains("/trash/app/_t/")).unwrap();
    world.memory.put_now(entry, "{");
    world.clock.advance(PAST_THE_WINDOW);
    assert_all_is_kept(&world, &orphan, "nobody knows what it needs, nor until when").await;
    for digest in digests(&image) {
        assert!(has_bytes(&world.open().await, &digest).await);
    }
}

#[tokio::test]
async fn foreign_files_are_left_alone() {
    let world = World::new();
    let (_, orphan) = with_an_orphan(&world).await;
    let foreign = [
        "docker/registry/v2/blobs/sha256/lost+found/x",
        "docker/registry/v2/blobs/sha256/README",
        "docker/registry/v2/blobs/md5/ab/abcdef/data",
        "docker/registry/v2/blobs/sha256/ab/not-a-digest/data",
        // In a folder that is not its own.
        "docker/registry/v2/blobs/sha256/00/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855/data",
        "docker/registry/v2/repositories/app/_layers/sha256/zz/link",
        "docker/registry/v2/repositories/app/_manifests/revisions/sha256/notes.txt",
        "docker/registry/v2/repositories/UPPER/_layers/sha256/x/link",
        "lagan/v1/trash/app/_t/nothing/here",
        "lagan/v1/intents/README",
        "lagan/v1/gc/README",
    ];
    for path in foreign {
        world.memory.put_now(&path.parse().unwrap(), "foreign");
    }
    world.clock.advance(PAST_THE_WINDOW);
    let catalog = world.open().await;
    let progress = collect(&catalog).await;
    assert_eq!((progress.removed_blobs.get(), progress.problem_count.get()), (1, 0));
    assert!(!has_bytes(&catalog, &orphan).await);
    let left = world.memory.paths();
    assert!(foreign.iter().all(|path| left.contains(&path.parse().unwrap())));
    assert_consistent(&catalog.repository(&name("app"))).await;
}

#[tokio::test]
async fn links_to_what_never_existed_are_in_nobodys_way() {
    let world = World::new();
    with_an_orphan(&world).await;
    let (never, nor) = (sha256(b"never"), Digest::of(crate::oci::Algorithm::Sha512, b"nor"));
    for digest in [&never, &nor] {
        world.memory.put_now(&PathSpec::LayerLink(&name("app"), digest).path(), &digest.to_string());
    }
    let catalog = aged(&world).await;
    let progress = collect(&catalog).await;
    assert_eq!((progress.removed_blobs.get(), progress.problem_count.get()), (1, 0));
    let repository = catalog.repository(&name("app"));
    assert!(has_layer_link(&repository, &never).await, "it is for a scrub to say");
    assert_consistent(&repository).await;
}

#[tokio::test]
async fn what_another_registry_pushes_is_counted() {
    let world = World::new();
    let catalog = world.open().await;
    catalog.adopt().await.unwrap();
    image("ours").push(&catalog.repository(&name("app")), Some("v1")).await.unwrap();
    assert!(Run::of(&catalog).collection.mark().await.unwrap().foreign().is_none());
    let foreign = image("theirs").bytes();
    let digest = sha256(&foreign);
    world.memory.put_now(&PathSpec::BlobData(&digest).path(), std::str::from_utf8(&foreign).unwrap());
    world.memory.put_now(&PathSpec::RevisionLink(&name("app"), &digest).path(), &digest.to_string());
    let marked = Run::of(&catalog).collection.mark().await.unwrap();
    let (count, first) = marked.foreign().unwrap();
    assert_eq!((count, &first.repository, &first.digest), (1, &name("app"), &digest));
}

#[tokio::test]
async fn a_restore_or_push_of_long_ago_leaves_no_intent_for_ever() {
    let world = World::new();
    let (old, young) = (ulid::Ulid::from(1), ulid::Ulid::from(2));
    world.memory.put_now(&PathSpec::Intent(old).path(), "{}");
    world.clock.advance(GRACE * 2);
    let catalog = world.open().await;
    collect(&catalog).await;
    assert_eq!(paths_below(&world.memory, "lagan/v1/intents"), Vec::<String>::new());
    world.memory.put_now(&PathSpec::Intent(young).path(), "{}");
    let error = Run::of(&catalog).to_its_end().await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "what it relies on is not known: {error:?}");
    world.memory.delete(&PathSpec::Intent(young).path()).await.unwrap();
    collect(&catalog).await;
}
