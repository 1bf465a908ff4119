//! Everything at once, in many orders: each seed is another one, and always the same.

#![expect(clippy::large_futures, reason = "a test holds three replicas, and its stack has room")]

use std::time::Duration;

use crate::{
    oci::Digest,
    storage::{
        Conflict,
        driver::StorageDriver as _,
        layout::PathSpec,
        tests::{assert_consistent, by, cause, image, is_there, put, reference, tags},
    },
};

use super::{
    simulator::{Process, World},
    time::Pulse,
};

/// How many orders are tried, where `LAGAN_SEEDS` does not say.
const SEEDS: u64 = 50;

fn seeds() -> std::ops::Range<u64> {
    0..std::env::var("LAGAN_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS)
}

const ADDRESSES: [&str; 3] = ["one:1", "two:1", "three:1"];

/// What happens to one of the replicas.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    None,
    Pause,
    Kill,
    CutCalls,
    CutStore,
}

impl Trouble {
    fn of(world: &World) -> Self {
        [Self::None, Self::Pause, Self::Kill, Self::CutCalls, Self::CutStore]
            [usize::try_from(world.chance.below(5)).unwrap()]
    }

    /// Makes it, and mends it after a while.
    async fn happen(self, world: &World, victim: &Process) {
        world.time.sleep(world.chance.up_to(Duration::from_millis(1_500))).await;
        let lasts = [2, 12, 25, 45, 130][usize::try_from(world.chance.below(5)).unwrap()];
        let over = world.time.sleep(Duration::from_secs(lasts));
        match self {
            Self::None => {}
            Self::Pause => {
                victim.set(Pulse::Paused);
                over.await;
                victim.set(Pulse::Running);
            }
            Self::Kill => {
                victim.set(Pulse::Dead);
                over.await;
                world.start(&victim.address);
            }
            Self::CutCalls => {
                world.cut_calls(&victim.address, true);
                over.await;
                world.cut_calls(&victim.address, false);
            }
            Self::CutStore => {
                world.cut_store(&victim.address, true);
                over.await;
                world.cut_store(&victim.address, false);
            }
        }
    }
}

/// What a client was told, and when it asked.
#[derive(Debug, Clone, Copy)]
struct Told {
    asked: Duration,
    answered: Duration,
    is_done: bool,
}

fn chosen<'a>(world: &World, processes: &'a [Process]) -> &'a Process {
    &processes[usize::try_from(world.chance.below(processes.len() as u64)).unwrap()]
}

/// Asks somebody for something, at some time.
async fn ask<T>(
    world: &World,
    process: &Process,
    latest: u64,
    request: impl Future<Output = Result<T, crate::storage::Error>>,
) -> Told {
    world.time.sleep(world.chance.up_to(Duration::from_millis(latest))).await;
    let asked = world.time.now();
    let answer = process.client(world, request).await;
    Told { asked, answered: world.time.now(), is_done: matches!(answer, Some(Ok(_))) }
}

/// I5, at the moment of the 202: nobody who runs says that it is there, unless a push may have brought it back.
async fn assert_deleted(world: &World, processes: &[Process], digest: &Digest, seed: u64) {
    for process in processes.iter().filter(|process| process.is_running()) {
        let repository = process.repository();
        for wanted in [by(digest), reference("v1")] {
            let found = process.client(world, repository.stat_manifest(&wanted)).await;
            assert!(!matches!(found, Some(Ok(_))), "seed {seed}: {} answers with what was deleted", process.address);
        }
    }
}

/// Fills memories with what is there.
async fn read_now_and_then(world: &World, process: &Process, digest: &Digest) {
    for _ in 0..20 {
        let repository = process.repository();
        let _ = process.client(world, repository.stat_manifest(&by(digest))).await;
        world.time.sleep(world.chance.up_to(Duration::from_millis(300))).await;
    }
}

async fn settle(world: &World) -> Process {
    world.time.sleep(Duration::from_secs(200)).await;
    let fresh = world.start("fresh:1");
    fresh.catalog.joined().await;
    fresh
}

/// Nothing is left behind, and everybody says what the store says.
async fn assert_at_rest(world: &World, fresh: &Process, seed: u64) {
    for folder in ["lagan/v1/pending", "lagan/v1/evicted"] {
        assert_eq!(world.keys(folder), Vec::<String>::new(), "seed {seed}");
    }
    assert_consistent(&fresh.repository()).await;
    let pushed = image("after").push(&fresh.repository(), Some("after")).await.unwrap();
    fresh.repository().delete_manifest(&by(&pushed), cause()).await.unwrap();
    assert!(fresh.catalog.store.guard.holders().is_empty(), "seed {seed}");
}

