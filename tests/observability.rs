//! What `lagan serve` tells of itself: metrics, an access log, traces.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use lagan::oci::{Algorithm, Digest};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value as AnyValue, trace::v1::Span,
};
use prost::Message as _;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};
use tokio_util::task::AbortOnDropHandle;

/// Long enough for a debug build on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// What must appear in no log and in no trace.
const SECRET: &str = "driftwood";

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// `lagan serve` on a folder, with its log in a file.
struct Served {
    process: Child,
    folder: TempDir,
    registry: String,
    health: String,
    client: Client,
}

impl Served {
    async fn start(more: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), more).await
    }

    async fn start_in(folder: TempDir, more: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (listen, health) = (free_address(), free_address());
        let file = folder.path().join("serve.yaml");
        let config = format!(
            "listen: {listen}\nhealth: {{listen: '{health}'}}\nauth: {{anonymous: All}}\nlogging: {{format: Json}}\n\
             storage: {{filesystem: {{directory: {}}}}}\n{more}",
            folder.path().join("data").display()
        );
        fs::write(&file, config).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lagan"));
        command.env_remove("RUST_LOG").arg("serve").arg("--config").arg(file).stdin(Stdio::null()).stderr(log);
        let client = Client::builder().no_proxy().user_agent("flotsam/1.0").build().unwrap();
        let mut served = Self {
            process: command.spawn().unwrap(),
            folder,
            registry: format!("http://{listen}"),
            health: format!("http://{health}"),
            client,
        };
        served.ready().await;
        served
    }

    async fn ready(&mut self) {
        let begun = Instant::now();
        let ready = format!("{}/readyz", self.health);
        while self.client.get(&ready).send().await.map(|answer| answer.status()).ok() != Some(StatusCode::OK) {
            let lives = self.process.try_wait().unwrap().is_none();
            assert!(begun.elapsed() < PATIENCE && lives, "{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// The access log's line of a request.
    fn line(&self, request_id: &str) -> Value {
        let lines: Vec<Value> = self.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let found = lines.iter().find(|line| line["message"] == "request" && line["request_id"] == request_id);
        found.unwrap_or_else(|| panic!("{request_id} is not in {lines:#?}")).clone()
    }

    async fn metrics(&self) -> String {
        self.client.get(format!("{}/metrics", self.health)).send().await.unwrap().text().await.unwrap()
    }

    /// Waits until the metrics have a line.
    async fn counted(&self, sample: &str) {
        let begun = Instant::now();
        while !self.metrics().await.lines().any(|line| line == sample) {
            assert!(begun.elapsed() < PATIENCE, "{sample} in {}", self.metrics().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.registry))
    }

    /// Pushes a blob, and a manifest of it under a tag.
    async fn push(&self, repository: &str, tag: &str) -> Digest {
        let blob = b"{}";
        let digest = Digest::of(Algorithm::Sha256, blob);
        let (registry, client) = (&self.registry, &self.client);
        let begun = client.post(format!("{registry}/v2/{repository}/blobs/uploads/")).send().await.unwrap();
        let location = begun.headers()["location"].to_str().unwrap().to_owned();
        let location = location.strip_prefix(registry.as_str()).unwrap_or(&location);
        let separator = if location.contains('?') { '&' } else { '?' };
        let commit = client.put(format!("{registry}{location}{separator}digest={digest}")).body(blob.to_vec());
        assert_eq!(commit.send().await.unwrap().status(), StatusCode::CREATED);
        let descriptor = json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": 2});
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type, "config": descriptor, "layers": [descriptor],
        });
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let put = client.put(format!("{registry}/v2/{repository}/manifests/{tag}")).header("content-type", media_type);
        assert_eq!(put.body(bytes.clone()).send().await.unwrap().status(), StatusCode::CREATED);
        Digest::of(Algorithm::Sha256, &bytes)
    }

    /// Ends it in order.
    fn stop(&mut self) {
        let sent = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success() && self.process.wait().unwrap().success(), "{}", self.log());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The names of a registry's metrics in a table's first column, in backquotes. The operator's are compared beside them.
fn documented() -> BTreeSet<String> {
    let page = fs::read_to_string("docs/observability.md").unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let names: BTreeSet<String> = rows
        .filter_map(|row| Some(row.split_once('`')?.0.to_owned()))
        .filter(|name| !name.starts_with("lagan_operator_"))
        .collect();
    assert!(names.len() > 20, "{names:?}");
    names
}

/// The names that a scrape shows, as its samples have them.
fn scraped(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            if kind == "counter" { format!("{name}_total") } else { name.to_owned() }
        })
        .collect()
}

