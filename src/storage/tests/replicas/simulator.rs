//! Several processes on one store, with a network that delays and loses, under a clock of its own.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use ulid::Ulid;

use crate::storage::{
    CallError, Catalog, Clock as _, ReplicaAnswer, ReplicaCall, ReplicaCalls, ReplicaSetup, Repository, Timing,
    driver::{
        self, ByteStream, Durability, Entry, Metadata, StagedFile, Staging, StorageDriver, StoragePath,
        memory::MemoryDriver,
    },
    fixtures::{name, options},
};

use super::time::{ProcessClock, Pulse, Time};

/// How long a client waits for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(300);

/// What is different from seed to seed.
#[derive(Debug)]
pub(super) struct Chance(Mutex<u64>);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1)))
    }

    /// A number below `bound`.
    pub(super) fn below(&self, bound: u64) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A linear congruential generator (Knuth's MMIX constants); the high bits are the random ones.
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % bound
    }

    pub(super) fn up_to(&self, longest: Duration) -> Duration {
        Duration::from_millis(self.below(u64::try_from(longest.as_millis()).unwrap() + 1))
    }
}

/// Everything that there is.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) time: Arc<Time>,
    pub(super) chance: Arc<Chance>,
    pub(super) memory: Arc<MemoryDriver>,
    network: Arc<Network>,
}

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hiccup {
    /// The store has not begun with it, and says so.
    Refused,
    /// It takes effect after so long, and the answer never comes.
    Lost(Duration),
}

/// The requests that go wrong: of which process, what they do, what their path contains, and how often.
#[derive(Debug)]
struct Trouble {
    address: String,
    write: Write,
    part: String,
    hiccup: Hiccup,
    left: u32,
}

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    Put,
    Delete,
    /// Nothing: it is looked at.
    Stat,
}

/// Which processes can be reached at which address, and which ways are cut.
#[derive(Debug, Default)]
struct Network {
    processes: Mutex<HashMap<String, Process>>,
    /// Addresses that no call comes from or goes to.
    cut: Mutex<BTreeSet<String>>,
    /// Addresses that do not reach the store.
    off_the_store: Mutex<BTreeSet<String>>,
    trouble: Mutex<Option<Trouble>>,
    death: Mutex<Option<Death>>,
}

/// A process that dies when it has made so many more writes whose path contains `part`.
#[derive(Debug)]
struct Death {
    address: String,
    part: String,
    left: u32,
    /// Whether the last write takes effect.
    lands: bool,
}

/// A process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) address: String,
    pub(super) catalog: Catalog,
    pub(super) clock: Arc<ProcessClock>,
}

/// The protocol's times, but Q: a tenth of it is long enough to tell it from the other ones.
fn timing() -> Timing {
    Timing { removal_bound: Duration::from_secs(60), ..Timing::default() }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let time = Arc::new(Time::default());
        let memory = Arc::new(MemoryDriver::new(Arc::new(ProcessClock::new(time.clone(), Duration::ZERO))));
        Self { time, chance: Arc::new(Chance::new(seed)), memory, network: Arc::default() }
    }

    /// Starts a process, in place of one that had the address before.
    pub(super) fn start(&self, address: &str) -> Process {
        let booted = Duration::from_secs(1_000 + self.chance.below(100_000));
        let clock = Arc::new(ProcessClock::new(self.time.clone(), booted));
        let driver = Arc::new(Remote { world: self.clone(), address: address.into(), clock: clock.clone() });
        let calls = Arc::new(Calls { world: self.clone(), from: address.into() });
        let setup = ReplicaSetup { address: address.into(), calls };
        let catalog = Catalog::open_shared(driver, options(), clock.clone(), timing(), setup);
        let process = Process { address: address.into(), catalog, clock };
        self.network.processes.lock().unwrap().insert(address.into(), process.clone());
        process
    }

    /// Starts processes and waits until all have joined.
    pub(super) async fn start_all(&self, addresses: &[&str]) -> Vec<Process> {
        let processes: Vec<Process> = addresses.iter().map(|address| self.start(address)).collect();
        for process in &processes {
            process.catalog.joined().await;
        }
        processes
    }

    /// Lets no call through to or from an address, or all again.
    pub(super) fn cut_calls(&self, address: &str, is_cut: bool) {
        set(&self.network.cut, address, is_cut);
    }

    /// Lets an address not reach the store, or reach it again.
    pub(super) fn cut_store(&self, address: &str, is_cut: bool) {
        set(&self.network.off_the_store, address, is_cut);
    }

    /// Lets the next so many requests of a process go wrong whose path contains `part`.
    pub(super) fn hiccup(&self, process: &Process, write: Write, part: &str, hiccup: Hiccup, times: u32) {
        let (address, part) = (process.address.clone(), part.to_owned());
        *self.network.trouble.lock().unwrap() = Some(Trouble { address, write, part, hiccup, left: times });
    }

    /// Lets a process die at its write after the next so many whose path contains `part`.
    pub(super) fn die_at(&self, process: &Process, part: &str, left: u32, lands: bool) {
        let (address, part) = (process.address.clone(), part.to_owned());
        *self.network.death.lock().unwrap() = Some(Death { address, part, left, lands });
    }

    /// Whether a process dies now; if it does, whether its write takes effect.
    fn dies(&self, address: &str, path: &StoragePath) -> Option<bool> {
        let mut death = self.network.death.lock().unwrap();
        let meant = death.as_mut().filter(|death| death.address == address && path.as_str().contains(&death.part))?;
        if meant.left > 0 {
            meant.left -= 1;
            return None;
        }
        death.take().map(|death| death.lands)
    }

    /// Whether all that was to go wrong did.
    pub(super) fn had_its_hiccups(&self) -> bool {
        self.network.trouble.lock().unwrap().as_ref().is_none_or(|trouble| trouble.left == 0)
    }

    fn trouble_with(&self, address: &str, write: Write, path: &StoragePath) -> Option<Hiccup> {
        let mut trouble = self.network.trouble.lock().unwrap();
        let trouble = trouble.as_mut().filter(|trouble| trouble.left > 0)?;
        let is_meant =
            trouble.address == address && trouble.write == write && path.as_str().contains(trouble.part.as_str());
        trouble.left -= u32::from(is_meant);
        is_meant.then_some(trouble.hiccup)
    }

    fn latency(&self) -> futures::future::BoxFuture<'static, ()> {
        self.time.sleep(self.chance.up_to(Duration::from_millis(40)))
    }

    /// What lies in the store below a folder.
    pub(super) fn keys(&self, folder: &str) -> Vec<String> {
        let paths = self.memory.paths();
        paths.iter().filter(|path| path.as_str().starts_with(folder)).map(ToString::to_string).collect()
    }
}

