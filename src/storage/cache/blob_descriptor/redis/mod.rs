//! Descriptors in a Redis that replicas share.
//!
//! An entry is a hash with a nonce and, once it is filled, a descriptor. Each of these is one step in Redis:
//!
//! - A look-up answers with the descriptor. Where there is none it answers with the nonce, and makes one where that is
//!   missing: who then reads the links has the right to fill.
//! - A fill sets the descriptor if the nonce is still the one that the look-up gave. A missing one refuses it: the entry
//!   was cleared, or evicted, or everything was.
//! - A clear removes the entry with its nonce. The next look-up makes another, so that every right from before is void.
//!
//! An entry's key names, beside the content, the cache's epoch, the process of Redis and its data set. Redis may lose a
//! clear that it has confirmed, when it is restarted from an older snapshot or a standby takes over that had not seen it;
//! but then it is another process, and its older entries are never looked at. A process may also get back what it had
//! forgotten, from a standby whose standby it became; but when it is made a master again, it names its data set anew, as
//! every promotion does. So each command says for which data set it is meant.
//!
//! # Assumptions
//! One process of Redis, or several of which one answers at a time; it may forget what it likes, whenever it likes.

mod session;
mod target;

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use redis::Script;
use tracing::debug;
use ulid::Ulid;

use crate::oci::Descriptor;

use crate::storage::{
    blobs::linked_store::LinkScope,
    metrics::{CacheLevel, CacheMetrics},
};

use super::{BlobDescriptorService, DescriptorKey, Lookup, NotCleared};

pub(super) use session::Session;
use session::{CommandError, Sessions};
pub use target::{RedisOptions, RedisTarget, RedisTargetError, RedisTimeouts, RedisTls};

/// How long an entry lives. An hour bounds what a mistake can cost, and how long keys of an epoch that is over stay; what
/// is in demand is read again once an hour.
const ENTRY_TTL_MS: u64 = 60 * 60 * 1000;

/// How long a nonce without a descriptor lives: longer than the links take to be read, and short, because anybody can
/// ask for what does not exist.
const NONCE_TTL_MS: u64 = 30 * 1000;

/// The longest descriptor that is kept, in bytes of JSON. Those of this registry have some 200.
const MAX_DESCRIPTOR: usize = 4 << 10;