#[tokio::test]
async fn every_metric_is_documented_and_every_documented_metric_is_there() {
    let mut served = Served::start("").await;
    let digest = served.push("a", "latest").await;
    let manifest = format!("/v2/a/manifests/{digest}");
    served.get(&manifest).send().await.unwrap().bytes().await.unwrap();
    let deleted = served.client.delete(format!("{}{manifest}", served.registry)).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::ACCEPTED);
    let page = served.metrics().await;
    let (scraped, documented) = (scraped(&page), documented());
    let differing: Vec<&String> = scraped.symmetric_difference(&documented).collect();
    assert!(differing.is_empty(), "{differing:?} are on one side only");
    for sample in [
        r#"lagan_pushes_total{content="manifest"} 1"#,
        r#"lagan_pushes_total{content="blob"} 1"#,
        r#"lagan_pulls_total{content="manifest"} 1"#,
        r#"lagan_uploads_total{event="begun"} 1"#,
        r#"lagan_uploads_total{event="committed"} 1"#,
        "lagan_uploaded_bytes_total 2",
        r#"lagan_trash_entries_total{event="written"} 1"#,
        r#"lagan_cache_lookups_total{level="memory",result="miss"}"#,
        r#"lagan_storage_operations_total{operation="put",outcome="ok"}"#,
    ] {
        assert!(page.contains(sample), "{sample} in {page}");
    }
    served.stop();
}

/// A push that broke off so long ago, as distribution leaves it.
fn broken_push(data: &Path, repository: &str, age: Duration) -> PathBuf {
    let id = format!("{:08x}-0000-4000-8000-000000000000", age.as_secs());
    let folder = data.join("docker/registry/v2/repositories").join(repository).join("_uploads").join(id);
    fs::create_dir_all(folder.join("hashstates/sha256")).unwrap();
    fs::write(folder.join("startedat"), "2020-01-01T00:00:00Z").unwrap();
    fs::write(folder.join("data"), "some").unwrap();
    for part in ["data", "startedat", "hashstates/sha256", "hashstates", "."] {
        let file = fs::File::open(folder.join(part)).unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        file.set_modified(written - age).unwrap();
    }
    folder
}

#[tokio::test]
async fn pushes_that_broke_off_long_ago_are_removed_at_the_start_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let [young, old, older] =
        [(47, "team/app"), (49, "team/app"), (500, "b")].map(|(age, name)| broken_push(&data, name, hours(age)));
    let mut served = Served::start_in(folder, "uploads: {expireAfter: 48h}").await;
    served.counted(r#"lagan_uploads_total{event="purged"} 2"#).await;
    assert!(!old.exists() && !older.exists() && young.exists());
    let id = young.file_name().unwrap().to_str().unwrap();
    let status = served.get(&format!("/v2/team/app/blobs/uploads/{id}")).send().await.unwrap();
    assert_eq!((status.status(), &status.headers()["range"]), (StatusCode::NO_CONTENT, &"0-3".parse().unwrap()));
    served.stop();
    assert_eq!(served.log().matches("removed an upload that nobody went on with").count(), 2);
}

#[tokio::test]
async fn access_log_says_who_asked_for_what_and_holds_no_secret() {
    let mut served = Served::start("").await;
    served.push("team/app", "latest").await;
    let path = format!("/v2/team/app/manifests/latest?token={SECRET}");
    let asked = served.get(&path).header("x-request-id", "my-request.1").basic_auth("somebody", Some(SECRET));
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], "my-request.1");
    answer.bytes().await.unwrap();
    let made = served.get("/v2/").header("x-request-id", "two words").send().await.unwrap();
    let made = made.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(made.len(), 32, "{made}");
    served.stop();
    let line = served.line("my-request.1");
    for (field, expected) in [
        ("level", json!("INFO")),
        ("listener", json!("registry")),
        ("remote", json!("127.0.0.1")),
        ("user_agent", json!("flotsam/1.0")),
        ("method", json!("GET")),
        ("route", json!("manifest")),
        ("path", json!("/v2/team/app/manifests/latest")),
        ("repository", json!("team/app")),
    ] {
        assert_eq!(line[field], expected, "{field} of {line}");
    }
    for field in ["status", "duration_us", "sent_bytes", "received_bytes"] {
        assert!(line[field].is_u64(), "{field} of {line}");
    }
    served.line(&made);
    assert!(!served.log().contains(SECRET));
}

