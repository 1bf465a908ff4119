//! A registry on a real folder, and the policies that run on it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use serde_json::json;

use lagan::api::v1alpha1::{AccessMode, Approval};
use lagan::api::wire::{ApplyRequest, Candidate, InUse, PolicySource, RunRequest, RunState, RunStatus};
use lagan::maintenance::{RetentionRuns, RunId};
use lagan::oci::{Algorithm, Digest, Manifest, RepositoryName};
use lagan::storage::driver::FilesystemDriver;
use lagan::storage::{Catalog, Clock, DeletionMode, Options, PutManifest, Repository, StorageMetrics, TrashFilter};

/// A clock that moves on by `step` seconds each time somebody looks.
#[derive(Debug)]
pub(crate) struct SteppingClock {
    pub(crate) now: AtomicI64,
    pub(crate) step: AtomicI64,
}

impl Clock for SteppingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.now.fetch_add(self.step.load(Ordering::SeqCst), Ordering::SeqCst)).unwrap()
    }

    fn boot_time(&self) -> Duration {
        Duration::from_secs(self.now.load(Ordering::SeqCst).unsigned_abs())
    }
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: Arc<SteppingClock>,
    pub(crate) catalog: Catalog,
    pub(crate) runs: RetentionRuns,
}

pub(crate) fn repository_name() -> RepositoryName {
    "team/app".parse().unwrap()
}

impl World {
    pub(crate) async fn new(deletion: DeletionMode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SteppingClock { now: AtomicI64::new(1_800_000_000), step: AtomicI64::new(1) });
        let (catalog, runs) = open(&folder, &clock, deletion).await;
        Self { folder, clock, catalog, runs }
    }

    pub(crate) async fn restarted(self) -> Self {
        let Self { folder, clock, catalog, runs } = self;
        runs.shutdown().await;
        drop((catalog, runs));
        let (catalog, runs) = open(&folder, &clock, DeletionMode::Soft).await;
        Self { folder, clock, catalog, runs }
    }

    pub(crate) fn repository(&self) -> Repository {
        self.catalog.repository(&repository_name())
    }

    /// Pushes an image of one layer, different for each `content`.
    pub(crate) async fn push(&self, tag: &str, content: &str) -> Digest {
        self.push_with(tag, content, None).await
    }

    /// The same, with one more layer, which may be somewhere else.
    pub(crate) async fn push_with(&self, tag: &str, content: &str, elsewhere: Option<serde_json::Value>) -> Digest {
        let repository = self.repository();
        let config = json!({ "os": "linux", "architecture": "amd64", "config": { "Labels": { "name": content } } });
        let (config, layer) = (config.to_string(), format!("layer of {content}"));
        let mut descriptors = Vec::new();
        for bytes in [config, layer] {
            let digest = Digest::of(Algorithm::Sha256, bytes.as_bytes());
            let mut upload = repository.create_upload().await.unwrap();
            let size = bytes.len();
            upload.append(bytes.into()).await.unwrap();
            upload.commit(&digest).await.unwrap();
            let media_type = if descriptors.is_empty() {
                "application/vnd.oci.image.config.v1+json"
            } else {
                "application/octet-stream"
            };
            descriptors.push(json!({ "mediaType": media_type, "digest": digest, "size": size }));
        }
        let config = descriptors.remove(0);
        descriptors.extend(elsewhere);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": descriptors,
        });
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let put = PutManifest {
            digest: None,
            tags: vec![tag.parse().unwrap()],
            manifest: Manifest::parse(None, &bytes).unwrap(),
            bytes: bytes.into(),
            immutable: Vec::new(),
            actor: "test".into(),
        };
        repository.put_manifest(put).await.unwrap()
    }

    /// Gives an index that lists nothing all of these tags.
    pub(crate) async fn push_empty(&self, tags: &[String]) {
        let bytes = serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": [] })).unwrap();
        let put = PutManifest {
            digest: None,
            tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
            manifest: Manifest::parse(None, &bytes).unwrap(),
            bytes: bytes.into(),
            immutable: Vec::new(),
            actor: "test".into(),
        };
        self.repository().put_manifest(put).await.unwrap();
    }

    pub(crate) async fn tags(&self) -> Vec<String> {
        match self.repository().tags(None, 1000).await {
            Ok(page) => page.entries.iter().map(ToString::to_string).collect(),
            Err(lagan::storage::Error::RepositoryUnknown { .. }) => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn trash_size(&self) -> usize {
        self.catalog.trash().list(&TrashFilter::default(), None, 1000).await.unwrap().entries.len()
    }

    pub(crate) async fn planned(&self, request: RunRequest) -> (RunId, RunStatus, Vec<Candidate>) {
        let run: RunId = request.run.parse().unwrap();
        self.runs.start(request).await.unwrap();
        let status = self.runs.settled(&run).await.unwrap();
        assert_eq!(status.state, RunState::AwaitingUsage, "{status:?}");
        let candidates = self.runs.candidates(&run, None, 1000).await.unwrap().candidates;
        (run, status, candidates)
    }

    pub(crate) async fn applied(&self, run: &RunId, in_use: Vec<InUse>) -> RunStatus {
        self.runs
            .apply(run, ApplyRequest { listing_seconds: 0.5, in_use, policies: Vec::new(), approve: None, list: None })
            .await
            .unwrap();
        self.runs.settled(run).await.unwrap()
    }
}

pub(crate) async fn open(
    folder: &tempfile::TempDir,
    clock: &Arc<SteppingClock>,
    deletion: DeletionMode,
) -> (Catalog, RetentionRuns) {
    let driver = Arc::new(FilesystemDriver::open(folder.path()).await.unwrap());
    let options = Options {
        deletion,
        restore_window: Duration::from_secs(168 * 3600),
        cache_entries: 1000,
        redis: None,
        metrics: StorageMetrics::new(),
    };
    let catalog = Catalog::open(driver, options, clock.clone()).await.unwrap();
    let runs =
        RetentionRuns::open(catalog.clone(), AccessMode::ReadWrite, Arc::default(), clock.clone()).await.unwrap();
    (catalog, runs)
}

/// The last two pushes stay, the rest goes at once, manifests too.
pub(crate) fn keep_two(mode: &str) -> serde_json::Value {
    json!({
        "registryRef": { "name": "r" }, "mode": mode, "minimumAge": "0s",
        "keep": [{ "name": "newest", "tags": ["*"], "mostRecentlyPushed": 2 }],
        "untagged": { "action": "Delete", "minimumAge": "0s" },
        "limits": { "maxDeletePercent": 100 },
    })
}

pub(crate) fn request(run: &str, spec: serde_json::Value) -> RunRequest {
    let policy = PolicySource {
        namespace: "team".into(),
        name: "p".into(),
        uid: "u1".into(),
        generation: 1,
        spec: serde_json::from_value(spec).unwrap(),
    };
    RunRequest { run: run.into(), policy: "u1".into(), policies: vec![policy], approval: Approval::Automatic }
}

pub(crate) fn in_use(candidates: &[Candidate], tag: &str) -> Vec<InUse> {
    let of = candidates.iter().filter(|c| c.tag.as_ref().is_some_and(|t| t.as_str() == tag));
    of.map(|c| InUse { candidate: c.index, reason: "deployment web".into() }).collect()
}

pub(crate) async fn five_images(world: &World) {
    for number in 1..=5 {
        world.push(&format!("v{number}"), &format!("image {number}")).await;
    }
}
