//! Runs of policies over several replicas, where one request to the store goes wrong.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    api::{
        v1alpha1::Approval,
        wire::{ApplyRequest, InUse, RunState},
    },
    maintenance::Error,
    storage::driver::StoragePath,
};

use super::{
    fate::{Fate, Point},
    turns::{LONG, Pair, assert_sound, id, play, request},
    world::World,
};

/// Nothing of what was sent lands later than that, in the times of a simulated world.
const LATE: Duration = Duration::from_secs(25);

/// Nearly as late as anything may land.
const LATEST: Duration = Duration::from_secs(28);

/// How much later a claim is gone that a living replica could not remove: it looks every minute.
const LOOKS_WITHIN: Duration = Duration::from_secs(65);

/// What becomes of the request.
const FATES: [Fate; 4] = [Fate::Refused, Fate::Lost, Fate::Unanswered(Duration::ZERO), Fate::Unanswered(LATE)];

fn write(path: &'static str, after: u32, fate: Fate) -> Point {
    Point { address: "one:1".into(), is_read: false, path, after, fate }
}

/// Has one replica apply a run, whose write of that number goes wrong, and perhaps dies of it; then another one goes on.
/// Whether there was such a write.
fn play_application(after: u32, fate: Fate, dies: bool) -> bool {
    let world = World::quiet(true, false);
    let mut came = false;
    play(&world, async {
        let pair = Pair::new(&world).await;
        pair.planned(&pair.one, &request("r1", Approval::Automatic)).await;
        let page = pair.one.runs.candidates(&id("r1"), None, 100).await.unwrap();
        let used = page.candidates.iter().find(|candidate| candidate.digest == pair.digest(2)).unwrap();
        let in_use = vec![InUse { candidate: used.index, reason: "pod web".into() }];
        let begun = ApplyRequest { listing_seconds: 0.5, list: page.list, in_use, ..ApplyRequest::default() };
        world.trap.set(Some(write("lagan/v1/ru", after, fate)));
        // Where it does not begin, the other one begins.
        let begun = pair.one.runs.apply(&id("r1"), begun).await;
        assert!(begun.as_ref().is_ok_and(|status| status.state == RunState::Applying) || begun.is_err(), "{begun:?}");
        if dies {
            let until = world.time.now() + LONG;
            while world.trap.is_set() && world.time.now() < until {
                world.time.sleep(Duration::from_millis(1)).await;
            }
            pair.one.kill(&world);
        }
        let ended = pair.applied(&pair.two, "r1", &[2], None).await;
        came = !world.trap.is_set();
        world.trap.set(None);
        // Also the claim of who died just before it removed that is gone by then.
        world.time.sleep(LONG + LOOKS_WITHIN).await;
        assert_sound(&pair, 2, &ended).await;
        assert_eq!(pair.two.runs.status(&id("r1")).await.unwrap(), ended, "{after} {fate:?}");
        if !dies {
            assert_eq!(pair.one.runs.status(&id("r1")).await.unwrap(), ended, "{after} {fate:?}");
        }
    });
    came
}

#[test]
fn whatever_becomes_of_a_record_of_a_run_all_replicas_agree_on_its_end() {
    for dies in [false, true] {
        for fate in FATES {
            let mut after = 0;
            while play_application(after, fate, dies) {
                after += 1;
            }
            assert!(after > 4, "{after} {fate:?}: a claim, how far it is, a plan, how it ended");
        }
    }
}

#[test]
fn whatever_becomes_of_a_record_of_a_plan_the_run_is_planned_in_the_end() {
    for dies in [false, true] {
        for fate in FATES {
            for after in 0..6 {
                let world = World::quiet(true, false);
                play(&world, async {
                    let pair = Pair::new(&world).await;
                    let wanted = request("r1", Approval::Automatic);
                    world.trap.set(Some(write("lagan/v1/ru", after, fate)));
                    let _ = pair.one.runs.start(wanted.clone()).await;
                    if dies {
                        let until = world.time.now() + LONG;
                        while world.trap.is_set() && world.time.now() < until {
                            world.time.sleep(Duration::from_millis(1)).await;
                        }
                        pair.one.kill(&world);
                    }
                    let planned = pair.planned(&pair.two, &wanted).await;
                    assert_eq!(planned.state, RunState::AwaitingUsage, "{planned:?}");
                    world.trap.set(None);
                    world.time.sleep(LONG).await;
                    assert_eq!(pair.two.runs.status(&id("r1")).await.unwrap(), planned, "{after} {fate:?}");
                    let ended = pair.applied(&pair.two, "r1", &[0], None).await;
                    assert_sound(&pair, 0, &ended).await;
                });
            }
        }
    }
}

#[test]
fn what_a_replica_wrote_just_before_it_lost_its_lease_is_not_taken_for_what_another_one_wrote_since() {
    for quarter in 0..20 {
        let world = World::quiet(true, false);
        play(&world, async {
            let pair = Pair::apart(&world, Duration::from_secs(1)).await;
            pair.planned(&pair.one, &request("r1", Approval::Automatic)).await;
            let list = pair.one.runs.candidates(&id("r1"), None, 100).await.unwrap().list;
            // The other one sees that it is evicted a while before it does so itself. What it writes then lands when it has
            // been gone for a while.
            world.medium.put(&eviction_of_the_first(&world), Bytes::new(), true);
            world.time.sleep(Duration::from_millis(250) * quarter).await;
            world.trap.set(Some(write("lagan/v1/runs/", 0, Fate::Unanswered(LATEST))));
            let begun = ApplyRequest { listing_seconds: 0.5, list, ..ApplyRequest::default() };
            let _ = pair.one.runs.apply(&id("r1"), begun).await;
            let ended = pair.applied(&pair.two, "r1", &[1], None).await;
            world.trap.set(None);
            world.time.sleep(LONG).await;
            assert_eq!(ended.state, RunState::Completed, "{ended:?}");
            for process in [&pair.one, &pair.two] {
                assert_eq!(process.runs.status(&id("r1")).await.unwrap(), ended, "{quarter}");
            }
        });
    }
}

/// Where it is said that others could not reach the replica that registered first.
fn eviction_of_the_first(world: &World) -> StoragePath {
    let files = world.medium.files();
    let first = files.keys().find_map(|path| path.strip_prefix("lagan/v1/replicas/")).unwrap();
    format!("lagan/v1/evicted/{first}").parse().unwrap()
}

#[test]
fn a_claim_that_could_not_be_removed_is_in_nobodys_way_for_long() {
    for fate in [Fate::Lost, Fate::Refused] {
        let world = World::quiet(true, false);
        play(&world, async {
            let pair = Pair::new(&world).await;
            pair.planned(&pair.one, &request("r1", Approval::Automatic)).await;
            world.trap.set(Some(write("lagan/v1/running/", 1, fate)));
            // Of its two writes the removal is the second one.
            assert_eq!(pair.applied(&pair.one, "r1", &[], None).await.state, RunState::Completed);
            assert!(!world.trap.is_set());
            assert_eq!(pair.claims(), 1);
            let busy = pair.two.runs.start(request("r2", Approval::Automatic)).await;
            assert!(matches!(&busy, Err(Error::Busy { active }) if *active == id("r1")), "{busy:?}");
            world.time.sleep(LOOKS_WITHIN).await;
            assert_eq!(
                pair.planned(&pair.two, &request("r2", Approval::Automatic)).await.state,
                RunState::AwaitingUsage
            );
            assert_eq!(pair.claims(), 0);
        });
    }
}
