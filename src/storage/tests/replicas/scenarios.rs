//! One thing at a time.

#![expect(clippy::large_futures, reason = "a test holds three replicas, and its stack has room")]

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;

use crate::{
    oci::{Algorithm, Digest, Manifest, MediaType, Reference},
    storage::{
        Audience, Conflict, Error, PutManifest,
        driver::{Durability, StorageDriver as _},
        fixtures::sha256,
        layout::PathSpec,
        tests::{by, cause, image, is_there, put, reference, seed_blob, tag, tags},
    },
};

use super::{
    simulator::{Process, World},
    time::Pulse,
};

pub(super) const ADDRESSES: [&str; 3] = ["one:1", "two:1", "three:1"];

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Three replicas that have joined, each of which has read an image under `v1`, and so remembers it.
pub(super) async fn started(world: &World) -> (Vec<Process>, Digest) {
    let processes = world.start_all(&ADDRESSES).await;
    let digest = image("a").push(&processes[0].repository(), Some("v1")).await.unwrap();
    for process in &processes {
        assert!(is_there(&process.repository(), &by(&digest)).await);
    }
    (processes, digest)
}

pub(super) async fn is_gone_everywhere(processes: &[Process], digest: &Digest) -> bool {
    for process in processes {
        for wanted in [by(digest), reference("v1")] {
            if is_there(&process.repository(), &wanted).await {
                return false;
            }
        }
    }
    true
}

pub(super) async fn simulate<T>(seed: u64, scenario: impl AsyncFnOnce(World) -> T) -> T {
    let world = World::new(seed);
    let time = world.time.clone();
    time.run(scenario(world)).await
}

