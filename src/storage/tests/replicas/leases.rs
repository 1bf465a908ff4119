//! A lease that lapses while something is being promised.

use std::time::Duration;

use crate::storage::{
    Audience, Error, Holder, ReplicaAnswer, ReplicaCall,
    fixtures::{name, sha256},
    tests::{image, put, seed_blob},
};

use super::{
    scenarios::{seconds, simulate, started},
    simulator::{Process, World},
    time::Pulse,
};

/// How often it is looked whether something was written: more often than a request takes.
const LOOK: Duration = Duration::from_micros(20);

/// Stands still for longer than a lease once something is written below a folder; at once without one.
async fn stand_still(world: &World, process: &Process, after: Option<String>) {
    if let Some(folder) = after {
        while world.keys(&folder).is_empty() {
            world.time.sleep(LOOK).await;
        }
    }
    process.set(Pulse::Paused);
    world.time.sleep(seconds(60)).await;
    process.set(Pulse::Running);
}

#[derive(Debug, Clone, Copy)]
enum Asked {
    Head,
    Commit,
    Mount,
    Manifest,
}

impl Asked {
    /// What the operation writes last.
    fn last_written(self, blob: &str) -> Option<String> {
        let repositories = "docker/registry/v2/repositories";
        match self {
            Self::Head => None,
            Self::Commit => Some(format!("{repositories}/app/_layers/sha256/{blob}")),
            Self::Mount => Some(format!("{repositories}/other/_layers/sha256/{blob}")),
            Self::Manifest => Some(format!("{repositories}/app/_manifests/tags/v9/current")),
        }
    }

    async fn of(self, process: &Process) -> Result<(), Error> {
        let repository = process.repository();
        let blob = image("a").blobs()[0].clone();
        match self {
            Self::Head => repository.stat_blob(&sha256(&blob), Audience::Pusher).await.map(drop),
            Self::Commit => {
                let blob = image("new").blobs()[0].clone();
                let mut upload = repository.create_upload().await?;
                upload.append(blob.clone()).await?;
                upload.commit(&sha256(&blob)).await.map(drop)
            }
            Self::Mount => {
                let other = process.catalog.repository(&name("other"));
                other.mount_blob(&sha256(&blob), &name("app")).await.map(drop)
            }
            Self::Manifest => repository.put_manifest(put(&image("a").bytes(), Some("v9"))).await.map(drop),
        }
    }
}

#[tokio::test]
async fn what_outlives_its_lease_is_not_answered() {
    for (seed, asked) in (700..).zip([Asked::Head, Asked::Commit, Asked::Mount, Asked::Manifest]) {
        simulate(seed, async |world| {
            let (processes, _) = started(&world).await;
            let blob = if matches!(asked, Asked::Commit) { image("new") } else { image("a") }.blobs()[0].clone();
            let after = asked.last_written(sha256(&blob).hex());
            let (answer, ()) = tokio::join!(asked.of(&processes[1]), stand_still(&world, &processes[1], after));
            assert!(matches!(answer, Err(Error::NoLease)), "{asked:?}: {answer:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_manifest_is_not_linked_without_a_lease() {
    simulate(710, async |world| {
        let (processes, _) = started(&world).await;
        let new = image("new");
        for blob in new.blobs() {
            seed_blob(&processes[1].repository(), &blob).await.unwrap();
        }
        let manifest = put(&new.bytes(), Some("v9"));
        let repository = processes[1].repository();
        let (answer, ()) = tokio::join!(repository.put_manifest(manifest), stand_still(&world, &processes[1], None));
        assert!(matches!(answer, Err(Error::NoLease)), "{answer:?}");
        let link = format!("docker/registry/v2/repositories/app/_manifests/revisions/sha256/{}", new.digest().hex());
        assert_eq!(world.keys(&link), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn what_was_looked_at_long_ago_is_not_relied_on() {
    simulate(711, async |world| {
        let (processes, _) = started(&world).await;
        let store = &processes[1].catalog.store;
        let promise = store.enter([]).await.unwrap();
        world.time.sleep(store.timing.publication_limit).await;
        assert!(promise.lease().is_ok(), "the lease is another matter");
        assert!(matches!(promise.lease_while_young(store), Err(Error::NoLease)));
    })
    .await;
}

#[tokio::test]
async fn a_call_is_answered_by_whom_it_is_for() {
    simulate(712, async |world| {
        let (processes, _) = started(&world).await;
        let other = processes[0].catalog.replica_id().unwrap();
        let own = processes[1].catalog.replica_id().unwrap();
        let call = ReplicaCall::Thaw { holder: Holder::Pending(other) };
        assert_eq!(processes[1].catalog.answer(own, &call).await, ReplicaAnswer::Done);
        assert_eq!(processes[1].catalog.answer(other, &call).await, ReplicaAnswer::NotMe);
    })
    .await;
}

/// Until a process has another term than one, and has joined the others.
async fn is_back(world: &World, process: &Process, before: ulid::Ulid) {
    let membership = process.catalog.store.replicas.as_ref().unwrap();
    while membership.term().is_none_or(|term| term.id() == before || !term.is_valid()) {
        world.time.sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn who_only_was_too_late_is_back_at_once_although_it_was_evicted_before() {
    simulate(712, async |world| {
        let (processes, _) = started(&world).await;
        let process = &processes[1];
        let (membership, timing) = (process.catalog.store.replicas.as_ref().unwrap(), &process.catalog.store.timing);
        for _ in 0..2 {
            let term = membership.term().unwrap().id();
            processes[0].catalog.store.evict(term).await.unwrap();
            is_back(&world, process, term).await;
        }
        let term = membership.term().unwrap();
        world.cut_store(&process.address, true);
        while term.is_alive() {
            world.time.sleep(Duration::from_millis(100)).await;
        }
        world.cut_store(&process.address, false);
        let lapsed_at = world.time.now();
        is_back(&world, process, term.id()).await;
        let away = world.time.now().saturating_sub(lapsed_at);
        assert!(away < timing.beat * 4, "it stayed away for {away:?}");
    })
    .await;
}
