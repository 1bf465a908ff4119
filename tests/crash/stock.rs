//! docker-registry 2.8.2, Debian's, on what was found.

use std::{
    env, fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use lagan::oci::Digest;
use reqwest::{Client, StatusCode, header::ACCEPT};

use super::{
    content::Content,
    image::{INDEX, MANIFEST},
    recording::{DATA, folder},
    registry::Registry,
    scenario::Claim,
    tree::Tree,
};

/// Long enough for a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many stores of each scenario it has to serve.
pub(crate) fn samples() -> usize {
    match env::var("LAGAN_CRASH_STOCK") {
        Ok(text) if text == "all" => usize::MAX,
        Ok(text) => text.parse().unwrap(),
        Err(_) => 4,
    }
}

/// Why it does not serve all that was acknowledged, once Lagan has recovered the store.
pub(crate) async fn serves(tree: &Tree, claims: &[Claim]) -> Result<(), String> {
    let place = folder();
    tree.write(place.path());
    let data = place.path().join(DATA);
    Registry::open(&data).await?.close().await;
    let stock = Stock::start(&data).await;
    for claim in claims {
        claim.check(&stock).await.map_err(|error| format!("docker-registry: {error}"))?;
    }
    Ok(())
}

/// A process, killed with this value.
struct Stock {
    child: Child,
    client: Client,
    url: String,
}

impl Stock {
    async fn start(data: &Path) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = data.with_extension("yaml");
        let storage = format!("filesystem: {{rootdirectory: {}}}", data.display());
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  {storage}\nhttp: {{addr: '{address}', secret: x}}\n"
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let child =
            command.spawn().unwrap_or_else(|error| panic!("docker-registry: {error}; tests/cluster/tools installs it"));
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let stock = Self { child, client, url: format!("http://{address}") };
        let began = Instant::now();
        while stock.get("/v2/").await.is_err() {
            assert!(began.elapsed() < PATIENCE, "docker-registry does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stock
    }

    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let request = self.client.get(format!("{}{path}", self.url)).header(ACCEPT, format!("{MANIFEST}, {INDEX}"));
        let answer = request.send().await.map_err(|error| format!("{path}: {error:?}"))?;
        match answer.status() {
            StatusCode::OK => {
                answer.bytes().await.map(|bytes| Some(bytes.into())).map_err(|e| format!("{path}: {e:?}"))
            }
            StatusCode::NOT_FOUND => Ok(None),
            other => Err(format!("{path} was answered with {other}")),
        }
    }
}

impl Content for Stock {
    async fn manifest(&self, repository: &str, reference: &str) -> Result<Option<Vec<u8>>, String> {
        self.get(&format!("/v2/{repository}/manifests/{reference}")).await
    }

    async fn blob(&self, repository: &str, digest: &Digest) -> Result<Option<Vec<u8>>, String> {
        self.get(&format!("/v2/{repository}/blobs/{digest}")).await
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
