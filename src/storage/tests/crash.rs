//! A crash at every write, and what the next process makes of it.

use std::sync::Arc;

use crate::storage::{
    Conflict, Error, Repository, Tombstone, TrashFilter,
    driver::faulty::Fault,
    fixtures::{World, name},
};

use super::{Image, assert_consistent, by, cause, image, index, is_there, pending_count, put, reference, tags};

const FAULTS: [Fault; 2] = [Fault::Refused, Fault::Ambiguous];

/// More writes than any single operation here makes: a test that gets there never ends.
const MAX_WRITES: u64 = 100;

/// The process is gone, what was not durable too, and another one starts.
async fn restart(world: &World) -> Repository {
    world.driver.heal();
    world.memory.crash();
    let repository = world.repository("app").await;
    assert_eq!(pending_count(world).await, 0, "everything that had begun is over");
    repository
}

async fn trash(world: &World) -> Vec<Tombstone> {
    world.open().await.trash().list(&TrashFilter::default(), None, 1000).await.unwrap().entries
}

/// Whether the two tags and the manifest are there; they are so together.
async fn all_or_nothing(repository: &Repository, image: &Image) -> bool {
    let digest = is_there(repository, &by(&image.digest())).await;
    for tag in ["v1", "v2"] {
        assert_eq!(is_there(repository, &reference(tag)).await, digest, "{tag} and the manifest differ");
    }
    assert_eq!(tags(repository).await.is_empty(), !digest, "the list differs");
    digest
}

