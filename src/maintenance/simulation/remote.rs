//! The store, as one process reaches it.

use std::{
    fmt, io,
    ops::Range,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use jiff::Timestamp;

use crate::storage::driver::{
    ByteStream, Durability, Entry, Error, Metadata, Purge, StagedFile, Staging, StorageDriver, StoragePath,
};

use super::{
    fate::{Fate, Request},
    medium::Medium,
    profile::timing,
    staged::Staged,
    time::ProcessClock,
    world::World,
};

/// How long a client waits for a store that does not answer.
const GIVES_UP_AFTER: Duration = Duration::from_secs(10);

/// Where a collection looks whether the store is fit, with hundreds of requests that everybody would wait for.
const SELF_TEST: &str = "lagan/v1/self-test/";

/// A client of the store.
#[derive(Clone)]
pub(super) struct Remote {
    world: Weak<World>,
    address: Arc<str>,
    clock: Arc<ProcessClock>,
    /// Whether it is the client that never lets anything land late.
    is_fenced: bool,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.address)
    }
}

impl Remote {
    pub(super) fn new(world: &Arc<World>, address: &str, clock: &Arc<ProcessClock>) -> Self {
        Self { world: Arc::downgrade(world), address: address.into(), clock: Arc::clone(clock), is_fenced: false }
    }

    fn fate(&self, world: &World, request: Request, path: &StoragePath) -> Fate {
        if let Some(fate) = world.trap.fate(&self.address, request, path.as_str()) {
            return fate;
        }
        if world.network.is_healed() || !world.chance.hits(world.profile.errors) {
            return Fate::Answered;
        }
        match (request, world.profile.is_shared) {
            (Request::Read(_), _) => *world.chance.pick(&[Fate::Refused, Fate::Lost]),
            (_, true) => {
                // Well within Q, or P: docs/protocol.md, assumptions A3 and A4.
                let late = self.latest(request) / 2;
                let late = if world.chance.hits(500) { Duration::ZERO } else { world.chance.up_to(late) };
                *world.chance.pick(&[Fate::Refused, Fate::Lost, Fate::Unanswered(late)])
            }
            (_, false) => *world.chance.pick(&[Fate::Refused, Fate::Full, Fate::Unanswered(Duration::ZERO)]),
        }
    }

    /// How long after it was asked for something may take effect at the latest.
    fn latest(&self, request: Request) -> Duration {
        let timing = timing();
        if self.is_fenced || matches!(request, Request::Removal(_)) {
            timing.removal_bound.saturating_sub(Duration::from_secs(1))
        } else {
            timing.grace.saturating_sub(timing.publication_limit).saturating_sub(timing.guard_wait)
        }
    }

    /// What was sent arrives also when nobody waits for the answer any more.
    async fn request<T: Send + 'static>(
        &self,
        request: Request,
        path: &StoragePath,
        effect: impl FnOnce(&Medium) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let Some(world) = self.world.upgrade() else { return std::future::pending().await };
        if path.as_str().starts_with(SELF_TEST) {
            return effect(&world.medium);
        }
        let asked = world.time.now();
        self.clock.running().await;
        let is_shared = world.profile.is_shared;
        if is_shared && world.network.is_off_the_store(&self.address) {
            world.time.sleep(GIVES_UP_AFTER).await;
            self.clock.running().await;
            return Err(lost(request, path));
        }
        let fate = self.fate(&world, request, path);
        let late = if let Fate::Unanswered(late) = fate { late } else { Duration::ZERO };
        let there = world.latency() + late;
        let sent = world.time.now();
        // Whoever stood still meanwhile has a request that nobody takes any more: its signature has expired.
        let has_expired = sent + there > asked + self.latest(request) && !matches!(request, Request::Read(_));
        let is_done = fate.is_done() && !has_expired;
        let this = self.clone();
        let (at, back) = (path.clone(), world.latency());
        let arrives = async move {
            world.time.sleep(there).await;
            // In a folder nothing happens after its process.
            if !is_shared {
                this.clock.running().await;
            }
            let result = is_done.then(|| effect(&world.medium));
            let came = result.as_ref().map(|result| result.as_ref().map(|_| ()).map_err(ToString::to_string));
            world.note(&this.address, request.name(), at.as_str(), &format_args!("{fate:?} {came:?}"));
            world.time.sleep(back).await;
            result
        };
        let result = if matches!(fate, Fate::Unanswered(_)) || self.is_fenced && there + back > GIVES_UP_AFTER {
            // Nobody waits until it takes effect.
            let arrives = tokio::spawn(arrives);
            let Some(world) = self.world.upgrade() else { return std::future::pending().await };
            world.time.sleep(GIVES_UP_AFTER.min(there + back)).await;
            drop((arrives, world));
            None
        } else {
            tokio::spawn(arrives).await.unwrap_or_default().filter(|_| fate != Fate::BrokenAfter)
        };
        self.clock.running().await;
        result.unwrap_or_else(|| {
            let error = match fate {
                Fate::Refused => Error::Busy { action: request.name(), path: path.clone(), source: unavailable() },
                Fate::Broken | Fate::BrokenAfter => {
                    Error::Io { action: request.name(), path: path.clone(), source: io::Error::other("broken") }
                }
                Fate::Full => Error::NoSpace { path: path.clone() },
                Fate::Lost | Fate::Answered | Fate::Unanswered(_) => lost(request, path),
            };
            Err(error)
        })
    }
}

