//! Collection on one replica while the others push, leave, and die.

#![expect(clippy::large_futures, reason = "a test holds three replicas, and its stack has room")]

use bytes::Bytes;
use jiff::SignedDuration;

use crate::{
    oci::Digest,
    storage::{
        Audience, Catalog, Clock as _, Error, Holder, SweepEnd,
        driver::StorageDriver as _,
        fixtures::sha256,
        layout::PathSpec,
        tests::{
            Image, assert_consistent, by, cause,
            collection::{Run, make_old},
            image, is_there, put, seed_blob,
        },
    },
};

use super::{
    scenarios::{ADDRESSES, seconds, simulate},
    simulator::{Hiccup, Process, World, Write},
    time::Pulse,
};

/// Three replicas, an image under `v1`, and the blobs of one whose manifest was never pushed. All of it is old.
async fn with_garbage(world: &World) -> (Vec<Process>, Image, Image) {
    let processes = world.start_all(&ADDRESSES).await;
    let (kept, half) = (image("kept"), image("half"));
    kept.push(&processes[0].repository(), Some("v1")).await.unwrap();
    for blob in half.blobs() {
        seed_blob(&processes[0].repository(), &blob).await.unwrap();
    }
    make_old(&world.memory).await;
    (processes, kept, half)
}

fn has_bytes(world: &World, digest: &Digest) -> bool {
    world.memory.paths().contains(&PathSpec::BlobData(digest).path())
}

async fn commit(process: &Process, content: &Bytes) -> Result<Digest, Error> {
    let mut upload = process.repository().create_upload().await?;
    upload.append(content.clone()).await?;
    Ok(upload.commit(&sha256(content)).await?.digest)
}

/// No collection is under way: nothing is frozen, and nobody notes what is touched. Markers of one that is closed may be
/// left, or land late; the next one removes them.
fn assert_over(world: &World, processes: &[Process]) {
    let keys = world.keys("lagan/v1/gc");
    for open in keys.iter().filter(|key| key.ends_with("/open") || key.contains("/sealed-")) {
        let epoch = open.rsplit_once('/').unwrap().0;
        assert!(keys.contains(&format!("{epoch}/closed")), "{open} is open");
    }
    for process in processes.iter().filter(|process| process.is_running()) {
        let guard = &process.catalog.store.guard;
        assert!(guard.holders().is_empty() && guard.touched().is_empty(), "{} is still at it", process.address);
    }
}

async fn assert_the_next_one_leaves_nothing(world: &World, process: &Process) {
    collect(&process.catalog).await;
    assert_eq!(world.keys("lagan/v1/gc"), Vec::<String>::new());
    assert_consistent(&process.repository()).await;
}

/// A push by a client, blobs first; what was promised is so.
async fn assert_can_push(processes: &[Process], image: &Image) {
    let pusher = processes.iter().find(|process| process.is_running()).unwrap();
    for blob in image.blobs() {
        if pusher.repository().stat_blob(&sha256(&blob), Audience::Pusher).await.is_err() {
            commit(pusher, &blob).await.unwrap();
        }
    }
    pusher.repository().put_manifest(put(&image.bytes(), Some("v2"))).await.unwrap();
    assert_consistent(&pusher.repository()).await;
}

async fn collect(catalog: &Catalog) -> Run {
    let run = Run::of(catalog);
    run.to_its_end().await.unwrap();
    run
}

#[tokio::test]
async fn a_promise_of_a_replica_whose_clock_is_behind_holds_as_long_as_any() {
    simulate(1, async |world| {
        let (processes, _, half) = with_garbage(&world).await;
        let [slow, fast, ..] = processes.as_slice() else { panic!("three replicas") };
        let digest = sha256(&half.blobs()[0]);
        let link = PathSpec::LayerLink(slow.repository().name(), &digest).path();
        let timing = &slow.catalog.store.timing;
        let (half_grace, skew) = (timing.grace / 2, SignedDuration::try_from(timing.clock_skew).unwrap());
        let written_at = fast.clock.now() - half_grace - seconds(1);
        world.memory.touch(&link, written_at).await.unwrap();
        slow.clock.set_ahead(-skew);
        slow.repository().stat_blob(&digest, Audience::Pusher).await.unwrap();
        let age = world.memory.stat(&link).await.unwrap().modified;
        assert!(age >= fast.clock.now() - skew - seconds(60), "it is as young as that clock could make it: {age}");
    })
    .await;
}

