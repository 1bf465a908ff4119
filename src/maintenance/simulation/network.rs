//! The way from one process to the others.

use std::{
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use tokio::task::{AbortHandle, JoinHandle};
use ulid::Ulid;

use crate::storage::{CallError, ReplicaAnswer, ReplicaCall, ReplicaCalls};

use super::{time::ProcessClock, world::World};

/// How late a call may arrive that nobody waits for any more.
const LATEST: Duration = Duration::from_secs(60);

/// What one process has of the network.
#[derive(Debug)]
pub(super) struct Calls {
    world: Weak<World>,
    from: String,
    clock: Arc<ProcessClock>,
}

impl Calls {
    pub(super) fn new(world: &Arc<World>, from: &str, clock: &Arc<ProcessClock>) -> Self {
        Self { world: Arc::downgrade(world), from: from.to_owned(), clock: Arc::clone(clock) }
    }

    /// Carries a call to where it is answered, and the answer back.
    async fn deliver(
        world: Arc<World>,
        from: String,
        to: String,
        id: Ulid,
        call: ReplicaCall,
    ) -> Option<ReplicaAnswer> {
        let is_healed = world.network.is_healed();
        let there = if !is_healed && world.chance.hits(world.profile.lost_calls / 4) {
            world.chance.up_to(LATEST)
        } else {
            world.latency()
        };
        world.time.sleep(there).await;
        let process = world.processes().get(&to).cloned()?;
        process.clock.running().await;
        let answer = process.catalog.answer(id, &call).await;
        process.clock.running().await;
        world.note(&to, "answers", call.name(), &format_args!("{answer:?} to {from}"));
        world.time.sleep(world.latency()).await;
        let is_lost = !world.network.is_healed() && world.chance.hits(world.profile.lost_calls);
        (!is_lost && !world.network.is_cut(&to, &from)).then_some(answer)
    }
}

fn refused() -> CallError {
    CallError { source: io::Error::from(io::ErrorKind::ConnectionRefused).into() }
}

#[async_trait]
impl ReplicaCalls for Calls {
    async fn call(&self, id: Ulid, address: &str, call: &ReplicaCall) -> Result<ReplicaAnswer, CallError> {
        let Some(world) = self.world.upgrade() else { return std::future::pending().await };
        self.clock.running().await;
        let is_lost = !world.network.is_healed() && world.chance.hits(world.profile.lost_calls);
        if is_lost || world.network.is_cut(&self.from, address) {
            world.note(&self.from, "cannot call", address, &call.name());
            world.time.sleep(world.latency()).await;
            // Half of what is cut off is seen to be, half only swallows what is sent.
            return if world.chance.below(2) == 0 { Err(refused()) } else { std::future::pending().await };
        }
        if world.processes().get(address).is_none_or(|process| process.is_dead()) {
            world.time.sleep(world.latency()).await;
            return Err(refused());
        }
        let sent =
            tokio::spawn(Self::deliver(Arc::clone(&world), self.from.clone(), address.to_owned(), id, call.clone()));
        // Whoever answers may see that nobody waits any more, or not.
        let _hung_up = world.chance.hits(500).then(|| HungUp::of(&sent));
        let answer = sent.await;
        self.clock.running().await;
        match answer {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) if world.chance.hits(500) => Err(refused()),
            Ok(None) => std::future::pending().await,
            Err(error) => Err(CallError { source: error.into() }),
        }
    }
}

/// Ends what it is of when nobody waits for it.
struct HungUp(AbortHandle);

impl HungUp {
    fn of<T>(sent: &JoinHandle<T>) -> Self {
        Self(sent.abort_handle())
    }
}

impl Drop for HungUp {
    fn drop(&mut self) {
        self.0.abort();
    }
}
