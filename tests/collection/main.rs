//! Collection of a large store, half of which is garbage: beside `registry garbage-collect` of distribution 3.1.2 on the
//! same content, and while clients push.
//!
//! `tests/run --only collection` measures a release build, and prints the figures. Without that it is ignored.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

#[path = "../support/command.rs"]
mod command;
#[path = "../support/digest.rs"]
mod digest;
mod measured;
#[path = "../support/memory.rs"]
mod memory;
mod pushes;
#[path = "../support/server.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod server;
mod store;

use std::{
    env, fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use command::binary;
use measured::{Measured, run};
use pushes::{Latencies, Pushes};
use serde_json::{Value, json};
use server::Server;
use store::Written;
use tempfile::TempDir;

/// How long clients push while nothing is collected.
const BASELINE: Duration = Duration::from_secs(30);

/// How many brakes may stop a collection, one after the other.
const BRAKES: usize = 3;

/// How many images there are where `LAGAN_COLLECTION_IMAGES` does not say otherwise.
const IMAGES: usize = 80_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes, gigabytes, and distribution: tests/run --only collection"]
async fn collection_beside_distributions_and_while_clients_push() {
    let images = env::var("LAGAN_COLLECTION_IMAGES").map_or(IMAGES, |text| text.parse().unwrap());
    // First and last, because the machine may have become slower or faster meanwhile.
    let first = distributions(images);
    let alone = lagans(images);
    let last = distributions(images);
    let (with, without, taken) = while_pushing(images).await;
    let line = |who: &str, measured: &Measured| {
        let mib = measured.most_resident >> 20;
        eprintln!("{who:44} {:7.1} s  {mib:5} MiB resident at most", measured.time.as_secs_f64());
    };
    line("registry garbage-collect (read-only)", &first);
    line("lagan gc", &alone);
    line("registry garbage-collect (read-only), again", &last);
    line("collection in lagan serve, with pushes", &taken);
    eprintln!("without a collection: {without}");
    eprintln!("during the collection: {with}");
}

/// What distribution takes.
fn distributions(images: usize) -> Measured {
    let folder = tempfile::tempdir().unwrap();
    let content = folder.path().join("content");
    let written = store::write(&content, images);
    let config = folder.path().join("config.yaml");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\n\
         http: {{addr: '127.0.0.1:0', secret: a-secret-of-the-test}}\n",
        content.display()
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("registry");
    command.env("OTEL_TRACES_EXPORTER", "none").env("OTEL_METRICS_EXPORTER", "none");
    let (said, measured) = run(command.arg("garbage-collect").arg(&config));
    assert_eq!(measured.exit, Some(0), "{}", said.chars().take(2000).collect::<String>());
    is_clean(&content, written);
    measured
}

/// What Lagan takes, where nobody serves the folder. Brakes stop it before it removes anything, until they are confirmed:
/// somebody else wrote these manifests, and half of everything would go.
fn lagans(images: usize) -> Measured {
    let (folder, written) = own_store(images);
    let content = folder.path().join("content");
    let mut report: Option<String> = None;
    for _ in 0..=BRAKES {
        let mut command = Command::new(binary());
        command.args(["gc", "--output", "json", "--data"]).arg(&content);
        if let Some(report) = &report {
            command.args(["--confirm", report]);
        }
        let (said, measured) = run(&mut command);
        if measured.exit != Some(75) {
            assert_eq!(measured.exit, Some(0), "{said}");
            is_clean(&content, written);
            return measured;
        }
        let halted: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        report = halted["id"].as_str().map(str::to_owned);
    }
    panic!("it wants to be confirmed again and again");
}

/// How long pushes take during a collection, and without one, and what the collection takes.
async fn while_pushing(images: usize) -> (Latencies, Latencies, Measured) {
    let (folder, written) = own_store(images);
    let content = folder.path().join("content");
    let server = Server::start(folder.path(), &configuration(&content));
    let url = format!("http://{}", server.address);
    let baseline = Pushes::begin(&url);
    tokio::time::sleep(BASELINE).await;
    let without = baseline.end().await;
    let mut request = json!({});
    for _ in 0..=BRAKES {
        let meanwhile = Pushes::begin(&url);
        let began = Instant::now();
        let done = collection(&url, &request).await;
        let time = began.elapsed();
        let with = meanwhile.end().await;
        if done["state"] == "Halted" {
            request = json!({"confirm": done["id"]});
            continue;
        }
        assert_eq!(done["state"], "Finished", "{done}");
        assert_eq!(done["removed"]["blobs"], json!(written.garbage), "{done}");
        let most_resident = measured::most_resident(server.id());
        return (with, without, Measured { time, most_resident, exit: None });
    }
    panic!("it wants to be confirmed again and again");
}

/// Begins a collection and awaits its end.
async fn collection(url: &str, request: &Value) -> Value {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let gc = format!("{url}/v2/_lagan/gc");
    let begun: Value = http.post(&gc).json(request).send().await.unwrap().json().await.unwrap();
    assert_eq!(begun["state"], "Running", "{begun}");
    loop {
        let status: Value = http.get(&gc).send().await.unwrap().json().await.unwrap();
        if status["state"] != "Running" {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A folder that Lagan has served before it was filled, so that it need not be adopted.
fn own_store(images: usize) -> (TempDir, Written) {
    let folder = tempfile::tempdir().unwrap();
    let content = folder.path().join("content");
    fs::create_dir(&content).unwrap();
    drop(Server::start(folder.path(), &configuration(&content)));
    let written = store::write(&content, images);
    (folder, written)
}

fn configuration(content: &Path) -> String {
    format!("auth: {{anonymous: All}}\nstorage: {{type: Filesystem, filesystem: {{directory: {}}}}}", content.display())
}

fn is_clean(content: &Path, written: Written) {
    assert_eq!(store::count_blobs(content), written.manifests + written.blobs - written.garbage);
}