#[tokio::test]
async fn an_acknowledged_push_survives_a_crash_at_any_write() {
    for fault in FAULTS {
        for after in 0.. {
            assert!(after < MAX_WRITES);
            let world = World::new();
            let repository = world.repository("app").await;
            let (old, new) = (image("old"), image("new"));
            old.push(&repository, Some("v1")).await.unwrap();
            new.push(&repository, None).await.unwrap();
            let writes = world.driver.writes();
            world.driver.crash(after, fault);
            let pushed = repository.put_manifest(put(&new.bytes(), Some("v1"))).await;
            let is_over = world.driver.writes() - writes <= after;
            let repository = restart(&world).await;
            assert_consistent(&repository).await;
            let points_to = repository.stat_manifest(&reference("v1")).await.unwrap().digest;
            if pushed.is_ok() {
                assert_eq!(points_to, new.digest(), "after {after} writes, {fault:?}");
            } else {
                assert!([old.digest(), new.digest()].contains(&points_to));
            }
            assert!(is_there(&repository, &by(&old.digest())).await);
            if is_over {
                assert!(pushed.is_ok());
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_crash_during_a_delete_leaves_all_of_it_or_nothing() {
    for fault in FAULTS {
        for after in 0.. {
            assert!(after < MAX_WRITES);
            let world = World::new();
            let repository = world.repository("app").await;
            let image = image("a");
            for tag in ["v1", "v2"] {
                image.push(&repository, Some(tag)).await.unwrap();
            }
            let writes = world.driver.writes();
            world.driver.crash(after, fault);
            let deleted = repository.delete_manifest(&by(&image.digest()), cause()).await;
            let is_over = world.driver.writes() - writes <= after;
            let repository = restart(&world).await;
            let is_there = all_or_nothing(&repository, &image).await;
            assert!(deleted.is_err() || !is_there, "after {after} writes, {fault:?}");
            let trash = trash(&world).await;
            assert_eq!(trash.is_empty(), is_there, "what is gone, and only that, is in the trash");
            if let [tombstone] = &trash[..] {
                world.open().await.trash().restore(&tombstone.id, Conflict::Fail, "restorer").await.unwrap();
                assert!(all_or_nothing(&repository, &image).await);
            }
            if is_over {
                assert!(deleted.is_ok());
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_crash_during_the_recovery_of_a_delete_is_recovered_from() {
    for after in 0.. {
        assert!(after < MAX_WRITES);
        let world = World::new();
        let repository = world.repository("app").await;
        let image = image("a");
        for tag in ["v1", "v2"] {
            image.push(&repository, Some(tag)).await.unwrap();
        }
        // The tombstone stands and the revision is gone; the tags are not.
        world.driver.crash(6, Fault::Refused);
        repository.delete_manifest(&by(&image.digest()), cause()).await.unwrap_err();
        let writes = world.driver.writes();
        world.driver.crash(after, Fault::Refused);
        let _ = crate::storage::Catalog::open(world.driver.clone(), world.options.clone(), world.clock.clone()).await;
        let is_over = world.driver.writes() - writes <= after;
        let repository = restart(&world).await;
        assert!(!all_or_nothing(&repository, &image).await, "after {after} writes");
        if is_over {
            break;
        }
    }
}

#[tokio::test]
async fn a_crash_during_a_restore_can_be_asked_for_again() {
    for fault in FAULTS {
        for after in 0.. {
            assert!(after < MAX_WRITES);
            let world = World::new();
            let repository = world.repository("app").await;
            let child = image("child");
            child.push(&repository, None).await.unwrap();
            let index = index(&[&child]);
            let digest = repository.put_manifest(put(&index, Some("v1"))).await.unwrap();
            let tombstone = repository.delete_manifest(&by(&digest), cause()).await.unwrap();
            repository.delete_manifest(&by(&child.digest()), cause()).await.unwrap();
            let writes = world.driver.writes();
            world.driver.crash(after, fault);
            let catalog = world.open().await;
            let trash = catalog.trash();
            let restored = trash.restore(&tombstone.id, Conflict::Fail, "restorer").await;
            let is_over = world.driver.writes() - writes <= after;
            let repository = restart(&world).await;
            assert_consistent(&repository).await;
            let again = world.open().await.trash().restore(&tombstone.id, Conflict::Fail, "restorer").await;
            assert!(
                matches!(&again, Ok(_) | Err(Error::TombstoneUnknown { .. })),
                "after {after} writes, {fault:?}: {again:?}"
            );
            assert!(again.is_err() || restored.is_err(), "a restored entry leaves the trash");
            for reference in [reference("v1"), by(&digest), by(&child.digest())] {
                assert!(is_there(&repository, &reference).await, "{reference} after {after} writes, {fault:?}");
            }
            assert_consistent(&repository).await;
            if is_over {
                assert!(restored.is_ok());
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_delete_that_failed_once_does_not_get_in_the_way() {
    for fault in FAULTS {
        for after in 0.. {
            assert!(after < MAX_WRITES);
            let world = World::new();
            let repository = world.repository("app").await;
            let image = image("a");
            for tag in ["v1", "v2"] {
                image.push(&repository, Some(tag)).await.unwrap();
            }
            let writes = world.driver.writes();
            world.driver.fail_once(after, fault);
            let deleted = repository.delete_manifest(&by(&image.digest()), cause()).await;
            let is_over = world.driver.writes() - writes <= after;
            world.driver.heal();
            let is_there = all_or_nothing(&repository, &image).await;
            assert_eq!(deleted.is_err(), is_there, "after {after} writes, {fault:?}: {deleted:?}");
            // Nothing is frozen any more, and nothing that began before undoes this.
            image.push(&repository, Some("v3")).await.unwrap();
            let repository = restart(&world).await;
            assert!(super::is_there(&repository, &reference("v3")).await);
            if is_over {
                break;
            }
        }
    }
}

/// A repository with an image whose delete wrote its tombstone, and cannot go on before the driver is healed.
async fn delete_that_is_stuck(world: &World, image: &Image) -> Repository {
    let repository = world.repository("app").await;
    for tag in ["v1", "v2"] {
        image.push(&repository, Some(tag)).await.unwrap();
    }
    let tombstone_stands = 6;
    world.driver.crash(tombstone_stands, Fault::Refused);
    repository.delete_manifest(&by(&image.digest()), cause()).await.unwrap_err();
    repository
}

#[tokio::test]
async fn a_delete_that_is_stuck_keeps_its_keys_until_it_is_over() {
    let world = World::new();
    let image = image("a");
    let repository = delete_that_is_stuck(&world, &image).await;
    assert_eq!(tags(&repository).await, [""; 0], "what is half deleted is not listed");
    let push = repository.put_manifest(put(&image.bytes(), Some("v1"))).await;
    assert!(matches!(push, Err(Error::Frozen { .. })), "a push over it would be undone by the next start: {push:?}");
    world.driver.heal();
    repository.put_manifest(put(&image.bytes(), Some("v1"))).await.unwrap();
    assert_eq!(tags(&repository).await, ["v1"]);
    let repository = restart(&world).await;
    assert_eq!(tags(&repository).await, ["v1"]);
}

#[tokio::test]
async fn a_delete_that_is_stuck_is_ended_also_when_nobody_waits_for_it() {
    let world = World::new();
    let image = image("a");
    let repository = delete_that_is_stuck(&world, &image).await;
    world.driver.heal();
    let held = world.driver.hold(|_| true);
    let store = Arc::clone(&repository.store);
    let waiting = tokio::spawn(async move { store.settle_parked().await });
    held.reached.await.unwrap();
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    let _ = held.go.send(());
    repository.put_manifest(put(&image.bytes(), Some("v1"))).await.unwrap();
    assert_eq!(tags(&repository).await, ["v1"]);
}

#[tokio::test]
async fn a_pending_record_that_cannot_be_read_removes_nothing() {
    let world = World::new();
    let repository = world.repository("app").await;
    image("a").push(&repository, Some("v1")).await.unwrap();
    let id = ulid::Ulid::from_parts(1, 1);
    super::tear(&world, crate::storage::layout::PathSpec::Pending(id)).await;
    let repository = world.open().await.repository(&name("app"));
    assert!(is_there(&repository, &reference("v1")).await);
    assert_eq!(pending_count(&world).await, 1, "a person has to look at it");
}
