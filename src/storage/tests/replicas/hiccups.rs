//! A store that is out of breath for a moment, or whose answer does not come, while something is deleted or restored.

#![expect(clippy::large_futures, reason = "a test holds three replicas, and its stack has room")]

use std::time::Duration;

use crate::storage::{
    Conflict, Error,
    tests::{assert_consistent, by, cause, image, is_there, reference, tag, tags},
};

use super::{
    scenarios::{is_gone_everywhere, seconds, simulate, started},
    simulator::{Hiccup, World, Write},
    time::Pulse,
};

const AT_ONCE: Duration = Duration::ZERO;

/// Every kind of write of a delete of the image that is tagged `v1`.
const WRITES: [(Write, &str); 8] = [
    (Write::Put, "lagan/v1/pending"),
    (Write::Put, "lagan/v1/trash/_i"),
    (Write::Put, "lagan/v1/trash/app/_n/v1"),
    (Write::Put, "lagan/v1/trash/app/_t"),
    (Write::Delete, "_manifests/revisions"),
    (Write::Delete, "tags/v1/current"),
    (Write::Delete, "tags/v1/index"),
    (Write::Delete, "lagan/v1/pending"),
];

/// The image can be deleted, pushed again and restored at once, and is left whole.
async fn deletes_and_pushes_again(world: &World, write: Write, part: &str, hiccup: Hiccup) {
    let (processes, digest) = started(world).await;
    let what = format!("{write:?} {part}, {hiccup:?}");
    world.hiccup(&processes[0], write, part, hiccup, 1);
    let began = world.time.now();
    processes[0].repository().delete_manifest(&by(&digest), cause()).await.unwrap();
    assert!(world.had_its_hiccups(), "{what}: it wrote something else");
    assert!(is_gone_everywhere(&processes, &digest).await, "{what}");
    image("a").push(&processes[1].repository(), Some("v1")).await.unwrap();
    let took = world.time.now().saturating_sub(began);
    assert!(took < seconds(10), "{what}: {took:?}");
    // Until whatever is late has landed, and whatever it would mislead has been done.
    world.time.sleep(seconds(300)).await;
    for process in &processes {
        assert!(is_there(&process.repository(), &by(&digest)).await, "{what}: the push is undone");
        assert_eq!(tags(&process.repository()).await, ["v1"], "{what}");
        assert!(process.catalog.store.guard.holders().is_empty(), "{what}");
    }
    assert_eq!(world.keys("lagan/v1/pending"), Vec::<String>::new(), "{what}");
    assert_consistent(&processes[2].repository()).await;
}

