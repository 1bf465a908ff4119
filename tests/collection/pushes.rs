//! Pushes that go on meanwhile.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode, header};
use tokio::task::JoinHandle;

use crate::digest::sha256;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// How many clients push at the same time.
const CLIENTS: usize = 2;

/// How long a client is idle between two pushes, so that it does not take a processor for itself.
const PAUSE: Duration = Duration::from_millis(50);

/// How long the pushes took, each from its first request to its last answer.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    /// Below which so many of a hundred are.
    fn percentile(&self, percent: usize) -> Duration {
        self.0.get((self.0.len() * percent / 100).min(self.0.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |percent| self.percentile(percent).as_secs_f64() * 1e3;
        let (p50, p99, most) = (milliseconds(50), milliseconds(99), milliseconds(100));
        write!(f, "{} pushes, p50 {p50:.1} ms, p99 {p99:.1} ms, slowest {most:.1} ms", self.0.len())
    }
}

/// Clients that push one image after the other.
pub(crate) struct Pushes {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Duration>>>,
}

impl Pushes {
    pub(crate) fn begin(url: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = || tokio::spawn(push_until(url.to_owned(), stop.clone()));
        let clients = (0..CLIENTS).map(|_| client()).collect();
        Self { stop, clients }
    }

    /// How long each took. All of them were acknowledged.
    pub(crate) async fn end(self) -> Latencies {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for client in self.clients {
            all.extend(client.await.unwrap());
        }
        all.sort_unstable();
        Latencies(all)
    }
}

async fn push_until(url: String, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut taken = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        push(&http, &url).await;
        taken.push(began.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    taken
}

async fn push(http: &reqwest::Client, url: &str) {
    let name = ulid::Ulid::generate().to_string();
    let mut descriptors = Vec::new();
    for kind in ["config.v1+json", "layer.v1.tar"] {
        let content = format!("{kind} of {name}");
        let digest = sha256(content.as_bytes());
        let (media_type, size) = (format!("application/vnd.oci.image.{kind}"), content.len());
        descriptors.push(format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#));
        let path = format!("{url}/v2/meanwhile/blobs/uploads/?digest={digest}");
        accepted(http.request(Method::POST, path).body(content)).await;
    }
    let [config, layer] = [&descriptors[0], &descriptors[1]];
    let manifest = format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{layer}]}}"#);
    let path = format!("{url}/v2/meanwhile/manifests/{}", name.to_lowercase());
    accepted(http.request(Method::PUT, path).header(header::CONTENT_TYPE, MANIFEST).body(manifest)).await;
}

async fn accepted(request: reqwest::RequestBuilder) {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    assert_eq!(status, StatusCode::CREATED, "{}", answer.text().await.unwrap_or_default());
}