/// A collector of the test's: it understands as much HTTP as the exporter speaks.
struct Collector {
    address: SocketAddr,
    batches: mpsc::UnboundedReceiver<Vec<u8>>,
    _task: AbortOnDropHandle<()>,
}

impl Collector {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, batches) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                collect(stream, &sender).await;
            }
        });
        Self { address, batches, _task: AbortOnDropHandle::new(task) }
    }

    /// All spans that have arrived.
    fn spans(&mut self) -> Vec<Span> {
        let mut spans = Vec::new();
        while let Ok(batch) = self.batches.try_recv() {
            let batch = ExportTraceServiceRequest::decode(batch.as_slice()).unwrap();
            let scopes = batch.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            spans.extend(scopes.flat_map(|scope| scope.spans));
        }
        spans
    }
}

/// Answers the requests of one connection.
async fn collect(mut stream: tokio::net::TcpStream, batches: &mpsc::UnboundedSender<Vec<u8>>) {
    let mut seen = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let Ok(length @ 1..) = stream.read(&mut piece).await else { return };
        seen.extend_from_slice(&piece[..length]);
        let Some(end) = seen.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4) else { continue };
        let head = String::from_utf8_lossy(&seen[..end]).to_lowercase();
        assert!(head.starts_with("post /v1/traces "), "{head}");
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap().trim().parse::<usize>();
        let body = end..end + length.unwrap();
        if seen.len() < body.end {
            continue;
        }
        batches.send(seen[body.clone()].to_vec()).unwrap();
        seen.drain(..body.end);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    }
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let value = span.attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value?;
    Some(match value {
        AnyValue::StringValue(text) => text,
        AnyValue::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

// The collector answers while this waits for the program's end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_reach_the_collector_within_the_callers_trace() {
    let mut collector = Collector::start().await;
    let mut served =
        Served::start(&format!("tracing: {{otlpEndpoint: 'http://{}', sampleRatio: 0.0}}\n", collector.address)).await;
    served.push("team/app", "latest").await;
    let asked = served.get(&format!("/v2/team/app/manifests/latest?token={SECRET}"));
    let asked = asked.header("traceparent", format!("00-{TRACE}-{CALLER}-01")).header("x-request-id", "traced");
    asked.basic_auth("somebody", Some(SECRET)).send().await.unwrap().bytes().await.unwrap();
    // What was not sent yet is sent now.
    served.stop();
    let spans = collector.spans();
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "only the caller wanted a trace: {spans:#?}");
    let request = spans.iter().find(|span| attribute(span, "request_id").as_deref() == Some("traced"));
    let request = request.unwrap_or_else(|| panic!("{spans:#?}"));
    assert_eq!((request.name.as_str(), hex(&request.parent_span_id).as_str()), ("GET manifest", CALLER));
    for (key, expected) in [("route", "manifest"), ("repository", "team/app"), ("listener", "registry")] {
        assert_eq!(attribute(request, key).as_deref(), Some(expected), "{key} of {request:#?}");
    }
    assert!(attribute(request, "status").is_some(), "{request:#?}");
    let storage = spans.iter().find(|span| span.name == "storage" && span.parent_span_id == request.span_id);
    let storage = storage.unwrap_or_else(|| panic!("{spans:#?}"));
    assert!(attribute(storage, "operation").is_some() && attribute(storage, "outcome").is_some(), "{storage:#?}");
    assert!(!format!("{spans:?}").contains(SECRET));
}

#[tokio::test]
async fn a_collector_that_is_away_holds_up_nobody() {
    let mut served = Served::start(&format!("tracing: {{otlpEndpoint: 'http://{}'}}\n", free_address())).await;
    let began = Instant::now();
    for _ in 0..200 {
        assert!(served.get("/v2/").send().await.unwrap().status().is_success());
    }
    assert!(began.elapsed() < PATIENCE, "200 requests took {:?}", began.elapsed());
    served.stop();
}
