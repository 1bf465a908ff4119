//! What befalls processes.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;

use super::{process::Process, time::Pulse, world::World};

/// Something that goes wrong with a process for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Pause,
    Kill,
    /// A power cut: what was not synced is gone.
    Crash,
    Leave,
    /// Nobody reaches it, and it reaches nobody.
    CutCalls,
    /// It and one other do not reach each other.
    CutOne,
    CutStore,
    /// Its wall clock is set.
    Jump,
}

const OF_SEVERAL: [Trouble; 9] = [
    Trouble::Pause,
    Trouble::Pause,
    Trouble::Kill,
    Trouble::Kill,
    Trouble::Leave,
    Trouble::CutCalls,
    Trouble::CutOne,
    Trouble::CutStore,
    Trouble::Jump,
];

const OF_ONE: [Trouble; 5] = [Trouble::Pause, Trouble::Kill, Trouble::Crash, Trouble::Leave, Trouble::Jump];

/// How long it lasts, in seconds: around L, the time after which a process is gone, and Q.
const LASTS: [u64; 6] = [1, 4, 15, 25, 40, 70];

/// How long it takes until everybody is back: somebody may leave, and be down.
const LONGEST: Duration = Duration::from_secs(400);

/// Lets trouble come and go until everything is healed.
pub(super) async fn keep_coming(world: Arc<World>, between: Duration) {
    while !world.network.is_healed() {
        world.time.sleep(world.chance.up_to(between * 2)).await;
        let living = world.living();
        if world.network.is_healed() || living.is_empty() {
            continue;
        }
        let victim = Arc::clone(world.chance.pick(&living));
        let trouble = *world.chance.pick(if world.profile.is_shared { &OF_SEVERAL[..] } else { &OF_ONE[..] });
        let lasts = Duration::from_secs(*world.chance.pick(&LASTS));
        world.note(&victim.address, "is in trouble", &format!("{trouble:?}"), &format_args!("for {lasts:?}"));
        tokio::spawn(happen(Arc::clone(&world), victim, trouble, lasts));
    }
}

async fn happen(world: Arc<World>, victim: Arc<Process>, trouble: Trouble, lasts: Duration) {
    let others: Vec<Arc<Process>> = world.living().into_iter().filter(|it| it.address != victim.address).collect();
    match trouble {
        Trouble::Pause => {
            victim.clock.set(Pulse::Paused);
            world.time.sleep(lasts).await;
            victim.clock.set(Pulse::Running);
            world.note(&victim.address, "goes on", "", &"");
        }
        Trouble::Kill | Trouble::Crash | Trouble::Leave => end(&world, &victim, trouble, lasts).await,
        Trouble::CutCalls | Trouble::CutOne => {
            let reached = if trouble == Trouble::CutOne { others.get(..1).unwrap_or_default() } else { &others };
            cut(&world, &victim, reached, true);
            world.time.sleep(lasts).await;
            cut(&world, &victim, reached, false);
        }
        Trouble::CutStore => {
            world.network.cut_store(&victim.address, true);
            world.time.sleep(lasts).await;
            world.network.cut_store(&victim.address, false);
        }
        Trouble::Jump => victim.clock.jump(world.skew()),
    }
}

fn cut(world: &World, victim: &Process, others: &[Arc<Process>], is_cut: bool) {
    for other in others {
        world.network.cut(&victim.address, &other.address, is_cut);
    }
    world.note(&victim.address, if is_cut { "is cut off" } else { "is reached again" }, "", &"");
}

/// Ends a process, and starts another one in its place.
async fn end(world: &Arc<World>, victim: &Arc<Process>, trouble: Trouble, lasts: Duration) {
    if victim.is_dead() || victim.is_ending() {
        return;
    }
    if trouble == Trouble::Leave {
        victim.leave(world).await;
    } else {
        victim.kill(world);
        world.count_killed();
    }
    if trouble == Trouble::Crash {
        world.medium.cut_power(&world.chance);
        world.note("store", "loses power", "", &"");
    }
    world.time.sleep(lasts).await;
    Process::start_surely(world, &victim.address).await;
}

/// Ends all trouble, and waits until every process is back.
pub(super) async fn heal(world: &Arc<World>) {
    world.network.heal();
    world.note("WORLD", "is healed", "", &"");
    let all: Vec<Arc<Process>> = world.processes().values().cloned().collect();
    for process in &all {
        process.clock.set(Pulse::Running);
        process.clock.jump(SignedDuration::ZERO);
    }
    let until = world.time.now() + LONGEST;
    while all.iter().any(|process| !is_back(world, process)) && world.time.now() < until {
        world.time.sleep(Duration::from_secs(1)).await;
    }
}

/// Whether somebody serves where a process did, or whoever ends that one has not begun.
fn is_back(world: &World, before: &Process) -> bool {
    world.processes().get(&before.address).is_some_and(|process| process.takes_requests())
}
