//! How long a whole run takes to plan, to store its plan and to hand it out: `cargo bench --bench plan_pages -- DIRECTORY
//! [TAGS]`.
//!
//! An empty directory is filled first, as docker/distribution would have: repositories of 100 tags each, 1,000,000 in all
//! unless another number is given. That is three entries of a file system for each tag: better a folder in memory (`/dev/shm`),
//! where a million of them take some 4 GB.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program that measures, and shows what it measured"
)]

mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use lagan::api::v1alpha1::{AccessMode, Approval};
use lagan::api::wire::{ApplyRequest, PlanPage, PlanRequest, PolicySource, RunRequest, RunStatus};
use lagan::maintenance::{RetentionRuns, RunId};
use lagan::oci::{Algorithm, Digest};
use lagan::storage::driver::FilesystemDriver;
use lagan::storage::{Catalog, DeletionMode, Options, StorageMetrics};

use support::{SystemClock, cpu_seconds, peak_mebibytes};

const TAGS_OF_ONE: usize = 100;

async fn timed<T>(what: &str, work: impl Future<Output = T>) -> T {
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let result = work.await;
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!("{what}: {wall:.1} s, {cpu:.1} s of the processors; {} MiB at most so far", peak_mebibytes());
    result
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Repositories of one index that lists nothing, under many tags.
fn fill(folder: &Path, tags: usize) {
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [] });
    let manifest = manifest.to_string();
    let digest = Digest::of(Algorithm::Sha256, manifest.as_bytes());
    let root = folder.join("docker/registry/v2");
    write(&root.join(format!("blobs/sha256/{}/{}/data", &digest.hex()[..2], digest.hex())), &manifest);
    for n in 0..tags / TAGS_OF_ONE {
        let manifests = root.join(format!("repositories/team-{}/app-{n}/_manifests", n % 100));
        write(&manifests.join(format!("revisions/sha256/{}/link", digest.hex())), &digest.to_string());
        for tag in 0..TAGS_OF_ONE {
            write(&manifests.join(format!("tags/v1.{tag}.{n}/current/link")), &digest.to_string());
        }
    }
}

fn policy() -> PolicySource {
    let spec = json!({
        "registryRef": { "name": "r" }, "mode": "DryRun", "minimumAge": "0s",
        "keep": [{ "name": "newest", "tags": ["*"], "mostRecentlyPushed": TAGS_OF_ONE / 2 }],
    });
    let (namespace, name, uid) = ("team".into(), "p".into(), "u1".into());
    PolicySource { namespace, name, uid, generation: 1, spec: serde_json::from_value(spec).unwrap() }
}

async fn applied(runs: &RetentionRuns, run: &RunId) -> RunStatus {
    runs.apply(run, ApplyRequest::default()).await.unwrap();
    runs.settled(run).await.unwrap()
}

/// How many lines there are, read as clients do.
async fn read(runs: &RetentionRuns, run: &RunId) -> usize {
    let (mut count, mut after) = (0, None);
    loop {
        let PlanPage { lines, next } = runs.plan(run, after, 1000, None).await.unwrap();
        count += serde_json::to_vec(&lines).map(|_| lines.len()).unwrap();
        let Some(next) = next else { return count };
        after = Some(next);
    }
}

#[tokio::main]
async fn main() {
    let mut given = env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let folder = given.next().map_or_else(|| env::temp_dir().join("lagan-bench-plan"), PathBuf::from);
    let tags = given.next().map_or(1_000_000, |text| text.parse().unwrap());
    if !folder.join("docker").exists() {
        fill(&folder, tags);
    }
    let driver = Arc::new(FilesystemDriver::open(&folder).await.unwrap());
    let options = Options {
        deletion: DeletionMode::Soft,
        restore_window: Duration::from_secs(3600),
        cache_entries: 1000,
        redis: None,
        metrics: StorageMetrics::new(),
    };
    let clock = Arc::new(SystemClock::new());
    let catalog = Catalog::open(driver, options, clock.clone()).await.unwrap();
    catalog.adopt().await.unwrap();
    let runs = RetentionRuns::open(catalog, AccessMode::ReadWrite, Arc::default(), clock).await.unwrap();

    let plan = PlanRequest { policy: "u1".into(), policies: vec![policy()] };
    let report = timed("planned without a trace", runs.forecast(&plan, 10_000, None)).await.unwrap();
    println!("{} tags: {} go, {} stay", report.plan.tags_in_scope, report.plan.deletes, report.plan.keeps);
    let run: RunId = format!("u1.{}", std::process::id()).parse().unwrap();
    let request = RunRequest {
        run: run.to_string(),
        policy: "u1".into(),
        policies: plan.policies,
        approval: Approval::Automatic,
    };
    timed("read, planned, candidates written", async {
        runs.start(request).await.unwrap();
        runs.settled(&run).await.unwrap()
    })
    .await;
    let status = timed("read and planned again, every line written", applied(&runs, &run)).await;
    println!("{:?}: {} lines", status.state, status.plan_lines.unwrap_or_default());
    let lines = timed("every line read, a page at a time", read(&runs, &run)).await;
    assert_eq!(status.plan_lines.unwrap_or_default(), lines as u64);
    let (name, tag) = ("team-1/app-1".parse().unwrap(), "v1.7.1".parse().unwrap());
    let explained = timed("one image explained", runs.explain(&name, &tag)).await.unwrap();
    assert_eq!(explained.planned.len(), 1);
}
