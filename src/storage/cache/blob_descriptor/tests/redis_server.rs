//! A real Redis, and a gate on the way to it that can be shut.

use std::{
    os::unix::net::UnixStream as BlockingStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use crate::storage::{RedisOptions, RedisTarget, RedisTimeouts};

/// A Redis of its own, on a socket in a folder that goes with it.
pub(in crate::storage) struct RedisServer {
    folder: TempDir,
    process: Child,
}

impl RedisServer {
    pub(in crate::storage) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// One with more options.
    pub(in crate::storage) async fn start_with(options: &[&[&str]]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = launch(folder.path(), &options.concat());
        let server = Self { folder, process };
        server.answers().await;
        server
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    pub(in crate::storage) fn address(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// A target whose waits suit a test: long enough for a busy machine, where they are not what is tested.
    pub(in crate::storage) fn target(&self) -> RedisTarget {
        target(&self.address())
    }

    /// The same, for a store that lies there.
    pub(in crate::storage) fn target_for(&self, place: &str) -> RedisTarget {
        target_of(RedisOptions { place: place.into(), ..RedisOptions::at(self.address()) })
    }

    /// Lets others replicate it: its address for them.
    async fn listen(&self) -> (String, String) {
        for _ in 0..100 {
            // Free just now, and with some luck still when it is taken.
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
            let client = redis::Client::open(format!("unix://{}", self.socket().display())).unwrap();
            let mut connection = client.get_multiplexed_async_connection().await.unwrap();
            let mut command = redis::cmd("CONFIG");
            command.arg("SET").arg("port").arg(&free);
            if command.query_async::<()>(&mut connection).await.is_ok() {
                return ("127.0.0.1".to_owned(), free);
            }
        }
        panic!("redis-server finds no port");
    }

    /// Makes it the standby of another one, and waits until it has all that the other one has.
    pub(in crate::storage) async fn follow(&self, master: &Self) {
        let (host, port) = master.listen().await;
        let () = self.command(&["REPLICAOF", &host, &port]).await;
        for _ in 0..1500 {
            let about: String = self.command(&["INFO", "replication"]).await;
            if about.contains("master_link_status:up") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("redis-server does not follow");
    }

    /// Makes it a master.
    pub(in crate::storage) async fn promote(&self) {
        let () = self.command(&["REPLICAOF", "NO", "ONE"]).await;
    }

    /// Runs a command, as an administrator does.
    pub(in crate::storage) async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let client = redis::Client::open(format!("unix://{}", self.socket().display())).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        command.query_async(&mut connection).await.unwrap()
    }

    /// The names of all entries.
    pub(in crate::storage) async fn keys(&self) -> Vec<String> {
        self.command(&["KEYS", "*"]).await
    }

    /// Ends it as a crash does.
    pub(in crate::storage) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again, with what it last wrote to its disk.
    pub(in crate::storage) async fn start_again(&mut self) {
        self.process = launch(self.folder.path(), &[]);
        self.answers().await;
    }

    async fn answers(&self) {
        // It binds its socket before it has read its snapshot, and refuses commands in between.
        let client = redis::Client::open(format!("unix://{}", self.socket().display())).unwrap();
        for _ in 0..500 {
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await
                && redis::cmd("DBSIZE").query_async::<u64>(&mut connection).await.is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("redis-server does not answer");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn launch(folder: &Path, options: &[&str]) -> Child {
    let socket = folder.join("redis.sock");
    assert!(BlockingStream::connect(&socket).is_err(), "the one before is gone");
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
    command.args(["--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0"]);
    command.arg("--unixsocket").arg(socket).arg("--dir").arg(folder).args(options);
    let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    started.expect("redis-server is installed: tests/cluster/tools does that")
}

pub(in crate::storage) fn target(address: &str) -> RedisTarget {
    target_of(RedisOptions::at(address))
}

/// The same, with other options; its waits count.
pub(in crate::storage) fn target_of(options: RedisOptions) -> RedisTarget {
    let timeouts = RedisTimeouts {
        lookup: Duration::from_secs(5),
        clear: Duration::from_secs(5),
        connect: Duration::from_secs(10),
        retry: Duration::from_millis(100),
    };
    RedisTarget::new(RedisOptions { timeouts, ..options }).unwrap()
}

/// What the way to Redis does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Way {
    /// Everything passes.
    Open,
    /// What is sent waits, and passes when the way is open again.
    Slow,
    /// Connections end, and none is made.
    Cut,
}

/// A way to Redis that a test can close.
pub(in crate::storage) struct Gate {
    folder: TempDir,
    way: watch::Sender<Way>,
    _task: AbortOnDropHandle<()>,
}

impl Gate {
    pub(in crate::storage) fn before(server: &RedisServer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("gate.sock")).unwrap();
        let (way, ways) = watch::channel(Way::Open);
        let task = AbortOnDropHandle::new(tokio::spawn(pass(listener, server.socket(), ways)));
        Self { folder, way, _task: task }
    }

    pub(in crate::storage) fn address(&self) -> String {
        format!("unix:{}", self.folder.path().join("gate.sock").display())
    }

    pub(in crate::storage) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn pass(listener: UnixListener, server: PathBuf, ways: watch::Receiver<Way>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        connections.spawn(connect(client, server.clone(), ways.clone()));
    }
}

async fn connect(client: UnixStream, server: PathBuf, mut ways: watch::Receiver<Way>) {
    if *ways.borrow() == Way::Cut {
        return;
    }
    let Ok(server) = UnixStream::connect(server).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = forward(from_client, to_server, ways.clone()) => {}
        () = forward(from_server, to_client, ways.clone()) => {}
        _ = ways.wait_for(|way| *way == Way::Cut) => {}
    }
}

async fn forward(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut ways: watch::Receiver<Way>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let open = ways.wait_for(|way| *way == Way::Open).await.is_ok();
        if !open || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
