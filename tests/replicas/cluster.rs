//! Three registries on one bucket.

use std::{
    fs,
    net::{SocketAddr, TcpListener as StdListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::certificate::write_certificate;
use crate::environment::variable_of_tests_run;
use crate::line::Line;
use crate::s3::s3_fields;
use crate::server::Server;

/// The name in the certificate that all replicas show each other.
const NAME: &str = "replicas.example.com";

/// The processes, each with lines to its control listener and to the bucket that can be cut.
pub(crate) struct Cluster {
    replicas: Vec<Replica>,
    _folder: TempDir,
}

struct Replica {
    folder: PathBuf,
    configuration: String,
    server: Mutex<Option<Server>>,
    /// Where clients find it by now.
    address: Arc<Mutex<SocketAddr>>,
    /// How the others call it.
    control: Line,
    /// How it reaches the bucket.
    store: Line,
}

impl Cluster {
    /// Three processes that have joined.
    pub(crate) async fn start() -> Self {
        Self::start_with("descriptorCache: {type: InMemory}").await
    }

    /// Three processes that have joined, with this in their configuration.
    pub(crate) async fn start_with(cache: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path(), &[NAME]);
        let prefix = ulid::Ulid::generate().to_string();
        let mut replicas = Vec::new();
        for number in 0..3 {
            replicas.push(Replica::start(folder.path(), &prefix, cache, number).await);
        }
        Self { replicas, _folder: folder }
    }

    /// Where each of them answers clients, also after a restart.
    pub(crate) fn addresses(&self) -> Vec<Arc<Mutex<SocketAddr>>> {
        self.replicas.iter().map(|replica| replica.address.clone()).collect()
    }

    /// SIGKILL.
    pub(crate) fn kill(&self, number: usize) {
        drop(self.replicas[number].server.lock().unwrap().take());
    }

    /// Asks one to end, and waits until it has.
    pub(crate) async fn end(&self, number: usize, signal: Signal) {
        self.signal(number, signal);
        let is_there = || !self.replicas[number].server.lock().unwrap().as_mut().unwrap().has_ended();
        while is_there() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    /// Starts one that was killed.
    pub(crate) async fn restart(&self, number: usize) {
        self.replicas[number].run().await;
    }

    pub(crate) fn signal(&self, number: usize, signal: Signal) {
        let server = self.replicas[number].server.lock().unwrap();
        let id = i32::try_from(server.as_ref().unwrap().id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Lets no call of the others through to one, or all again.
    pub(crate) fn cut_control(&self, number: usize, is_cut: bool) {
        self.replicas[number].control.cut(is_cut);
    }

    /// Lets nothing of one through to the bucket, or all again.
    pub(crate) fn cut_store(&self, number: usize, is_cut: bool) {
        self.replicas[number].store.cut(is_cut);
    }

    /// Waits until each of them promises again.
    pub(crate) async fn await_ready(&self) {
        let client = crate::client::Client::new(self);
        for replica in 0..self.replicas.len() {
            let image = crate::client::Image::new(&format!("at the end of replica {replica}"));
            for _ in 0..600 {
                if client.push(replica, &image, "end").await.is_ok() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

impl Drop for Cluster {
    /// A test that failed says what the processes said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (number, replica) in self.replicas.iter().enumerate() {
                let log = fs::read_to_string(replica.folder.join("log")).unwrap_or_default();
                eprintln!("replica {number}:\n{log}");
            }
        }
    }
}

impl Replica {
    async fn start(shared: &Path, prefix: &str, cache: &str, number: usize) -> Self {
        let folder = shared.join(number.to_string());
        fs::create_dir(&folder).unwrap();
        let listen = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let control = Line::to(listen).await;
        let endpoint = variable_of_tests_run("LAGAN_TEST_S3_ENDPOINT");
        let store = Line::to(endpoint.trim_start_matches("http://").parse().unwrap()).await;
        let s3 = s3_fields(&format!("http://{}", store.address), prefix, &folder.join("s3"));
        let at = |name: &str| shared.join(name).display().to_string();
        let configuration = format!(
            "storage: {{type: S3, s3: {{{s3}}}}}\n{cache}\nauth: {{anonymous: All}}\n\
             control: {{listen: '{listen}', advertise: '{}', tls: {{certificate: {}, key: {}, \
             clientAuthority: {}, serverName: {NAME}}}}}",
            control.address,
            at("tls.crt"),
            at("tls.key"),
            at("ca.crt")
        );
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = Arc::new(Mutex::new(nowhere));
        let replica = Self { folder, configuration, server: Mutex::default(), address, control, store };
        replica.run().await;
        replica
    }

    async fn run(&self) {
        let (folder, configuration) = (self.folder.clone(), self.configuration.clone());
        let (started, server) = oneshot::channel();
        // The process ends with the thread that started it, and a thread of the runtime's pool ends when it is idle.
        thread::spawn(move || {
            let _ = started.send(Server::start(&folder, &configuration));
            loop {
                thread::park();
            }
        });
        let server = server.await.unwrap();
        *self.address.lock().unwrap() = server.address;
        *self.server.lock().unwrap() = Some(server);
    }
}