#[tokio::test]
async fn a_delete_on_one_replica_is_seen_on_all_when_it_is_answered() {
    simulate(1, async |world| {
        let (processes, digest) = started(&world).await;
        processes[1].repository().delete_manifest(&by(&digest), cause()).await.unwrap();
        assert!(is_gone_everywhere(&processes, &digest).await);
        for process in &processes {
            assert_eq!(tags(&process.repository()).await, Vec::<String>::new());
            assert!(process.catalog.store.guard.holders().is_empty(), "all were told that it is over");
        }
        assert_eq!(world.keys("lagan/v1/pending"), Vec::<String>::new());
        assert_eq!(world.keys("lagan/v1/intents"), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_tag_that_is_moved_on_one_replica_is_read_on_another() {
    simulate(2, async |world| {
        let (processes, _) = started(&world).await;
        let moved = image("b").push(&processes[2].repository(), Some("v1")).await.unwrap();
        for process in &processes {
            let found = process.repository().stat_manifest(&reference("v1")).await.unwrap();
            assert_eq!(found.digest, moved);
        }
    })
    .await;
}

#[tokio::test]
async fn a_manifest_that_is_pushed_again_as_another_type_is_that_on_every_replica() {
    simulate(21, async |world| {
        let (processes, _) = started(&world).await;
        let inside = format!(r#""mediaType":"{}","config""#, MediaType::OCI_MANIFEST);
        let text = String::from_utf8(image("a").bytes().to_vec()).unwrap();
        let bytes = Bytes::from(text.replacen(&inside, r#""config""#, 1));
        assert!(bytes.len() < text.len(), "it does not say what it is");
        for (pusher, media_type) in [MediaType::OCI_MANIFEST, MediaType::DOCKER_MANIFEST].into_iter().enumerate() {
            let manifest = Manifest::parse(Some(&media_type.parse().unwrap()), &bytes).unwrap();
            let put = PutManifest { manifest, ..put(&bytes, None) };
            let digest = processes[pusher].repository().put_manifest(put).await.unwrap();
            for process in &processes {
                for _ in 0..2 {
                    let found = process.repository().stat_manifest(&by(&digest)).await.unwrap();
                    assert_eq!(found.media_type.as_str(), media_type);
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn content_that_a_link_of_another_registry_named_is_forgotten_when_it_is_pushed_again() {
    simulate(22, async |world| {
        let (processes, _) = started(&world).await;
        let content = Bytes::from("of two digests");
        let (name, repository) = (processes[0].repository().name().clone(), processes[0].repository());
        let (first, second) = (sha256(&content), Digest::of(Algorithm::Sha512, &content));
        seed_blob(&repository, &content).await.unwrap();
        repository.store.put_link(PathSpec::LayerLink(&name, &second), &first).await.unwrap();
        for process in &processes {
            process.repository().stat_blob(&second, Audience::Puller).await.unwrap();
        }
        let mut upload = repository.create_upload().await.unwrap();
        upload.append(content.clone()).await.unwrap();
        upload.commit(&second).await.unwrap();
        // As a collection does when no link names it any more.
        repository.store.driver.delete(&PathSpec::BlobData(&first).path()).await.unwrap();
        for process in &processes {
            let blob = process.repository().open_blob(&second).await.unwrap();
            let chunks: Vec<Bytes> = blob.stream(0..blob.size()).await.unwrap().try_collect().await.unwrap();
            assert_eq!(chunks.concat(), content);
        }
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_does_not_answer_is_waited_for_until_it_is_gone() {
    simulate(3, async |world| {
        let (processes, digest) = started(&world).await;
        let before = world.time.now();
        processes[2].set(Pulse::Paused);
        processes[0].repository().delete_manifest(&by(&digest), cause()).await.unwrap();
        let took = world.time.now().saturating_sub(before);
        assert!(took >= seconds(30), "it may have answered from memory for as long as its lease ran: {took:?}");
        assert!(took < seconds(120), "{took:?}");
        processes[2].set(Pulse::Running);
        assert!(is_gone_everywhere(&processes, &digest).await, "it has no lease, so it reads");
        processes[2].catalog.joined().await;
        assert!(is_gone_everywhere(&processes, &digest).await);
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_others_cannot_call_loses_its_memory_before_a_delete_is_answered() {
    simulate(4, async |world| {
        let (processes, digest) = started(&world).await;
        world.cut_calls(ADDRESSES[1], true);
        let id = processes[1].catalog.replica_id().unwrap();
        processes[0].repository().delete_manifest(&by(&digest), cause()).await.unwrap();
        assert_ne!(processes[1].catalog.replica_id(), Some(id), "it was evicted");
        assert!(is_gone_everywhere(&processes, &digest).await);
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_stays_cut_off_from_the_others_stays_away_and_comes_back() {
    simulate(13, async |world| {
        let (processes, _) = started(&world).await;
        world.cut_calls(ADDRESSES[1], true);
        let (began, mut slow) = (world.time.now(), 0);
        while world.time.now().saturating_sub(began) < seconds(20 * 60) {
            let digest = image("b").push(&processes[0].repository(), None).await.unwrap();
            let asked = world.time.now();
            processes[0].repository().delete_manifest(&by(&digest), cause()).await.unwrap();
            slow += u32::from(world.time.now().saturating_sub(asked) > seconds(10));
            world.time.sleep(seconds(3)).await;
        }
        assert!((3..=12).contains(&slow), "{slow} deletes waited for it");
        world.cut_calls(ADDRESSES[1], false);
        world.time.sleep(seconds(6 * 60)).await;
        assert!(processes[1].catalog.replica_id().is_some(), "it looks again now and then");
    })
    .await;
}

#[tokio::test]
async fn a_replica_without_a_lease_promises_nothing_and_reads_the_store() {
    simulate(5, async |world| {
        let (processes, digest) = started(&world).await;
        let cut_off = &processes[2];
        let blob = image("a").blobs()[0].clone();
        let blob = seed_blob(&cut_off.repository(), &blob).await.unwrap();
        world.cut_store(&cut_off.address, true);
        world.time.sleep(seconds(40)).await;
        assert_eq!(cut_off.catalog.replica_id(), None);
        assert!(!cut_off.catalog.is_left_behind(), "for a moment without a lease it stays where clients find it");
        let repository = cut_off.repository();
        for refused in [
            repository.stat_blob(&blob, Audience::Pusher).await.err(),
            repository.mount_blob(&blob, repository.name()).await.err(),
            repository.put_manifest(put(&image("a").bytes(), Some("v1"))).await.err(),
            repository.delete_manifest(&by(&digest), cause()).await.err(),
        ] {
            assert!(matches!(refused, Some(Error::NoLease | Error::Driver { .. })), "{refused:?}");
        }
        assert!(repository.stat_manifest(&by(&digest)).await.is_err(), "it remembers it, and must not say so");
        world.time.sleep(seconds(30)).await;
        assert!(cut_off.catalog.is_left_behind());
        assert!(processes[..2].iter().all(|process| !process.catalog.is_left_behind()));
        world.cut_store(&cut_off.address, false);
        assert!(is_there(&repository, &by(&digest)).await, "what it reads from the store it may answer");
        cut_off.catalog.joined().await;
        assert!(!cut_off.catalog.is_left_behind());
        repository.stat_blob(&blob, Audience::Pusher).await.unwrap();
        repository.put_manifest(put(&image("a").bytes(), Some("v2"))).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_push_on_one_replica_waits_for_a_delete_on_another() {
    simulate(6, async |world| {
        let (processes, digest) = started(&world).await;
        let by_digest = by(&digest);
        let (deleter, pusher) = (processes[0].repository(), processes[2].repository());
        let delete = deleter.delete_manifest(&by_digest, cause());
        let push = async {
            // As soon as the delete is known there.
            while processes[2].catalog.store.guard.holders().is_empty() {
                world.time.sleep(Duration::from_millis(5)).await;
            }
            pusher.put_manifest(put(&image("a").bytes(), Some("v2"))).await
        };
        let (deleted, pushed) = tokio::join!(delete, push);
        deleted.unwrap();
        pushed.unwrap();
        for process in &processes {
            assert!(is_there(&process.repository(), &by(&digest)).await, "it came after the delete");
            assert_eq!(tags(&process.repository()).await, ["v2"]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_joins_during_a_delete_takes_part_in_it() {
    for seed in 0..20 {
        simulate(seed, async |world| {
            let (processes, digest) = started(&world).await;
            let by_digest = by(&digest);
            let deleter = processes[0].repository();
            let join = async {
                world.time.sleep(world.chance.up_to(seconds(1))).await;
                let joiner = world.start("four:1");
                joiner.catalog.joined().await;
                let _ = joiner.repository().stat_manifest(&by_digest).await;
                joiner
            };
            let (deleted, joiner) = tokio::join!(deleter.delete_manifest(&by_digest, cause()), join);
            deleted.unwrap();
            assert!(!is_there(&joiner.repository(), &by_digest).await, "seed {seed}");
            world.time.sleep(seconds(12)).await;
            assert!(joiner.catalog.store.guard.holders().is_empty(), "seed {seed}: it sees that the delete is over");
            image("a").push(&joiner.repository(), Some("v3")).await.unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn a_freeze_whose_thaw_was_lost_ends_with_its_key() {
    simulate(8, async |world| {
        let (processes, digest) = started(&world).await;
        let other = &processes[1];
        let deleter = processes[0].repository();
        let by_digest = by(&digest);
        let cut = async {
            while world
                .keys("docker/registry/v2/repositories/app/_manifests/revisions")
                .iter()
                .any(|k| k.ends_with("link"))
            {
                world.time.sleep(Duration::from_millis(5)).await;
            }
            // After the clear, which was on its way: until then the delete goes on asking.
            while !world.keys("lagan/v1/pending").is_empty() {
                world.time.sleep(Duration::from_millis(1)).await;
            }
            world.cut_calls(&other.address, true);
        };
        let (deleted, ()) = tokio::join!(deleter.delete_manifest(&by_digest, cause()), cut);
        deleted.unwrap();
        world.time.sleep(seconds(6)).await;
        assert!(other.catalog.store.guard.holders().is_empty());
        image("a").push(&other.repository(), Some("v1")).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_delete_of_a_replica_that_died_is_finished_or_dropped_by_another() {
    let (mut finished, mut dropped) = (0, 0);
    for seed in 0..40 {
        simulate(seed, async |world| {
            let (processes, digest) = started(&world).await;
            let dying = &processes[0];
            let (deleter, by_digest) = (dying.repository(), by(&digest));
            let death = async {
                world.time.sleep(Duration::from_millis(seed * 60)).await;
                dying.set(Pulse::Dead);
            };
            let delete = dying.client(&world, deleter.delete_manifest(&by_digest, cause()));
            let (deleted, ()) = tokio::join!(delete, death);
            world.time.sleep(seconds(20)).await;
            let pending = world.keys("lagan/v1/pending").len();
            world.time.sleep(seconds(130)).await;
            assert_eq!(world.keys("lagan/v1/pending"), Vec::<String>::new(), "seed {seed}");
            let rest = &processes[1..];
            let gone = !is_there(&rest[0].repository(), &by_digest).await;
            assert!(gone || deleted.is_none(), "seed {seed}: it was answered");
            for process in rest {
                for wanted in [by_digest.clone(), reference("v1")] {
                    assert_eq!(is_there(&process.repository(), &wanted).await, !gone, "seed {seed}");
                }
                assert_eq!(tags(&process.repository()).await.is_empty(), gone, "seed {seed}");
                assert!(process.catalog.store.guard.holders().is_empty(), "seed {seed}");
            }
            let in_the_trash = world.keys("lagan/v1/trash");
            assert_eq!(in_the_trash.is_empty(), !gone, "seed {seed}: {in_the_trash:?}");
            if pending > 0 && deleted.is_none() {
                *(if gone { &mut finished } else { &mut dropped }) += 1;
            }
            image("a").push(&rest[1].repository(), Some("v2")).await.unwrap();
            assert!(world.keys("lagan/v1/replicas").len() == 2, "seed {seed}: the dead one's key is removed");
        })
        .await;
    }
    assert!(finished > 0 && dropped > 0, "both were seen: {finished} finished, {dropped} dropped");
}

#[tokio::test]
async fn a_replica_that_leaves_in_order_is_not_waited_for() {
    simulate(10, async |world| {
        let (processes, digest) = started(&world).await;
        processes[1].catalog.leave().await;
        processes[1].set(Pulse::Dead);
        assert_eq!(world.keys("lagan/v1/replicas").len(), 2);
        let before = world.time.now();
        processes[0].repository().delete_manifest(&by(&digest), cause()).await.unwrap();
        assert!(world.time.now().saturating_sub(before) < seconds(5));
    })
    .await;
}

#[tokio::test]
async fn a_replica_tells_an_open_collection_what_it_had_touched_when_it_leaves() {
    simulate(11, async |world| {
        let epoch = ulid::Ulid::from(77_u128);
        let open = format!("lagan/v1/gc/{epoch}/open").parse().unwrap();
        world.memory.put(&open, "{}".into(), Durability::Durable).await.unwrap();
        let processes = world.start_all(&ADDRESSES).await;
        let id = processes[1].catalog.replica_id().unwrap();
        let digest = image("a").push(&processes[1].repository(), Some("v1")).await.unwrap();
        processes[1].catalog.leave().await;
        let left: Vec<Digest> = processes[0].catalog.store.record(PathSpec::Left(epoch, id)).await.unwrap().unwrap();
        assert!(left.contains(&digest), "{left:?}");
        assert!(left.len() == 1 + image("a").blobs().len(), "{left:?}");
    })
    .await;
}

#[tokio::test]
async fn a_restore_on_one_replica_is_seen_on_all() {
    simulate(12, async |world| {
        let (processes, digest) = started(&world).await;
        let id = processes[0].repository().delete_manifest(&by(&digest), cause()).await.unwrap().id;
        assert!(is_gone_everywhere(&processes, &digest).await);
        let restored = processes[2].catalog.trash().restore(&id, Conflict::Fail, "restorer").await.unwrap();
        assert_eq!(restored.tags, [tag("v1")]);
        for process in &processes {
            assert!(is_there(&process.repository(), &Reference::Tag(tag("v1"))).await);
        }
        assert_eq!(world.keys("lagan/v1/pending").len() + world.keys("lagan/v1/intents").len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_restore_whose_replica_died_is_dropped_and_can_be_asked_for_again() {
    for seed in 0..20 {
        simulate(seed, async |world| {
            let (processes, digest) = started(&world).await;
            let id = processes[0].repository().delete_manifest(&by(&digest), cause()).await.unwrap().id;
            let dying = &processes[0];
            let trash = dying.catalog.trash();
            let restore = dying.client(&world, trash.restore(&id, Conflict::Fail, "restorer"));
            let death = async {
                world.time.sleep(Duration::from_millis(100 + seed * 70)).await;
                dying.set(Pulse::Dead);
            };
            let (restored, ()) = tokio::join!(restore, death);
            world.time.sleep(seconds(150)).await;
            assert_eq!(world.keys("lagan/v1/pending"), Vec::<String>::new(), "seed {seed}");
            for shown in tags(&processes[1].repository()).await {
                assert!(is_there(&processes[1].repository(), &reference(&shown)).await, "seed {seed}: {shown}");
            }
            let again = processes[1].catalog.trash().restore(&id, Conflict::Fail, "restorer").await;
            let was_over = restored.is_some() || matches!(again, Err(Error::TombstoneUnknown { .. }));
            assert!(was_over || again.is_ok(), "seed {seed}: {again:?}");
            for process in &processes[1..] {
                assert!(is_there(&process.repository(), &reference("v1")).await, "seed {seed}");
            }
        })
        .await;
    }
}
