//! How much memory a registry needs while many clients use it at once.
//!
//! `tests/run` runs these against the debug build, with uploads of 64 MiB. For the figures of the documentation, with
//! the release build and as large as you like:
//!
//! ```text
//! LAGAN_BINARY=target/release/lagan LAGAN_UPLOAD_MIB=1024 cargo test --test memory -- --ignored --test-threads=1 --nocapture
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

#[path = "../support/command.rs"]
mod command;
mod connection;
#[path = "../support/environment.rs"]
mod environment;
mod holes;
#[path = "../support/memory.rs"]
mod memory;
mod registry;
#[path = "../support/s3.rs"]
mod s3;
#[path = "../support/server.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod server;
#[path = "../support/versitygw.rs"]
mod versitygw;

use std::{env, sync::Arc, time::Instant};

use connection::Connection;
use lagan::oci::{Algorithm, Digest};
use registry::Registry;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Barrier, task::JoinSet};

/// What a registry on a folder may have resident, in KiB, whatever its clients do.
const ON_FOLDER_KIB: u64 = 150 << 10;

/// The same on a bucket. All uploads share 96 MiB for their parts and have a block of 256 KiB each besides, and each pull has
/// at most 128 KiB that were read ahead; what is more is the allocator's, between them.
const ON_BUCKET_KIB: u64 = 350 << 10;

const PULLS: usize = 1000;

/// More than all the kernel's buffers between the two hold, so that every pull is in progress at once.
const PULL_BYTES: u64 = 16 << 20;

/// The largest manifest that is taken.
const MANIFEST_BYTES: usize = 4 << 20;

const UPLOADS: usize = 100;

/// The size of each upload; `LAGAN_UPLOAD_MIB` changes it.
fn upload_bytes() -> u64 {
    env::var("LAGAN_UPLOAD_MIB").map_or(64, |text| text.parse::<u64>().expect("LAGAN_UPLOAD_MIB is a number")) << 20
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs memory and disk: tests/run"]
async fn thousand_parallel_pulls_from_a_folder_stay_within_the_bound() {
    let registry = Registry::on_folder();
    thousand_pulls(&registry, "from a folder").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs memory and disk: tests/run"]
async fn thousand_parallel_pulls_of_a_large_manifest_stay_within_the_bound() {
    let registry = Registry::on_folder();
    let (before, after) = (r#"{"schemaVersion":2,"manifests":[],"annotations":{"note":""#, r#""}}"#);
    let note = "x".repeat(MANIFEST_BYTES - before.len() - after.len());
    let path = "/v2/load/manifests/large";
    let mut connection = registry.connect().await;
    connection.send_content("PUT", path, "application/vnd.oci.image.index.v1+json", MANIFEST_BYTES as u64).await;
    connection.send_bytes(format!("{before}{note}{after}").as_bytes()).await;
    assert_eq!(connection.head().await.status, 201);
    pull_at_once(&registry, path, MANIFEST_BYTES as u64, "of a manifest in a folder").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs memory and disk: tests/run"]
async fn thousand_parallel_pulls_over_tls_stay_within_the_bound() {
    let registry = Registry::on_folder_with_tls();
    thousand_pulls(&registry, "from a folder over TLS").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server: tests/run"]
async fn thousand_parallel_pulls_from_a_bucket_stay_within_the_bound() {
    let registry = Registry::on_bucket();
    thousand_pulls(&registry, "from a bucket").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs memory and disk: tests/run"]
async fn hundred_parallel_uploads_to_a_folder_stay_within_the_bound() {
    let registry = Registry::on_folder();
    hundred_uploads(&registry, "to a folder").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server: tests/run"]
async fn hundred_parallel_uploads_to_a_bucket_stay_within_the_bound() {
    let registry = Registry::on_bucket();
    hundred_uploads(&registry, "to a bucket").await;
}

/// Pulls one blob at once by many clients.
async fn thousand_pulls(registry: &Registry, how: &str) {
    let digest = zeros_digest(PULL_BYTES);
    upload(registry.connect().await, PULL_BYTES, &digest, None).await;
    pull_at_once(registry, &format!("/v2/load/blobs/{digest}"), PULL_BYTES, how).await;
}

/// Pulls one thing at once by many clients, none of which reads before all have their answer's beginning.
async fn pull_at_once(registry: &Registry, path: &str, bytes: u64, how: &str) {
    let all_begun = Arc::new(Barrier::new(PULLS));
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..PULLS {
        let (registry, path, all_begun) = (registry.clone(), path.to_owned(), Arc::clone(&all_begun));
        clients.spawn(async move {
            let mut connection = registry.connect().await;
            connection.send("GET", &path, 0).await;
            let head = connection.head().await;
            assert_eq!((head.status, head.length), (200, bytes));
            all_begun.wait().await;
            connection.read_body(bytes).await.unwrap();
        });
    }
    clients.join_all().await;
    assert_within_bound(registry, &format!("{PULLS} parallel pulls {how}, {} MiB each", bytes >> 20), began);
}

/// Uploads the same content by many clients at once, none of which sends it before all have begun.
async fn hundred_uploads(registry: &Registry, how: &str) {
    let bytes = upload_bytes();
    let digest = zeros_digest(bytes);
    let all_begun = Arc::new(Barrier::new(UPLOADS));
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..UPLOADS {
        let (registry, digest, all_begun) = (registry.clone(), digest.clone(), Arc::clone(&all_begun));
        clients.spawn(async move {
            upload(registry.connect().await, bytes, &digest, Some(&all_begun)).await;
        });
    }
    clients.join_all().await;
    assert_within_bound(registry, &format!("{UPLOADS} parallel uploads {how}, {} MiB each", bytes >> 20), began);
}

/// One upload as clients do it: begun, sent in one request, and finished with its digest.
async fn upload(mut connection: Connection, bytes: u64, digest: &Digest, all_begun: Option<&Barrier>) {
    connection.send("POST", "/v2/load/blobs/uploads/", 0).await;
    let begun = connection.head().await;
    assert_eq!(begun.status, 202);
    let location = begun.location.expect("an upload has a location");
    connection.send("PATCH", &location, bytes).await;
    if let Some(all_begun) = all_begun {
        all_begun.wait().await;
    }
    connection.send_zeros(bytes).await;
    let sent = connection.head().await;
    assert_eq!(sent.status, 202);
    let location = sent.location.expect("an upload has a location");
    let separator = if location.contains('?') { '&' } else { '?' };
    connection.send("PUT", &format!("{location}{separator}digest={digest}"), 0).await;
    assert_eq!(connection.head().await.status, 201);
}

fn zeros_digest(bytes: u64) -> Digest {
    let mut hasher = Sha256::new();
    let piece = vec![0; 1 << 20];
    for _ in 0..bytes >> 20 {
        hasher.update(&piece);
    }
    Digest::from_raw(Algorithm::Sha256, &hasher.finalize()).unwrap()
}

/// Says what it took, and fails where it was too much.
fn assert_within_bound(registry: &Registry, what: &str, began: Instant) {
    let kib = |field: &str| memory::kib(registry.server.id(), field).expect("the kernel knows this field");
    let peak = kib("VmHWM");
    eprintln!(
        "{what}: at most {} MiB resident ({} MiB of its own at the end), {:.1} s",
        peak >> 10,
        kib("RssAnon") >> 10,
        began.elapsed().as_secs_f64()
    );
    let bound = if registry.is_on_bucket() { ON_BUCKET_KIB } else { ON_FOLDER_KIB };
    assert!(peak <= bound, "{what}: {} MiB resident, {} allowed", peak >> 10, bound >> 10);
}
