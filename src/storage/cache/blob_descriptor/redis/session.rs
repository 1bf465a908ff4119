//! The connection to the shared cache, kept by a task of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{AsyncConnectionConfig, RedisError, RedisResult, aio::MultiplexedConnection};
use tokio::{
    sync::watch,
    time::{error::Elapsed, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{info, warn};

use super::RedisTarget;

/// After so many failures in a row a connection is given up: one is an accident.
const STRIKES: u32 = 3;

/// The first pause before another attempt to connect. Each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A connection that has answered so often was a good one, so the next attempt after its end need not wait long.
const PROVEN: u64 = 100;

/// The code of the error that a script gives where the server has other data than it was meant for.
const MOVED: &str = "LAGANMOVED";

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::storage::cache::blob_descriptor) enum CommandError {
    #[error("could not connect to redis")]
    Connect { source: RedisError },
    #[error("redis is not connected")]
    NotConnected,
    #[error("redis took longer than {limit:?}")]
    Late { limit: Duration },
    #[error("redis refused")]
    Redis { source: RedisError },
}

/// One connection to one process of Redis.
#[derive(Debug)]
pub(in crate::storage::cache::blob_descriptor) struct Session {
    connection: MultiplexedConnection,
    /// Names the process, which changes with each start, and its data set.
    server: String,
    /// Names the data set, which changes with each promotion; empty where the server does not say.
    data_set: String,
    broken: CancellationToken,
    strikes: AtomicU32,
    answers: AtomicU64,
}

impl Session {
    pub(in crate::storage::cache::blob_descriptor) async fn open(
        target: &RedisTarget,
    ) -> Result<Arc<Self>, CommandError> {
        let limit = target.timeouts.connect;
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(limit)).set_response_timeout(None);
        let connecting = timeout(limit, target.client.get_multiplexed_async_connection_with_config(&config));
        let connecting = connecting.await.map_err(|_| CommandError::Late { limit })?;
        let mut connection = connecting.map_err(|source| CommandError::Connect { source })?;
        // As slow as look-ups may be: one that is slower would only be given up again.
        let limit = target.timeouts.lookup;
        let mut ask = async |section| {
            let mut command = redis::cmd("INFO");
            command.arg(section);
            let about: String = flatten(timeout(limit, command.query_async(&mut connection)).await, limit)?;
            Ok::<_, CommandError>(about)
        };
        let (about, replication) = (ask("server").await?, ask("replication").await?);
        let (process, data_set) = (field(&about, "run_id"), field(&replication, "master_replid"));
        Ok(Arc::new(Self {
            connection,
            server: format!("{process}:{data_set}"),
            data_set: data_set.to_owned(),
            broken: CancellationToken::new(),
            strikes: AtomicU32::new(0),
            answers: AtomicU64::new(0),
        }))
    }

    /// What its entries' keys name.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// What a command is meant for: the server refuses it with [`MOVED`] where it has another one.
    pub(super) fn data_set(&self) -> &str {
        &self.data_set
    }

    /// Runs a command, for at most so long, and for as long as the connection is good.
    pub(super) async fn run<T, F>(
        &self,
        limit: Duration,
        command: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, CommandError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let answer = tokio::select! {
            answer = timeout(limit, command(self.connection.clone())) => flatten(answer, limit),
            // Others found out that nothing comes: no need to find that out again.
            () = self.broken.cancelled() => Err(CommandError::NotConnected),
        };
        self.judge(&answer);
        answer
    }

    fn judge<T>(&self, answer: &Result<T, CommandError>) {
        let gone = match answer {
            Ok(_) => {
                self.strikes.store(0, Ordering::Relaxed);
                self.answers.fetch_add(1, Ordering::Relaxed);
                false
            }
            Err(CommandError::Redis { source }) if source.is_io_error() || source.is_connection_dropped() => true,
            Err(CommandError::Redis { source }) if source.code() == Some(MOVED) => true,
            Err(_) => self.strikes.fetch_add(1, Ordering::Relaxed) + 1 >= STRIKES,
        };
        if gone {
            self.broken.cancel();
        }
    }
}

fn flatten<T>(answer: Result<RedisResult<T>, Elapsed>, limit: Duration) -> Result<T, CommandError> {
    answer.map_err(|_| CommandError::Late { limit })?.map_err(|source| CommandError::Redis { source })
}

/// What a server says of itself under a name; empty where it says nothing.
fn field<'a>(about: &'a str, name: &str) -> &'a str {
    let named = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    about.lines().find_map(named).unwrap_or_default().trim()
}

/// The connection of the moment. A task connects, again and again, so that no request waits for that.
#[derive(Debug)]
pub(super) struct Sessions {
    current: watch::Receiver<Option<Arc<Session>>>,
    _keeper: AbortOnDropHandle<()>,
}

impl Sessions {
    /// Begins to connect.
    pub(super) fn keep(target: RedisTarget) -> Self {
        let (sender, current) = watch::channel(None);
        Self { current, _keeper: AbortOnDropHandle::new(tokio::spawn(keep(target, sender))) }
    }

    /// The connection, if there is one.
    pub(super) fn current(&self) -> Result<Arc<Session>, CommandError> {
        let session = self.current.borrow().clone();
        session.filter(|session| !session.broken.is_cancelled()).ok_or(CommandError::NotConnected)
    }

    /// Waits for a connection, for at most so long.
    pub(super) async fn wait(&self, limit: Duration) {
        let mut current = self.current.clone();
        // Whether there is one is seen by who asks for it.
        let _ = timeout(limit, current.wait_for(Option::is_some)).await;
    }
}

async fn keep(target: RedisTarget, sessions: watch::Sender<Option<Arc<Session>>>) {
    let address = target.address.as_str();
    let mut pause = FIRST_PAUSE;
    let mut was_reachable = true;
    loop {
        match Session::open(&target).await {
            Ok(session) => {
                info!(address, server = session.server, "connected to redis");
                was_reachable = true;
                sessions.send_replace(Some(Arc::clone(&session)));
                session.broken.cancelled().await;
                sessions.send_replace(None);
                warn!(address, "lost redis; going on without it");
                if session.answers.load(Ordering::Relaxed) >= PROVEN {
                    pause = FIRST_PAUSE;
                }
            }
            Err(error) => {
                // Once, and not with each attempt.
                if std::mem::replace(&mut was_reachable, false) {
                    let error = &error as &(dyn std::error::Error + 'static);
                    warn!(address, error, "could not reach redis; going on without it");
                }
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(target.timeouts.retry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_of_itself_is_found_by_its_whole_name() {
        assert_eq!(field("# Server\r\nredis_version:7.0.15\r\nrun_id:0a1b\r\ntcp_port:0\r\n", "run_id"), "0a1b");
        assert_eq!(field("role:master\r\nmaster_replid2:2c\r\nmaster_replid:3d\r\n", "master_replid"), "3d");
        assert_eq!(field("# Server\r\n", "run_id"), "");
    }
}