fn set(addresses: &Mutex<BTreeSet<String>>, address: &str, is_in: bool) {
    let mut addresses = addresses.lock().unwrap();
    if is_in {
        addresses.insert(address.into())
    } else {
        addresses.remove(address)
    };
}

impl Process {
    pub(super) fn repository(&self) -> Repository {
        self.catalog.repository(&name("app"))
    }

    pub(super) fn set(&self, pulse: Pulse) {
        self.clock.pulse.send_replace(pulse);
        if pulse == Pulse::Dead {
            self.catalog.store.replicas.as_ref().unwrap().kill();
        }
    }

    pub(super) fn is_running(&self) -> bool {
        *self.clock.pulse.borrow() == Pulse::Running
    }

    /// What a client of this process is told; `None`: nothing, because it dies, or takes too long.
    pub(super) async fn client<T>(&self, world: &World, request: impl Future<Output = T>) -> Option<T> {
        let gives_up = world.time.sleep(CLIENT_TIMEOUT);
        tokio::select! {
            () = self.clock.died() => None,
            () = gives_up => None,
            answer = async {
                self.clock.running().await;
                let answer = request.await;
                self.clock.running().await;
                answer
            } => Some(answer),
        }
    }
}

/// The store, as one process reaches it.
#[derive(Debug, Clone)]
struct Remote {
    world: World,
    address: String,
    clock: Arc<ProcessClock>,
}

impl Remote {
    fn is_cut(&self) -> bool {
        self.world.network.off_the_store.lock().unwrap().contains(&self.address)
    }

    fn lost(path: &StoragePath) -> driver::Error {
        let source = io::Error::from(io::ErrorKind::TimedOut);
        driver::Error::Unavailable { action: "reach", path: path.clone(), source }
    }

    /// A write, which may go wrong.
    async fn write(
        &self,
        path: &StoragePath,
        write: Write,
        operation: impl Future<Output = Result<(), driver::Error>> + Send + 'static,
    ) -> Result<(), driver::Error> {
        if let Some(lands) = self.world.dies(&self.address, path) {
            let process = self.world.network.processes.lock().unwrap().get(&self.address).cloned();
            process.unwrap().set(Pulse::Dead);
            if lands {
                let _ = operation.await;
            }
            return std::future::pending().await;
        }
        match self.world.trouble_with(&self.address, write, path) {
            None => self.request(path, operation).await,
            Some(Hiccup::Refused) => {
                self.request(path, async { Ok(()) }).await?;
                Err(Self::busy(path))
            }
            Some(Hiccup::Lost(after)) => {
                let later = self.world.time.sleep(after);
                tokio::spawn(async move {
                    later.await;
                    operation.await
                });
                self.request(path, async { Ok(()) }).await?;
                Err(Self::lost(path))
            }
        }
    }

    fn busy(path: &StoragePath) -> driver::Error {
        let source = io::Error::other("come again later");
        driver::Error::Busy { action: "take a request for", path: path.clone(), source }
    }