#[tokio::test]
async fn a_replica_whose_clock_is_too_far_off_is_named() {
    simulate(1, async |world| {
        let processes = world.start_all(&ADDRESSES).await;
        let [collector, other, ..] = processes.as_slice() else { panic!("three replicas") };
        let skew = SignedDuration::try_from(collector.catalog.store.timing.clock_skew).unwrap();
        let off_time = async || Run::of(&collector.catalog).collection.replica_off_time().await.unwrap();
        for (ahead, is_off) in [(skew, false), (-skew, false), (skew * 2, true), (-skew * 2, true)] {
            other.clock.set_ahead(ahead);
            // Its next sign of life says so.
            world.time.sleep(seconds(10)).await;
            let found = off_time().await;
            assert_eq!(found.map(|(address, _)| address), is_off.then(|| other.address.clone()), "{ahead}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_nothing_needs_goes_and_every_replica_forgets_it() {
    simulate(1, async |world| {
        let (processes, kept, half) = with_garbage(&world).await;
        for process in &processes {
            for blob in half.blobs() {
                process.repository().stat_blob(&sha256(&blob), Audience::Puller).await.unwrap();
            }
        }
        let run = collect(&processes[1].catalog).await;
        assert_eq!((run.progress.removed_blobs.get(), run.progress.kept.get()), (3, 0));
        for process in &processes {
            for blob in half.blobs() {
                let found = process.repository().stat_blob(&sha256(&blob), Audience::Puller).await;
                assert!(found.is_err(), "{} remembers it", process.address);
            }
            assert!(is_there(&process.repository(), &by(&kept.digest())).await);
        }
        // Replicas forget what they noted when they see that it is over.
        world.time.sleep(seconds(10)).await;
        assert_over(&world, &processes);
        assert_can_push(&processes, &half).await;
    })
    .await;
}

#[tokio::test]
async fn what_another_replica_promised_stays() {
    simulate(2, async |world| {
        let (processes, _, half) = with_garbage(&world).await;
        let blobs = half.blobs();
        let run = Run::of(&processes[0].catalog);
        let mut epoch = run.collection.open_epoch().await.unwrap();
        processes[1].repository().stat_blob(&sha256(&blobs[0]), Audience::Pusher).await.unwrap();
        make_old(&world.memory).await;
        let marked = run.collection.mark().await.unwrap();
        processes[2].repository().stat_blob(&sha256(&blobs[1]), Audience::Pusher).await.unwrap();
        make_old(&world.memory).await;
        assert_eq!(run.sweep(&mut epoch, &marked).await.unwrap(), SweepEnd::Done);
        epoch.close(&run.stop).await.unwrap();
        assert_eq!((run.progress.removed_blobs.get(), run.progress.kept.get()), (1, 2));
        assert!(has_bytes(&world, &sha256(&blobs[0])) && has_bytes(&world, &sha256(&blobs[1])));
        assert_can_push(&processes, &half).await;
    })
    .await;
}

#[tokio::test]
async fn what_a_replica_had_touched_stays_when_it_left_in_order() {
    simulate(3, async |world| {
        let (processes, _, half) = with_garbage(&world).await;
        let promised = sha256(&half.blobs()[0]);
        let run = Run::of(&processes[0].catalog);
        let mut epoch = run.collection.open_epoch().await.unwrap();
        let marked = run.collection.mark().await.unwrap();
        processes[2].repository().stat_blob(&promised, Audience::Pusher).await.unwrap();
        make_old(&world.memory).await;
        processes[2].catalog.leave().await;
        assert_eq!(run.sweep(&mut epoch, &marked).await.unwrap(), SweepEnd::Done);
        epoch.close(&run.stop).await.unwrap();
        assert!(has_bytes(&world, &promised), "it told what it had touched");
        assert_eq!(run.progress.removed_blobs.get(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_epoch_ends_when_a_replica_dies_and_the_next_one_does_without_it() {
    for seed in 0..10 {
        simulate(seed, async |world| {
            let (processes, _, half) = with_garbage(&world).await;
            let promised = sha256(&half.blobs()[0]);
            let run = Run::of(&processes[0].catalog);
            let mut epoch = run.collection.open_epoch().await.unwrap();
            let marked = run.collection.mark().await.unwrap();
            processes[2].repository().stat_blob(&promised, Audience::Pusher).await.unwrap();
            processes[2].set(Pulse::Dead);
            world.time.sleep(seconds(world.chance.below(60))).await;
            assert_eq!(run.sweep(&mut epoch, &marked).await.unwrap(), SweepEnd::ReplicaLost);
            epoch.close(&run.stop).await.unwrap();
            assert_eq!(run.progress.removed_blobs.get(), 0);
            assert_eq!(collect(&processes[0].catalog).await.progress.removed_blobs.get(), 2);
            assert!(has_bytes(&world, &promised), "its link is young");
            world.time.sleep(seconds(10)).await;
            assert_over(&world, &processes);
            assert_can_push(&processes, &half).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_replica_that_joins_takes_part() {
    simulate(4, async |world| {
        let (processes, _, half) = with_garbage(&world).await;
        let blobs = half.blobs();
        let run = Run::of(&processes[0].catalog);
        let mut epoch = run.collection.open_epoch().await.unwrap();
        let marked = run.collection.mark().await.unwrap();
        let joiner = world.start("four:1");
        joiner.catalog.joined().await;
        joiner.repository().stat_blob(&sha256(&blobs[2]), Audience::Pusher).await.unwrap();
        make_old(&world.memory).await;
        assert_eq!(run.sweep(&mut epoch, &marked).await.unwrap(), SweepEnd::Done);
        epoch.close(&run.stop).await.unwrap();
        assert!(has_bytes(&world, &sha256(&blobs[2])));
        assert_eq!(run.progress.removed_blobs.get(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_joins_during_a_sweep_freezes_what_is_sealed() {
    for seed in 0..20 {
        simulate(seed, async |world| {
            let (processes, _, half) = with_garbage(&world).await;
            let collecting = collect(&processes[0].catalog);
            let joining = async {
                while !world.keys("lagan/v1/gc").iter().any(|key| key.contains("/sealed-")) {
                    world.time.sleep(seconds(0) + std::time::Duration::from_millis(5)).await;
                }
                let joiner = world.start("four:1");
                joiner.catalog.joined().await;
                for blob in half.blobs() {
                    if joiner.repository().stat_blob(&sha256(&blob), Audience::Pusher).await.is_ok() {
                        assert!(has_bytes(&world, &sha256(&blob)));
                    }
                }
                joiner
            };
            let (_, joiner) = tokio::join!(collecting, joining);
            assert_can_push(&[joiner], &half).await;
        })
        .await;
    }
}

#[tokio::test]
async fn two_collections_at_once_harm_nothing() {
    for seed in 0..20 {
        simulate(seed, async |world| {
            let (processes, _, half) = with_garbage(&world).await;
            let push = async {
                let blobs = half.blobs();
                world.time.sleep(seconds(world.chance.below(3))).await;
                commit(&processes[2], &blobs[0]).await
            };
            let (_, _, pushed) = tokio::join!(collect(&processes[0].catalog), collect(&processes[1].catalog), push);
            assert!(has_bytes(&world, &pushed.unwrap()));
            assert!(!has_bytes(&world, &sha256(&half.blobs()[1])));
            world.time.sleep(seconds(10)).await;
            assert_over(&world, &processes);
            assert_can_push(&processes, &half).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_removal_that_lands_late_removes_nothing_that_was_pushed_since() {
    simulate(5, async |world| {
        let (processes, _, half) = with_garbage(&world).await;
        let blob = &half.blobs()[0];
        world.hiccup(
            &processes[0],
            Write::Delete,
            &format!("{}/data", sha256(blob).hex()),
            Hiccup::Lost(seconds(30)),
            1,
        );
        let collecting = collect(&processes[0].catalog);
        let pushing = async {
            // It is repeated, and lands; and the first attempt lands half a minute later.
            world.time.sleep(seconds(10)).await;
            assert!(!has_bytes(&world, &sha256(blob)), "the repetition has landed");
            let is_sealed = |holder: &Holder| matches!(holder, Holder::Sealed { .. });
            let guard = &processes[1].catalog.store.guard;
            assert!(guard.holders().iter().any(is_sealed), "it stays frozen for as long as a removal may land");
            loop {
                match commit(&processes[1], blob).await {
                    Ok(_) => break,
                    Err(Error::Frozen { .. }) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
        };
        tokio::join!(collecting, pushing);
        assert!(world.had_its_hiccups());
        world.time.sleep(seconds(60)).await;
        assert!(has_bytes(&world, &sha256(blob)));
        assert_over(&world, &processes);
        assert_can_push(&processes, &half).await;
    })
    .await;
}

#[tokio::test]
async fn a_marker_that_the_store_is_slow_to_take_is_in_nobodys_way() {
    for (part, hiccup) in [
        ("/open", Hiccup::Lost(seconds(5))),
        ("/sealed-1", Hiccup::Lost(seconds(5))),
        ("/closed-1", Hiccup::Refused),
        ("/closed", Hiccup::Lost(seconds(5))),
    ] {
        simulate(6, async |world| {
            let (processes, _, half) = with_garbage(&world).await;
            world.hiccup(&processes[0], Write::Put, part, hiccup, 1);
            let run = collect(&processes[0].catalog).await;
            assert!(world.had_its_hiccups());
            assert_eq!(run.progress.removed_blobs.get(), 3, "{part}");
            // A marker that lands when all is over is one of a collection that nobody runs.
            world.time.sleep(seconds(150)).await;
            assert_over(&world, &processes);
            assert_can_push(&processes, &half).await;
            assert_the_next_one_leaves_nothing(&world, &processes[1]).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_collector_may_die_at_any_write() {
    for lands in [false, true] {
        for write in 0.. {
            let is_over = simulate(u64::from(write), async |world| {
                let (processes, kept, half) = with_garbage(&world).await;
                let dying = &processes[0];
                world.die_at(dying, "", write, lands);
                let ended = dying.client(&world, collect(&dying.catalog)).await;
                // Others see that it is gone, and end what it began once nothing of it can land.
                world.time.sleep(seconds(30 + 60 + 60)).await;
                assert_over(&world, &processes);
                let reader = processes[1].repository();
                assert!(is_there(&reader, &by(&kept.digest())).await);
                assert_consistent(&reader).await;
                for blob in half.blobs() {
                    if reader.stat_blob(&sha256(&blob), Audience::Pusher).await.is_ok() {
                        assert!(has_bytes(&world, &sha256(&blob)));
                    }
                }
                assert_can_push(&processes[1..], &half).await;
                make_old(&world.memory).await;
                assert_the_next_one_leaves_nothing(&world, &processes[2]).await;
                ended.is_some()
            })
            .await;
            assert!(write < 200, "it never ends");
            if is_over {
                assert!(write > 10, "it writes more than that");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_collector_that_stands_still_removes_nothing_afterwards() {
    for seed in 0..20 {
        simulate(seed, async |world| {
            let (processes, _, half) = with_garbage(&world).await;
            let collector = processes[0].clone();
            let collecting = tokio::spawn(async move { Run::of(&collector.catalog).to_its_end().await });
            world.time.sleep(std::time::Duration::from_millis(world.chance.below(1500))).await;
            processes[0].set(Pulse::Paused);
            world.time.sleep(seconds(30 + 60 + 60)).await;
            assert_can_push(&processes[1..], &half).await;
            processes[0].set(Pulse::Running);
            // It had nothing left to do, or finds that its lease is over.
            if let Err(error) = collecting.await.unwrap() {
                assert!(matches!(error, Error::NoLease), "{error:?}");
            }
            world.time.sleep(seconds(30 + 60 + 60)).await;
            assert_over(&world, &processes);
            assert_consistent(&processes[1].repository()).await;
            assert!(is_there(&processes[1].repository(), &by(&half.digest())).await);
            assert_the_next_one_leaves_nothing(&world, &processes[1]).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_delete_during_a_collection_loses_nothing() {
    for seed in 0..20 {
        simulate(seed, async |world| {
            let (processes, kept, _) = with_garbage(&world).await;
            let deleting = async {
                world.time.sleep(std::time::Duration::from_millis(world.chance.below(1500))).await;
                processes[2].repository().delete_manifest(&by(&kept.digest()), cause()).await.unwrap()
            };
            let (_, tombstone) = tokio::join!(collect(&processes[0].catalog), deleting);
            let trash = processes[1].catalog.trash();
            trash.restore(&tombstone.id, crate::storage::Conflict::Fail, "restorer").await.unwrap();
            assert_consistent(&processes[1].repository()).await;
        })
        .await;
    }
}
