//! Reads that fail, writes that fail, and crashes.

use crate::storage::driver::faulty::Fault;

use super::*;

/// More reads or writes than any collection here makes.
const MAX_CALLS: u64 = 2_000;

/// Two images, one of them in the trash for too long, one in the trash, and orphans, one of them of two repositories.
async fn populated(world: &World) -> Vec<Image> {
    let repository = world.repository("app").await;
    let images: Vec<Image> = ["kept", "gone", "trashed"].map(image).into();
    for (image, tag) in images.iter().zip(["v1", "v2", "v3"]) {
        image.push(&repository, Some(tag)).await.unwrap();
    }
    for repository in [&repository, &world.repository("other").await] {
        seed_blob(repository, &Bytes::from("orphan of two")).await.unwrap();
    }
    repository.delete_manifest(&by(&images[1].digest()), cause()).await.unwrap();
    world.clock.advance(PAST_THE_WINDOW);
    repository.delete_manifest(&by(&images[2].digest()), cause()).await.unwrap();
    images
}

/// What must be so whatever happened, and what one more collection comes to.
async fn assert_nothing_is_lost(world: &World, images: &[Image]) {
    let catalog = world.open().await;
    let repository = catalog.repository(&name("app"));
    assert_consistent(&repository).await;
    collect(&catalog).await;
    for digest in digests(&images[0]).iter().chain(&digests(&images[2])) {
        assert!(has_bytes(&catalog, digest).await, "{digest} is needed");
    }
    for digest in digests(&images[1]).iter().chain([&sha256(b"orphan of two")]) {
        assert!(!has_bytes(&catalog, digest).await, "{digest} is garbage");
    }
    assert_consistent(&repository).await;
    let listed = catalog.trash().list(&crate::storage::TrashFilter::default(), None, 10).await.unwrap().entries;
    catalog.trash().restore(&listed[0].id, crate::storage::Conflict::Fail, "test").await.unwrap();
    assert_consistent(&repository).await;
    images[1].push(&repository, Some("v2")).await.unwrap();
    assert_consistent(&repository).await;
}

#[tokio::test]
async fn a_read_that_fails_ends_a_look_and_nothing_is_removed() {
    for after in 0..MAX_CALLS {
        let world = World::new();
        let images = populated(&world).await;
        let catalog = world.open().await;
        let run = Run::of(&catalog);
        let before = world.memory.paths();
        world.driver.fail_one_read(after);
        let marked = run.collection.mark().await;
        if !world.driver.has_failed_to_read() {
            assert!(after > 30, "it reads more than that");
            world.driver.fail_one_read(u64::MAX);
            assert_nothing_is_lost(&world, &images).await;
            return;
        }
        assert!(marked.is_err(), "read {after} failed, and nobody noticed");
        assert_eq!(world.memory.paths(), before);
    }
    panic!("it never ends");
}

#[tokio::test]
async fn a_read_that_fails_at_any_time_loses_nothing() {
    for after in 0..MAX_CALLS {
        let world = World::new();
        let images = populated(&world).await;
        let catalog = world.open().await;
        world.driver.fail_one_read(after);
        let ended = Run::of(&catalog).to_its_end().await;
        let is_over = !world.driver.has_failed_to_read();
        assert_eq!(ended.is_ok(), is_over, "read {after}");
        world.driver.fail_one_read(u64::MAX);
        assert!(catalog.store.guard.holders().is_empty(), "nothing stays frozen");
        assert_nothing_is_lost(&world, &images).await;
        if is_over {
            return;
        }
    }
    panic!("it never ends");
}

#[tokio::test]
async fn a_write_that_fails_at_any_time_loses_nothing() {
    for fault in [Fault::Refused, Fault::Full, Fault::Ambiguous] {
        for (after, crash) in (0..MAX_CALLS).flat_map(|after| [(after, false), (after, true)]) {
            let world = World::new();
            let images = populated(&world).await;
            let catalog = world.open().await;
            let writes = world.driver.writes();
            if crash {
                world.driver.crash(after, fault);
            } else {
                world.driver.fail_once(after, fault);
            }
            let ended = Run::of(&catalog).to_its_end().await;
            let is_over = world.driver.writes() - writes <= after;
            assert_eq!(ended.is_ok(), is_over, "write {after}, {fault:?}");
            assert!(catalog.store.guard.holders().is_empty(), "nothing stays frozen");
            world.driver.heal();
            if crash {
                world.memory.crash();
            }
            assert_nothing_is_lost(&world, &images).await;
            if is_over {
                assert!(after > 5, "it writes more than that");
                break;
            }
        }
    }
}