/// What a script begins with: the server must still have the data set of which the entry's key speaks. The last argument
/// names that; it is empty where the server names none.
const CHECK: &str = r"
if ARGV[#ARGV] ~= '' and not string.find(redis.call('INFO', 'replication'), 'master_replid:' .. ARGV[#ARGV], 1, true) then
  return redis.error_reply('LAGANMOVED the server has the data of another one by now')
end
";

const LOOK_UP: &str = r"
local entry = redis.call('HMGET', KEYS[1], 'descriptor', 'nonce')
if entry[1] then return {entry[1], false} end
if entry[2] then return {false, entry[2]} end
redis.call('HSET', KEYS[1], 'nonce', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {false, ARGV[1]}
";

const FILL: &str = r"
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'descriptor', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
";

const CLEAR: &str = "return redis.call('DEL', unpack(KEYS))";

fn script(code: &str) -> Script {
    Script::new(&format!("{CHECK}{code}"))
}

/// The shared cache.
#[derive(Debug)]
pub(in crate::storage) struct RedisDescriptors {
    target: RedisTarget,
    sessions: Sessions,
    /// `None` until the store said which; then it only grows.
    epoch: Mutex<Option<Ulid>>,
    look_up: Script,
    fill: Script,
    clear: Script,
    metrics: CacheMetrics,
}

/// The right to fill one entry.
#[derive(Debug)]
pub(in crate::storage) struct RedisFill {
    entry: String,
    nonce: String,
}

impl RedisDescriptors {
    /// Begins to connect, and knows nothing until it was told the epoch.
    pub(in crate::storage) fn new(target: RedisTarget, metrics: CacheMetrics) -> Self {
        Self {
            sessions: Sessions::keep(target.clone()),
            target,
            epoch: Mutex::default(),
            look_up: script(LOOK_UP),
            fill: script(FILL),
            clear: script(CLEAR),
            metrics,
        }
    }

    /// Waits for the connection, for as long as connecting may take: a delete that finds none has to do without.
    pub(in crate::storage) async fn connected(&self) {
        self.sessions.wait(self.target.timeouts.connect).await;
    }

    /// Where the store lies whose content is remembered.
    pub(in crate::storage) fn place(&self) -> &str {
        &self.target.place
    }

    /// The epoch whose entries are looked at.
    pub(in crate::storage) fn epoch(&self) -> Option<Ulid> {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at no entry of an epoch before this one any more; whether that is news.
    pub(in crate::storage) fn adopt(&self, told: Ulid) -> bool {
        let mut epoch = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *epoch < Some(told);
        if is_news {
            *epoch = Some(told);
        }
        is_news
    }

    /// The name of an entry; `None` while the epoch is not known.
    fn entry(&self, session: &Session, key: &DescriptorKey) -> Option<String> {
        let (prefix, server) = (&self.target.key_prefix, session.server());
        let scope = match key.scope {
            LinkScope::Layers => "l",
            LinkScope::Manifests => "m",
        };
        Some(format!("{prefix}:{server}:{}:{scope}:{}@{}", self.epoch()?, key.repository, key.digest))
    }

    async fn try_stat(&self, key: &DescriptorKey) -> Result<Lookup<Option<RedisFill>>, CommandError> {
        let session = self.sessions.current()?;
        let Some(entry) = self.entry(&session, key) else { return Ok(Lookup::Unknown(None)) };
        let look_up = |mut connection| {
            let mut invocation = self.look_up.key(&entry);
            invocation.arg(fresh_nonce()).arg(NONCE_TTL_MS).arg(session.data_set());
            async move { invocation.invoke_async(&mut connection).await }
        };
        let (found, nonce): (Option<Vec<u8>>, Option<String>) =
            session.run(self.target.timeouts.lookup, look_up).await?;
        // One that another version wrote is as good as none.
        let known = found.and_then(|json| serde_json::from_slice(&json).ok());
        Ok(match known {
            Some(descriptor) => Lookup::Known(descriptor),
            None => Lookup::Unknown(nonce.map(|nonce| RedisFill { entry, nonce })),
        })
    }

    async fn try_set(&self, descriptor: &Descriptor, fill: &RedisFill) -> Result<bool, CommandError> {
        let Ok(json) = serde_json::to_vec(descriptor) else { return Ok(false) };
        if json.len() > MAX_DESCRIPTOR {
            return Ok(false);
        }
        let session = self.sessions.current()?;
        let set = |mut connection| {
            let mut invocation = self.fill.key(&fill.entry);
            invocation.arg(&fill.nonce).arg(json).arg(ENTRY_TTL_MS).arg(session.data_set());
            async move { invocation.invoke_async(&mut connection).await }
        };
        session.run(self.target.timeouts.lookup, set).await
    }

    async fn try_clear(&self, keys: &[DescriptorKey]) -> Result<(), CommandError> {
        let session = self.sessions.current()?;
        let entries: Vec<String> = keys.iter().filter_map(|key| self.entry(&session, key)).collect();
        if entries.is_empty() {
            return Ok(());
        }
        let clear = |mut connection| {
            let mut invocation = self.clear.prepare_invoke();
            for entry in &entries {
                invocation.key(entry);
            }
            invocation.arg(session.data_set());
            async move { invocation.invoke_async(&mut connection).await }
        };
        session.run(self.target.timeouts.clear, clear).await
    }

    fn failed(&self, command: &'static str, error: &CommandError) {
        if !matches!(error, CommandError::NotConnected) {
            debug!(command, error = error as &(dyn std::error::Error + 'static), "redis failed");
        }
        self.metrics.failed(CacheLevel::Redis);
    }
}

#[async_trait]
impl BlobDescriptorService for RedisDescriptors {
    type Fill = Option<RedisFill>;

    async fn stat(&self, key: &DescriptorKey) -> Lookup<Option<RedisFill>> {
        match self.try_stat(key).await {
            Ok(lookup) => {
                self.metrics.looked_up(CacheLevel::Redis, matches!(lookup, Lookup::Known(_)));
                lookup
            }
            Err(error) => {
                self.failed("stat", &error);
                Lookup::Unknown(None)
            }
        }
    }

    async fn set(&self, _key: &DescriptorKey, descriptor: &Descriptor, fill: Option<RedisFill>) {
        let Some(fill) = fill else { return };
        match self.try_set(descriptor, &fill).await {
            Ok(stands) => self.metrics.filled(CacheLevel::Redis, stands),
            Err(error) => self.failed("set", &error),
        }
    }

    async fn clear(&self, keys: &[DescriptorKey]) -> Result<(), NotCleared> {
        let cleared = self.try_clear(keys).await;
        self.metrics.cleared(CacheLevel::Redis, cleared.is_ok());
        cleared.map_err(|error| {
            self.failed("clear", &error);
            NotCleared
        })
    }
}

/// A name that nobody gave before: 128 random bits.
fn fresh_nonce() -> String {
    format!("{:032x}", rand::random::<u128>())
}
