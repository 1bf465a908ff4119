//! A process that serves the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    api::v1alpha1::AccessMode,
    maintenance::{Collections, RetentionRuns, Scrubs},
    storage::{Catalog, DeletionMode, Options, ReplicaSetup, StorageMetrics},
};

use super::{
    network::Calls,
    profile::timing,
    remote::Remote,
    time::{OwnClock, ProcessClock, Pulse},
    world::World,
};

/// For how long what was deleted can be restored.
pub(super) const RESTORE_WINDOW: Duration = Duration::from_secs(60);

/// How long a process that leaves is waited for.
const LEAVES_WITHIN: Duration = Duration::from_secs(90);

/// When an upload is given up that nobody goes on with.
const UPLOADS_EXPIRE_AFTER: Duration = Duration::from_secs(30);

/// A process, from its start to its end.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: u64,
    pub(super) address: String,
    pub(super) clock: Arc<ProcessClock>,
    pub(super) catalog: Catalog,
    pub(super) runs: RetentionRuns,
    pub(super) collections: Collections,
    pub(super) scrubs: Scrubs,
    is_ending: AtomicBool,
}

impl Process {
    /// Starts a process in the place of one that had the address before; waits until it serves. `None`: it could not
    /// start.
    pub(super) async fn start(world: &Arc<World>, address: &str) -> Option<Arc<Self>> {
        let drift = world.profile.drift;
        let rate = 1_000 - drift + u32::try_from(world.chance.below(u64::from(drift) * 2 + 1)).unwrap();
        let booted = Duration::from_secs(1_000 + world.chance.below(100_000));
        let clock = Arc::new(ProcessClock::new(Arc::clone(&world.time), booted, rate, world.skew()));
        let own = Arc::new(OwnClock(Arc::clone(&clock)));
        let driver = Arc::new(Remote::new(world, address, &clock));
        world.note(address, "starts", "", &format_args!("rate {rate}"));
        let catalog = if world.profile.is_shared {
            let calls = Arc::new(Calls::new(world, address, &clock));
            let setup = ReplicaSetup { address: address.to_owned(), calls };
            Catalog::open_shared(driver, options(), own.clone(), timing(), setup)
        } else {
            Catalog::open_with(driver, options(), own.clone(), timing()).await.ok()?
        };
        let opened = async {
            catalog.adopt().await.ok()?;
            let runs =
                RetentionRuns::open(catalog.clone(), AccessMode::ReadWrite, Arc::default(), own.clone()).await.ok()?;
            let collections = Collections::open(catalog.clone(), own.clone(), UPLOADS_EXPIRE_AFTER).await.ok()?;
            Some((runs, collections))
        };
        let Some((runs, collections)) = opened.await else {
            clock.set(Pulse::Dead);
            return None;
        };
        runs.begin();
        let (id, address) = (world.number(), address.to_owned());
        let scrubs = Scrubs::new(catalog.clone(), own);
        let process = Arc::new(Self {
            id,
            address: address.clone(),
            clock,
            catalog,
            runs,
            collections,
            scrubs,
            is_ending: AtomicBool::new(false),
        });
        world.processes().insert(address, Arc::clone(&process));
        Some(process)
    }

    /// As [`Self::start`], again until it serves.
    pub(super) async fn start_surely(world: &Arc<World>, address: &str) -> Arc<Self> {
        loop {
            if let Some(process) = Self::start(world, address).await {
                return process;
            }
            world.time.sleep(Duration::from_secs(1)).await;
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.clock.pulse() == Pulse::Dead
    }

    /// Whether its end has begun before; from now on it has.
    pub(super) fn is_ending(&self) -> bool {
        self.is_ending.swap(true, Ordering::SeqCst)
    }

    /// Whether clients are sent to it.
    pub(super) fn takes_requests(&self) -> bool {
        !self.is_dead() && !self.is_ending.load(Ordering::SeqCst)
    }

    /// Ends it in order, as far as it gets in the time that whoever ends it gives it.
    pub(super) async fn leave(self: &Arc<Self>, world: &World) {
        let leaving = Arc::clone(self);
        let left = tokio::spawn(async move { leaving.catalog.leave().await });
        futures::future::select(left, world.time.sleep(LEAVES_WITHIN)).await;
        self.kill(world);
    }

    /// Ends it at once: nothing that it was at goes on, but for what it had sent.
    pub(super) fn kill(&self, world: &World) {
        self.clock.set(Pulse::Dead);
        world.history.died(self.id, world.time.now());
        world.note(&self.address, "dies", "", &"");
    }
}

fn options() -> Options {
    Options {
        deletion: DeletionMode::Soft,
        restore_window: RESTORE_WINDOW,
        cache_entries: 1_000,
        redis: None,
        metrics: StorageMetrics::new(),
    }
}