async fn delete_and_push(world: World, seed: u64) {
    let processes = world.start_all(&ADDRESSES).await;
    let digest = image("a").push(&processes[0].repository(), Some("v1")).await.unwrap();
    let (deleter, pusher, victim) =
        (chosen(&world, &processes), chosen(&world, &processes), chosen(&world, &processes));
    let (trouble, pushes) = (Trouble::of(&world), world.chance.below(3) > 0);
    let by_digest = by(&digest);
    let (delete_at, push_at) = (deleter.repository(), pusher.repository());
    let delete = async {
        let told = ask(&world, deleter, 1_500, delete_at.delete_manifest(&by_digest, cause())).await;
        if told.is_done && !pushes {
            assert_deleted(&world, &processes, &digest, seed).await;
        }
        told
    };
    let push = async {
        if !pushes {
            return None;
        }
        let bytes = image("a").bytes();
        Some(ask(&world, pusher, 3_000, push_at.put_manifest(put(&bytes, Some("v2")))).await)
    };
    let reads = futures::future::join_all(processes.iter().map(|process| read_now_and_then(&world, process, &digest)));
    let (deleted, pushed, _, ()) = tokio::join!(delete, push, reads, trouble.happen(&world, victim));
    let fresh = settle(&world).await;
    let repository = fresh.repository();
    let what = format!(
        "seed {seed}: {trouble:?} of {}, delete on {} {deleted:?}, push on {} {pushed:?}",
        victim.address, deleter.address, pusher.address
    );
    let (is_kept, has_old, has_new) = (
        is_there(&repository, &by_digest).await,
        is_there(&repository, &reference("v1")).await,
        is_there(&repository, &reference("v2")).await,
    );
    if deleted.is_done {
        assert!(!has_old, "{what}: the tag came back");
        // Every byte of the PUT, or nothing of it.
        assert!(!pushed.is_some_and(|pushed| pushed.is_done) || is_kept == has_new, "{what}: half of the push is left");
        let later = pushed.filter(|pushed| pushed.is_done && pushed.asked >= deleted.answered);
        assert!(later.is_none() || has_new, "{what}: a push that began later is lost");
        if pushed.is_none() {
            assert!(!is_kept && !has_new, "{what}: it came back");
        }
    } else {
        assert!(is_kept || !has_old, "{what}: a tag dangles");
    }
    assert_eq!(tags(&repository).await.len(), usize::from(has_old) + usize::from(has_new), "{what}");
    assert_at_rest(&world, &fresh, seed).await;
}

async fn restore_and_push(world: World, seed: u64) {
    let processes = world.start_all(&ADDRESSES).await;
    let digest = image("a").push(&processes[0].repository(), Some("v1")).await.unwrap();
    let id = processes[1].repository().delete_manifest(&by(&digest), cause()).await.unwrap().id;
    let (restorer, pusher, victim) =
        (chosen(&world, &processes), chosen(&world, &processes), chosen(&world, &processes));
    let trouble = Trouble::of(&world);
    let (trash, push_at) = (restorer.catalog.trash(), pusher.repository());
    for blob in image("b").blobs() {
        crate::storage::tests::seed_blob(&push_at, &blob).await.unwrap();
    }
    let bytes = image("b").bytes();
    let restore = ask(&world, restorer, 1_500, trash.restore(&id, Conflict::Fail, "restorer"));
    let push = ask(&world, pusher, 1_500, push_at.put_manifest(put(&bytes, Some("v1"))));
    let (restored, pushed, ()) = tokio::join!(restore, push, trouble.happen(&world, victim));
    let fresh = settle(&world).await;
    let repository = fresh.repository();
    let what = format!(
        "seed {seed}: {trouble:?} of {}, restore on {} {restored:?}, push on {} {pushed:?}",
        victim.address, restorer.address, pusher.address
    );
    if pushed.is_done {
        // A restore with `Fail` takes no tag from what was pushed, so the push came last, or alone.
        let found = repository.stat_manifest(&reference("v1")).await.unwrap();
        assert_eq!(found.digest, crate::storage::fixtures::sha256(&bytes), "{what}: an acknowledged tag is lost");
    }
    if restored.is_done {
        assert!(is_there(&repository, &by(&digest)).await, "{what}: what was restored is not there");
    }
    let trashed = world.memory.stat(&PathSpec::Tombstone(repository.name(), &digest, id.0).path()).await;
    assert!(trashed.is_ok() || is_there(&repository, &by(&digest)).await, "{what}: it is nowhere");
    assert_at_rest(&world, &fresh, seed).await;
}

#[tokio::test]
async fn a_delete_and_a_push_are_one_after_the_other_whatever_happens_to_a_replica() {
    for seed in seeds() {
        let world = World::new(seed);
        let time = world.time.clone();
        time.run(delete_and_push(world, seed)).await;
    }
}

#[tokio::test]
async fn a_restore_takes_no_tag_whatever_happens_to_a_replica() {
    for seed in seeds() {
        let world = World::new(seed);
        let time = world.time.clone();
        time.run(restore_and_push(world, seed)).await;
    }
}
