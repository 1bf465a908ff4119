//! A Redis that the replicas share.

use std::{
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A process of its own, which keeps nothing on disk.
pub(crate) struct Redis {
    pub(crate) address: SocketAddr,
    folder: TempDir,
    process: Mutex<Child>,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let process = Mutex::new(launch(address, &folder));
        let redis = Self { address, folder, process };
        redis.answers().await;
        redis
    }

    /// Ends it as a crash does, and starts it again, empty.
    pub(crate) async fn restart(&self) {
        self.kill();
        *self.process.lock().unwrap() = launch(self.address, &self.folder);
        self.answers().await;
    }

    pub(crate) fn kill(&self) {
        let mut process = self.process.lock().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process.lock().unwrap().id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    async fn answers(&self) {
        for _ in 0..500 {
            if let Ok(mut connection) = TcpStream::connect(self.address).await
                && connection.write_all(b"PING\r\n").await.is_ok()
                && connection.read_u8().await.is_ok_and(|first| first == b'+')
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("redis-server does not answer");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap();
        let _ = process.kill();
        let _ = process.wait();
    }
}

fn launch(address: SocketAddr, folder: &TempDir) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(folder.path());
    let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    started.expect("redis-server is installed: tests/cluster/tools does that")
}
