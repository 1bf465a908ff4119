//! How fast repositories are read for a policy: `cargo bench --bench snapshot -- DIRECTORY`.
//!
//! An empty directory is filled first: 50 repositories of 2,000 tagged images, and 50 of 650 tagged indexes that list two
//! images each. That takes minutes where a sync does; a folder in memory (`/dev/shm`) may be filled instead, and copied.
//! Then each half is read several times; the first reading is of whatever the page cache has.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program that measures, and shows what it measured"
)]

mod support;

use std::{
    env,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use lagan::oci::{Algorithm, Digest, Manifest};
use lagan::storage::driver::FilesystemDriver;
use lagan::storage::{Catalog, DeletionMode, Options, PutManifest, Repository, StorageMetrics};

use support::{SystemClock, cpu_seconds};

const REPOSITORIES: usize = 50;
const IMAGES: usize = 2_000;
const INDEXES: usize = 650;

/// How many repositories are read at the same time.
const AT_ONCE: usize = 4;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

async fn push_blob(repository: &Repository, content: &str) -> Value {
    let digest = Digest::of(Algorithm::Sha256, content.as_bytes());
    let mut upload = repository.create_upload().await.unwrap();
    upload.append(content.to_owned().into()).await.unwrap();
    upload.commit(&digest).await.unwrap();
    json!({ "digest": digest, "size": content.len() })
}

fn described(mut blob: Value, media_type: &str) -> Value {
    blob.as_object_mut().unwrap().insert("mediaType".into(), media_type.into());
    blob
}

async fn put(repository: &Repository, manifest: Value, tag: Option<String>) -> Value {
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let put = PutManifest {
        digest: None,
        tags: tag.map(|tag| tag.parse().unwrap()).into_iter().collect(),
        manifest: Manifest::parse(None, &bytes).unwrap(),
        bytes: bytes.clone().into(),
        immutable: Vec::new(),
        actor: "bench".into(),
    };
    let digest = repository.put_manifest(put).await.unwrap();
    json!({ "digest": digest, "size": bytes.len(), "mediaType": manifest["mediaType"] })
}

/// An image of four layers, as long as such a manifest is.
fn image(blobs: &[Value; 2], name: &str) -> Value {
    let [config, layer] = blobs;
    let config = described(config.clone(), CONFIG);
    let layers = vec![described(layer.clone(), LAYER); 4];
    let annotations = json!({ "org.opencontainers.image.ref.name": name });
    json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers, "annotations": annotations })
}

async fn fill_with_images(repository: &Repository) {
    let blobs = [push_blob(repository, "{}").await, push_blob(repository, "layer").await];
    let pushes = (0..IMAGES).map(|n| {
        let name = format!("{} {n}", repository.name());
        put(repository, image(&blobs, &name), Some(format!("v1.{}.{}", n % 100, n / 100)))
    });
    stream::iter(pushes).buffer_unordered(32).collect::<Vec<_>>().await;
}

async fn fill_with_indexes(repository: &Repository) {
    let blobs = [push_blob(repository, "{}").await, push_blob(repository, "layer").await];
    let pushes = (0..INDEXES).map(|n| {
        let blobs = &blobs;
        async move {
            let mut listed = Vec::new();
            for platform in ["amd64", "arm64"] {
                let name = format!("{} {n} {platform}", repository.name());
                let mut child = put(repository, image(blobs, &name), None).await;
                let fields = child.as_object_mut().unwrap();
                fields.insert("platform".into(), json!({ "os": "linux", "architecture": platform }));
                listed.push(child);
            }
            let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": listed });
            put(repository, index, Some(format!("v1.{}.{}", n % 100, n / 100))).await;
        }
    });
    stream::iter(pushes).buffer_unordered(32).collect::<Vec<_>>().await;
}

/// Reads all repositories of a half; how many manifests they have.
async fn read(catalog: &Catalog, half: &str) -> usize {
    let names = (0..REPOSITORIES).map(|n| format!("{half}/app-{n}").parse().unwrap());
    let readings = names.map(|name| {
        let repository = catalog.repository(&name);
        async move { repository.inventory().await.map(|inventory| inventory.revisions.len()) }
    });
    stream::iter(readings).buffer_unordered(AT_ONCE).try_fold(0, |sum, n| async move { Ok(sum + n) }).await.unwrap()
}

async fn measure(catalog: &Catalog, half: &str) {
    for round in 1..=5 {
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let count = read(catalog, half).await;
        let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let count = u32::try_from(count).unwrap();
        println!(
            "{half}, reading {round}: {count} manifests in {took:.2} s, {:.0} a second; {:.0} for each second of a processor",
            f64::from(count) / took,
            f64::from(count) / cpu,
        );
    }
}

#[tokio::main]
async fn main() {
    let given = env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let folder = given.map_or_else(|| env::temp_dir().join("lagan-bench-snapshot"), PathBuf::from);
    let driver = Arc::new(FilesystemDriver::open(&folder).await.unwrap());
    let options = Options {
        deletion: DeletionMode::Soft,
        restore_window: Duration::from_secs(3600),
        cache_entries: 1000,
        redis: None,
        metrics: StorageMetrics::new(),
    };
    let catalog = Catalog::open(driver, options, Arc::new(SystemClock::new())).await.unwrap();
    catalog.adopt().await.unwrap();
    if catalog.repositories(None, 1).await.unwrap().entries.is_empty() {
        for n in 0..REPOSITORIES {
            fill_with_images(&catalog.repository(&format!("images/app-{n}").parse().unwrap())).await;
            fill_with_indexes(&catalog.repository(&format!("indexes/app-{n}").parse().unwrap())).await;
        }
    }
    measure(&catalog, "images").await;
    measure(&catalog, "indexes").await;
}