    /// What was sent arrives also when nobody waits for the answer any more.
    async fn request<T: Send + 'static>(
        &self,
        path: &StoragePath,
        operation: impl Future<Output = Result<T, driver::Error>> + Send + 'static,
    ) -> Result<T, driver::Error> {
        self.clock.running().await;
        if self.is_cut() {
            self.clock.sleep(Duration::from_secs(10)).await;
            return Err(Self::lost(path));
        }
        let (there, back) = (self.world.latency(), self.world.latency());
        let sent = tokio::spawn(async move {
            there.await;
            let result = operation.await;
            back.await;
            result
        });
        let answer = sent.await.unwrap();
        if self.is_cut() {
            self.clock.sleep(Duration::from_secs(10)).await;
            return Err(Self::lost(path));
        }
        self.clock.running().await;
        answer
    }
}

macro_rules! forwarded {
    ($self:ident, $path:expr, |$memory:ident, $at:ident| $operation:expr) => {{
        let ($memory, $at) = ($self.world.memory.clone(), $path.clone());
        $self.request($path, async move { $operation.await }).await
    }};
}

#[async_trait]
impl StorageDriver for Remote {
    async fn get(&self, path: &StoragePath) -> Result<Bytes, driver::Error> {
        forwarded!(self, path, |memory, at| memory.get(&at))
    }

    async fn read(&self, path: &StoragePath, range: Range<u64>) -> Result<ByteStream, driver::Error> {
        forwarded!(self, path, |memory, at| memory.read(&at, range))
    }

    async fn stat(&self, path: &StoragePath) -> Result<Metadata, driver::Error> {
        if self.world.trouble_with(&self.address, Write::Stat, path).is_some() {
            self.request(path, async { Ok(()) }).await?;
            return Err(Self::busy(path));
        }
        forwarded!(self, path, |memory, at| memory.stat(&at))
    }

    async fn list(&self, folder: &StoragePath, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, driver::Error> {
        let after = after.map(String::from);
        forwarded!(self, folder, |memory, at| memory.list(&at, after.as_deref(), limit))
    }

    async fn put(&self, path: &StoragePath, content: Bytes, durability: Durability) -> Result<(), driver::Error> {
        let (memory, at) = (self.world.memory.clone(), path.clone());
        self.write(path, Write::Put, async move { memory.put(&at, content, durability).await }).await
    }

    async fn stage(&self, at: &Staging, started_at: Bytes) -> Result<Box<dyn StagedFile>, driver::Error> {
        self.world.memory.stage(at, started_at).await
    }

    async fn resume(&self, at: &Staging) -> Result<Box<dyn StagedFile>, driver::Error> {
        self.world.memory.resume(at).await
    }

    async fn last_use(&self, at: &Staging) -> Result<Timestamp, driver::Error> {
        self.world.memory.last_use(at).await
    }

    async fn purge(&self, at: &Staging, unused_since: Timestamp) -> Result<driver::Purge, driver::Error> {
        self.world.memory.purge(at, unused_since).await
    }

    async fn touch(&self, path: &StoragePath, modified: Timestamp) -> Result<(), driver::Error> {
        forwarded!(self, path, |memory, at| memory.touch(&at, modified))
    }

    async fn delete(&self, path: &StoragePath) -> Result<(), driver::Error> {
        let (memory, at) = (self.world.memory.clone(), path.clone());
        self.write(path, Write::Delete, async move { memory.delete(&at).await }).await
    }

    async fn delete_directory(&self, path: &StoragePath) -> Result<(), driver::Error> {
        forwarded!(self, path, |memory, at| memory.delete_directory(&at))
    }

    async fn signed_url(&self, path: &StoragePath, expires: Duration) -> Result<Option<String>, driver::Error> {
        self.world.memory.signed_url(path, expires).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn fenced(self: Arc<Self>) -> Arc<dyn StorageDriver> {
        self
    }
}

/// The way from one process to the others.
#[derive(Debug)]
struct Calls {
    world: World,
    from: String,
}

impl Calls {
    fn is_cut(&self, to: &str) -> bool {
        let cut = self.world.network.cut.lock().unwrap();
        cut.contains(&self.from) || cut.contains(to)
    }
}

fn refused() -> CallError {
    CallError { source: io::Error::from(io::ErrorKind::ConnectionRefused).into() }
}

#[async_trait]
impl ReplicaCalls for Calls {
    async fn call(&self, id: Ulid, address: &str, call: &ReplicaCall) -> Result<ReplicaAnswer, CallError> {
        self.world.latency().await;
        if self.is_cut(address) {
            // Half of what is cut off is seen to be, half only swallows what is sent.
            if self.world.chance.below(2) == 0 {
                return Err(refused());
            }
            return std::future::pending().await;
        }
        let process = self.world.network.processes.lock().unwrap().get(address).cloned().ok_or_else(refused)?;
        let (call, back) = (call.clone(), self.world.latency());
        let answered = tokio::spawn(async move {
            process.clock.running().await;
            let answer = process.catalog.answer(id, &call).await;
            process.clock.running().await;
            back.await;
            answer
        });
        let answer = answered.await.map_err(|error| CallError { source: error.into() })?;
        if self.is_cut(address) { Err(refused()) } else { Ok(answer) }
    }
}
