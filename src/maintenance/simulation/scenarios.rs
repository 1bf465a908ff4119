//! What worlds have shown, told by itself.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::SignedDuration;

use crate::{
    api::{
        v1alpha1::CollectionBrake,
        wire::{CollectionRequest, CollectionState, ScrubRequest},
    },
    maintenance::Scrubs,
    storage::{
        Audience, Catalog,
        driver::{StorageDriver, StoragePath},
        seeded,
    },
};

use super::{
    collecting::collect,
    content::{REPOSITORIES, repository, sha256},
    ending,
    process::Process,
    profile::timing,
    remote::Remote,
    time::{OwnClock, ProcessClock, Pulse},
    world::World,
};

fn play(world: &Arc<World>, scene: impl Future<Output = ()>) {
    seeded::set(Some(1));
    world.time.run(scene, || world.failure().is_some());
    seeded::set(None);
    assert_eq!(*world.failure(), None);
}

#[test]
fn those_who_died_while_they_collected_are_waited_for_all_at_once() {
    let world = World::quiet(true, false);
    let request = || CollectionRequest { dry_run: false, confirm: None };
    play(&world, async {
        for address in ["one:1", "two:1", "three:1", "four:1"] {
            let process = Process::start_surely(&world, address).await;
            process.catalog.joined().await;
            process.collections.begin("collector", request()).await.unwrap();
            process.kill(&world);
            // Long enough for the next one to see that it is gone.
            world.time.sleep(Duration::from_secs(60)).await;
        }
        let process = Process::start_surely(&world, "five:1").await;
        process.catalog.joined().await;
        let asked = world.time.now();
        process.collections.begin("collector", request()).await.unwrap();
        let waited = world.time.now().saturating_sub(asked);
        assert!(waited < Duration::from_secs(20), "it waited for {waited:?}");
    });
}

#[test]
fn a_store_whose_lists_are_stale_is_found_out() {
    for is_stale in [false, true] {
        let world = World::quiet(true, false);
        world.medium.list_late(is_stale);
        play(&world, async {
            let clock = Arc::new(ProcessClock::new(Arc::clone(&world.time), Duration::ZERO, 1_000, world.skew()));
            let driver: Arc<dyn StorageDriver> = Arc::new(Remote::new(&world, "one:1", &clock));
            let violations = Catalog::self_test(&driver).await.unwrap();
            assert_eq!(violations.is_empty(), !is_stale, "{violations:?}");
            clock.set(Pulse::Dead);
        });
    }
}

/// A process whose wall clock is wrong.
async fn start_off_time(world: &Arc<World>, address: &str, off: SignedDuration) -> Arc<Process> {
    let process = Process::start_surely(world, address).await;
    process.catalog.joined().await;
    process.clock.jump(off);
    process
}

#[test]
fn a_promise_holds_for_half_the_grace_period_where_clocks_differ_as_much_as_they_may() {
    let world = World::quiet(true, false);
    let (grace, most) = (timing().grace, SignedDuration::try_from(timing().clock_skew).unwrap());
    let sleep = |duration: Duration| world.time.sleep(duration);
    play(&world, async {
        let behind = start_off_time(&world, "one:1", -most).await;
        let ahead = start_off_time(&world, "two:1", most).await;
        let place = behind.catalog.repository(&repository(REPOSITORIES[0]));
        let content = Bytes::from_static(b"what is pushed for long");
        let mut upload = place.create_upload().await.unwrap();
        upload.append(content.clone()).await.unwrap();
        upload.commit(&sha256(&content)).await.unwrap();
        // Old enough for another promise to make it young, if the clock did not say otherwise.
        sleep(grace / 2 + timing().clock_skew / 2).await;
        place.stat_blob(&sha256(&content), Audience::Pusher).await.unwrap();
        let promised = world.time.now();
        sleep((grace / 2).saturating_sub(timing().clock_skew + Duration::from_millis(500))).await;
        let ended = collect(&world, &ahead).await.unwrap();
        assert_eq!(ended.state, CollectionState::Finished, "{ended:?}");
        assert!(world.time.now() < promised + grace / 2);
        place.stat_blob(&sha256(&content), Audience::Pusher).await.unwrap();
    });
}

#[test]
fn a_replica_whose_clock_is_wrong_stops_collections() {
    let world = World::quiet(true, false);
    play(&world, async {
        let collector = start_off_time(&world, "one:1", SignedDuration::ZERO).await;
        for off in [-20, 20] {
            let wrong = start_off_time(&world, "two:1", SignedDuration::from_secs(off)).await;
            // Until it has given a sign of life.
            world.time.sleep(timing().beat * 2).await;
            let ended = collect(&world, &collector).await.unwrap();
            assert_eq!(ended.halt.map(|halt| halt.brake), Some(CollectionBrake::ClockSkew), "{off} s");
            wrong.clock.jump(SignedDuration::ZERO);
            world.time.sleep(timing().beat * 2).await;
            let ended = collect(&world, &collector).await.unwrap();
            assert_eq!(ended.state, CollectionState::Finished, "{ended:?}");
            wrong.leave(&world).await;
        }
    });
}

/// Long enough for one process to learn that nothing is pending any more.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_scrub_that_is_stopped_while_it_freezes_something_leaves_nothing_frozen() {
    let world = World::quiet(true, false);
    let dangling: StoragePath = "docker/registry/v2/repositories/app/_manifests/tags/v1/current/link".parse().unwrap();
    world.medium.put(&dangling, Bytes::from(sha256(b"nothing").to_string()), true);
    play(&world, async {
        let process = start_off_time(&world, "one:1", SignedDuration::ZERO).await;
        start_off_time(&world, "two:1", SignedDuration::ZERO).await;
        // At whichever moment it is stopped.
        for after in 0..20 {
            let clock = Arc::new(OwnClock(Arc::clone(&process.clock)));
            let scrubs = Scrubs::new(process.catalog.clone(), clock);
            scrubs.start(&ScrubRequest::default()).await.unwrap();
            while ending::left_behind(&world).is_empty() {
                world.time.sleep(Duration::from_millis(1)).await;
            }
            world.time.sleep(Duration::from_millis(after)).await;
            scrubs.shutdown().await;
            world.time.sleep(SOON).await;
            assert_eq!(ending::left_behind(&world), Vec::<String>::new(), "after {after} ms");
        }
    });
}