fn lost(request: Request, path: &StoragePath) -> Error {
    Error::Unavailable { action: request.name(), path: path.clone(), source: unavailable() }
}

fn unavailable() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

#[async_trait]
impl StorageDriver for Remote {
    async fn get(&self, path: &StoragePath) -> Result<Bytes, Error> {
        let at = path.clone();
        self.request(Request::Read("get"), path, move |medium| medium.get(&at)).await
    }

    async fn read(&self, path: &StoragePath, range: Range<u64>) -> Result<ByteStream, Error> {
        let content = self.get(path).await?;
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        Ok(Box::pin(stream::iter([Ok(content.slice(range))])))
    }

    async fn stat(&self, path: &StoragePath) -> Result<Metadata, Error> {
        let at = path.clone();
        self.request(Request::Read("stat"), path, move |medium| medium.stat(&at)).await
    }

    async fn list(&self, folder: &StoragePath, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, Error> {
        let (at, after) = (folder.clone(), after.map(String::from));
        self.request(Request::Read("list"), folder, move |medium| medium.list(&at, after.as_deref(), limit)).await
    }

    async fn put(&self, path: &StoragePath, content: Bytes, durability: Durability) -> Result<(), Error> {
        let at = path.clone();
        let put = move |medium: &Medium| {
            medium.put(&at, content, durability == Durability::Durable);
            Ok(())
        };
        self.request(Request::Write("put"), path, put).await
    }

    async fn stage(&self, at: &Staging, started_at: Bytes) -> Result<Box<dyn StagedFile>, Error> {
        Ok(Box::new(Staged::begin(self.clone(), at, started_at).await?))
    }

    async fn resume(&self, at: &Staging) -> Result<Box<dyn StagedFile>, Error> {
        Ok(Box::new(Staged::resume(self.clone(), at).await?))
    }

    async fn last_use(&self, at: &Staging) -> Result<Timestamp, Error> {
        Ok(self.stat(&at.started_at).await?.modified)
    }

    async fn purge(&self, at: &Staging, unused_since: Timestamp) -> Result<Purge, Error> {
        match self.last_use(at).await {
            Ok(last_use) if last_use > unused_since => Ok(Purge::InUse),
            Ok(_) => self.delete_directory(&at.folder).await.map(|()| Purge::Removed),
            Err(Error::NotFound { .. }) => Ok(Purge::Absent),
            Err(error) => Err(error),
        }
    }

    async fn touch(&self, path: &StoragePath, modified: Timestamp) -> Result<(), Error> {
        let at = path.clone();
        self.request(Request::Write("touch"), path, move |medium| medium.touch(&at, modified)).await
    }

    async fn delete(&self, path: &StoragePath) -> Result<(), Error> {
        let at = path.clone();
        self.request(Request::Removal("delete"), path, move |medium| medium.delete(&at)).await
    }

    async fn delete_directory(&self, path: &StoragePath) -> Result<(), Error> {
        let at = path.clone();
        let remove = move |medium: &Medium| {
            medium.delete_directory(&at);
            Ok(())
        };
        self.request(Request::Removal("delete folder"), path, remove).await
    }

    async fn signed_url(&self, _: &StoragePath, _: Duration) -> Result<Option<String>, Error> {
        Ok(None)
    }

    fn is_shared(&self) -> bool {
        self.world.upgrade().is_some_and(|world| world.profile.is_shared)
    }

    fn was_interrupted(&self) -> bool {
        !self.is_shared()
    }

    fn fenced(self: Arc<Self>) -> Arc<dyn StorageDriver> {
        Arc::new(Self { is_fenced: true, ..(*self).clone() })
    }
}
