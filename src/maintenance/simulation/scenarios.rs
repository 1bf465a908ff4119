//! What worlds have shown, told by itself.

use std::{sync::Arc, time::Duration};

use crate::{
    api::wire::CollectionRequest,
    storage::{Catalog, driver::StorageDriver, seeded},
};

use super::{
    process::Process,
    remote::Remote,
    time::{ProcessClock, Pulse},
    world::World,
};

fn play(world: &Arc<World>, scene: impl Future<Output = ()>) {
    seeded::set(Some(1));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(world.time.run(scene, || world.failure().is_some()));
    drop(runtime);
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
