//! A `lagan serve` of a test's own.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use super::command::serve;

/// Long enough for a debug build on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often to look whether it is ready.
const PAUSE: Duration = Duration::from_millis(20);

/// A registry's process, killed with its test. What it writes goes into `log` of its folder.
pub(crate) struct Server {
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    process: Child,
    log: std::path::PathBuf,
}

impl Server {
    /// Starts one that keeps its files in a folder, and awaits that it is ready.
    ///
    /// `configuration` is the rest of its file: the storage, at least.
    pub(crate) fn start(folder: &Path, configuration: &str) -> Self {
        Self::start_with(folder, configuration, &[])
    }

    /// The same, with more in its environment.
    pub(crate) fn start_with(folder: &Path, configuration: &str, environment: &[(&str, &str)]) -> Self {
        let [address, health] = [free_address(), free_address()];
        let file = format!("listen: {address}\nhealth: {{listen: '{health}'}}\n{configuration}\n");
        fs::write(folder.join("serve.yaml"), file).unwrap();
        let process = serve(folder).envs(environment.iter().copied()).spawn().unwrap();
        let mut server = Self { address, process, log: folder.join("log") };
        server.await_ready(health);
        server
    }

    fn await_ready(&mut self, health: SocketAddr) {
        let began = Instant::now();
        while !is_ready(health) {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "it does not get ready ({ended:?}): {}", self.log());
            thread::sleep(PAUSE);
        }
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address of the loopback interface that nobody listened on a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn is_ready(health: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(health)?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: lagan\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    ask().is_ok_and(|answer: String| answer.starts_with("HTTP/1.1 200"))
}