#[tokio::test]
async fn a_delete_that_the_store_asks_to_wait_holds_up_nobody() {
    for (seed, (write, part)) in (100..).zip(WRITES) {
        simulate(seed, async |world| deletes_and_pushes_again(&world, write, part, Hiccup::Refused).await).await;
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_about_what_one_operation_writes_holds_up_nobody() {
    let once = WRITES.iter().filter(|(_, part)| part.starts_with("lagan/v1"));
    for (seed, (write, part)) in (200..).zip(once) {
        for late in [AT_ONCE, seconds(2), seconds(40)] {
            simulate(seed, async |world| deletes_and_pushes_again(&world, *write, part, Hiccup::Lost(late)).await)
                .await;
        }
    }
}

#[tokio::test]
async fn a_removal_that_may_still_land_undoes_no_later_push() {
    for (seed, part) in (300..).zip(["tags/v1/current", "_manifests/revisions"]) {
        simulate(seed, async |world| {
            let (processes, digest) = started(&world).await;
            world.hiccup(&processes[0], Write::Delete, part, Hiccup::Lost(seconds(50)), 1);
            processes[0].repository().delete_manifest(&by(&digest), cause()).await.unwrap();
            assert!(is_gone_everywhere(&processes, &digest).await);
            let refused = image("a").push(&processes[1].repository(), Some("v1")).await;
            assert!(matches!(refused, Err(Error::Frozen { .. })), "{part}: {refused:?}");
            world.time.sleep(seconds(55)).await;
            image("a").push(&processes[1].repository(), Some("v1")).await.unwrap();
            world.time.sleep(seconds(60)).await;
            assert_eq!(tags(&processes[2].repository()).await, ["v1"], "{part}");
            assert!(is_there(&processes[2].repository(), &reference("v1")).await, "{part}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_store_that_asks_to_wait_for_long_fails_a_delete_that_goes_on_later() {
    simulate(400, async |world| {
        let (processes, digest) = started(&world).await;
        world.hiccup(&processes[0], Write::Delete, "_manifests/revisions", Hiccup::Refused, 12);
        let failed = processes[0].repository().delete_manifest(&by(&digest), cause()).await;
        assert!(failed.is_err(), "{failed:?}");
        world.time.sleep(seconds(30)).await;
        assert!(world.had_its_hiccups());
        assert!(is_gone_everywhere(&processes, &digest).await, "its tombstone stood");
        image("a").push(&processes[1].repository(), Some("v1")).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_restore_that_the_store_broke_is_whole_when_it_is_asked_for_again() {
    for (seed, part) in (500..).zip(["tags/v1/current", "tags/v1/index", "lagan/v1/trash/app/_t", "facts/app/_g"]) {
        for write in [Write::Put, Write::Delete] {
            simulate(seed, async |world| {
                let (processes, digest) = started(&world).await;
                image("a").push(&processes[0].repository(), Some("v2")).await.unwrap();
                processes[0].repository().delete_manifest(&by(&digest), cause()).await.unwrap();
                world.hiccup(&processes[1], write, part, Hiccup::Refused, 5);
                let (trash, name) = (processes[1].catalog.trash(), processes[1].repository().name().clone());
                let by_digest = by(&digest);
                let restore = || trash.restore_reference(&name, &by_digest, Conflict::Fail, "restorer");
                if restore().await.is_ok() {
                    return;
                }
                assert!(world.had_its_hiccups());
                for shown in tags(&processes[2].repository()).await {
                    assert!(is_there(&processes[2].repository(), &reference(&shown)).await, "{shown} leads nowhere");
                }
                let restored = restore().await.unwrap();
                assert_eq!((restored.tags, restored.already_present), (vec![tag("v1"), tag("v2")], false));
                for process in &processes {
                    assert_eq!(tags(&process.repository()).await, ["v1", "v2"]);
                    assert!(is_there(&process.repository(), &reference("v1")).await);
                    assert!(is_there(&process.repository(), &reference("v2")).await);
                }
                assert_eq!(world.keys("lagan/v1/trash/app/_t"), Vec::<String>::new());
                let again = restore().await.unwrap();
                assert!(again.already_present);
            })
            .await;
        }
    }
}

#[tokio::test]
async fn what_a_dead_replica_left_is_ended_though_no_process_lives_for_long() {
    simulate(600, async |world| {
        let (processes, digest) = started(&world).await;
        let (dying, by_digest) = (&processes[0], by(&digest));
        world.hiccup(dying, Write::Delete, "_manifests/revisions", Hiccup::Refused, u32::MAX);
        let deleter = dying.repository();
        let delete = dying.client(&world, deleter.delete_manifest(&by_digest, cause()));
        let death = async {
            world.time.sleep(seconds(20)).await;
            for process in &processes {
                process.set(Pulse::Dead);
            }
        };
        let (deleted, ()) = tokio::join!(delete, death);
        assert!(!matches!(deleted, Some(Ok(_))), "{deleted:?}");
        assert_eq!(world.keys("lagan/v1/pending").len(), 1, "it has begun");
        let began = world.time.now();
        let mut generations = 0;
        while !world.keys("lagan/v1/pending").is_empty() {
            generations += 1;
            assert!(generations < 10, "nobody ends it");
            let process = world.start("two:1");
            // Less than Q, which is a minute here.
            world.time.sleep(seconds(50)).await;
            process.set(Pulse::Dead);
        }
        assert!(world.time.now().saturating_sub(began) >= seconds(120), "no write of it could land any more");
        let last = world.start("two:1");
        last.catalog.joined().await;
        assert!(!is_there(&last.repository(), &by_digest).await, "its tombstone stood");
        assert_eq!(world.keys("lagan/v1/gone"), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_link_that_may_still_land_is_not_answered_and_undoes_nothing_that_was() {
    for (seed, part) in (600..).zip(["tags/v1/current", "_manifests/revisions", "tags/v1/index", "_layers"]) {
        simulate(seed, async |world| {
            let (processes, digest) = started(&world).await;
            world.hiccup(&processes[0], Write::Put, part, Hiccup::Lost(seconds(50)), 1);
            let unanswered = image("b").push(&processes[0].repository(), Some("v1")).await;
            assert!(matches!(unanswered, Err(Error::Uncertain { .. })), "{part}: {unanswered:?}");
            assert!(world.had_its_hiccups(), "{part}");
            let waits = processes[1].repository().delete_manifest(&by(&image("b").digest()), cause()).await;
            assert!(matches!(waits, Err(Error::Frozen { .. } | Error::ManifestUnknown { .. })), "{part}: {waits:?}");
            assert!(is_there(&processes[2].repository(), &by(&digest)).await, "{part}");
            world.time.sleep(seconds(70)).await;
            image("b").push(&processes[2].repository(), Some("v1")).await.unwrap();
            processes[1].repository().delete_manifest(&by(&image("b").digest()), cause()).await.unwrap();
            world.time.sleep(seconds(70)).await;
            assert!(is_gone_everywhere(&processes, &image("b").digest()).await, "{part}: a delete is undone");
            assert_consistent(&processes[2].repository()).await;
        })
        .await;
    }
}

#[tokio::test]
async fn what_a_dead_replica_left_is_ended_though_the_store_refused_to_look_once() {
    simulate(190, async |world| {
        let (processes, digest) = started(&world).await;
        processes[2].catalog.leave().await;
        let (dying, rest) = (&processes[0], &processes[1]);
        world.die_at(dying, "_manifests/revisions", 0, true);
        let repository = dying.repository();
        assert!(dying.client(&world, repository.delete_manifest(&by(&digest), cause())).await.is_none());
        world.hiccup(rest, Write::Stat, "lagan/v1/pending", Hiccup::Refused, 1);
        world.time.sleep(seconds(300)).await;
        assert!(world.had_its_hiccups(), "it did not look");
        assert_eq!(world.keys("lagan/v1/pending"), Vec::<String>::new());
        assert!(!is_there(&rest.repository(), &by(&digest)).await);
        image("a").push(&rest.repository(), Some("v1")).await.unwrap();
        assert_consistent(&rest.repository()).await;
    })
    .await;
}
