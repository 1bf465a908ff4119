//! Registries as processes.

use std::{
    fs,
    io::{BufRead, BufReader, Read as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::client::Client;

/// Long enough for a debug build on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// The registries that write the same layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// docker-registry 2.8.2, Debian's.
    DockerRegistry,
    /// distribution 3.1.2.
    Distribution,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::DockerRegistry => "docker-registry",
            Self::Distribution => "registry",
        }
    }

    fn command(self) -> Command {
        let mut command = Command::new(self.program());
        command.env("OTEL_TRACES_EXPORTER", "none").env("OTEL_METRICS_EXPORTER", "none");
        // With it, docker-registry's client of S3 does not start.
        command.env_remove("AWS_CA_BUNDLE");
        command
    }

    /// Serves a folder.
    pub(crate) async fn serve(self, data: &Path) -> Registry {
        self.serve_storage(data, &folder(data)).await
    }

    /// Serves what `storage`, a part of its configuration, says. The configuration is written beside `place`.
    pub(crate) async fn serve_storage(self, place: &Path, storage: &str) -> Registry {
        let address = free_address();
        let config = self.config(place, storage, address);
        let mut command = self.command();
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{} cannot be run ({error}): tests/cluster/tools installs it", self.program())
        });
        Registry::ready(child, format!("http://{address}")).await
    }

    /// Runs its garbage collection over a folder that nobody serves.
    pub(crate) fn collect_garbage(self, data: &Path) {
        let config = self.config(data, &folder(data), free_address());
        let done = self.command().arg("garbage-collect").arg(&config).output().unwrap();
        assert!(done.status.success(), "garbage-collect failed: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn config(self, place: &Path, storage: &str, address: SocketAddr) -> std::path::PathBuf {
        let file = place.with_extension(format!("{}.yaml", self.program()));
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n{storage}\n  delete: {{enabled: true}}\n\
             http: {{addr: '{address}', secret: a-secret-of-the-test}}\n"
        );
        fs::write(&file, text).unwrap();
        file
    }
}

/// The part of a configuration that says that a folder is served.
fn folder(data: &Path) -> String {
    format!("  filesystem: {{rootdirectory: {}}}", data.display())
}

/// Serves what `storage`, a part of the configuration of `lagan serve`, says; the configuration is written into `place`.
pub(crate) async fn lagan_serving(place: &Path, storage: &str) -> Registry {
    let (listen, health) = (free_address(), free_address());
    let file = place.join("serve.yaml");
    let text =
        format!("listen: {listen}\nhealth: {{listen: '{health}'}}\nauth: {{anonymous: All}}\nstorage: {storage}\n");
    fs::write(&file, text).unwrap();
    let mut command = lagan_command();
    command.args(["serve", "--config"]).arg(&file).stdout(Stdio::null()).stderr(Stdio::piped());
    Registry::ready(command.spawn().unwrap(), format!("http://{listen}")).await
}

/// Serves a folder with Lagan.
pub(crate) async fn lagan(data: &Path) -> Registry {
    let mut command = lagan_command();
    command.args(["up", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let url = loop {
        let mut line = String::new();
        if out.read_line(&mut line).unwrap() == 0 {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("lagan up ended: {said}");
        }
        if line.contains("Serving ") {
            break line.split_whitespace().find(|word| word.starts_with("http")).unwrap().to_owned();
        }
    };
    // A pipe that nobody reads fills up.
    std::thread::spawn(move || out.lines().for_each(drop));
    Registry::ready(child, url).await
}

pub(crate) fn lagan_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lagan"));
    command.env_remove("RUST_LOG").env_remove("LAGAN_PASSWORD").env_remove("LAGAN_LISTEN").env_remove("LAGAN_DATA");
    command
}

/// A registry that answers, killed with this value.
pub(crate) struct Registry {
    child: Child,
    pub(crate) client: Client,
}

impl Registry {
    async fn ready(mut child: Child, url: String) -> Self {
        if let Some(errors) = child.stderr.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(errors).lines().map_while(Result::ok) {
                    eprintln!("{line}");
                }
            });
        }
        let mut this = Self { child, client: Client::new(&url) };
        let begun = Instant::now();
        loop {
            let answer = this.client.request(reqwest::Method::GET, "/v2/").send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return this;
            }
            assert!(this.child.try_wait().unwrap().is_none(), "the registry ended before it answered");
            assert!(begun.elapsed() < PATIENCE, "the registry does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        self.child.wait().unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody listened on a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
