//! Collections of one process on a folder, of a store that others wrote, and of two processes that serve one store.

use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use crate::api::wire::CollectionHalt;
use crate::oci::{Algorithm, Digest};
use crate::storage::driver::{FilesystemDriver, StorageDriver as _, StoragePath};
use crate::storage::{
    CallError, DeletionMode, Options, ReplicaAnswer, ReplicaCall, ReplicaCalls, ReplicaSetup, StorageMetrics, Timing,
};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A clock that is ahead of the machine's by as much as a test says: files are as old as they are.
#[derive(Debug)]
struct TestClock {
    started: std::time::Instant,
    began: Timestamp,
    ahead: AtomicI64,
}

impl TestClock {
    /// Begins with the time that a file has that is written now.
    fn new() -> Arc<Self> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let began = Timestamp::try_from(file.as_file().metadata().unwrap().modified().unwrap()).unwrap();
        Arc::new(Self { started: std::time::Instant::now(), began, ahead: AtomicI64::default() })
    }

    fn set_ahead(&self, by: Duration) {
        self.ahead.store(i64::try_from(by.as_secs()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.started.elapsed()).unwrap();
        self.began + passed + SignedDuration::from_secs(self.ahead.load(Ordering::SeqCst))
    }

    fn boot_time(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Asks the process that is the other one.
#[derive(Debug, Default)]
struct Calls(Mutex<Vec<Catalog>>);

#[async_trait]
impl ReplicaCalls for Calls {
    async fn call(&self, id: Ulid, _: &str, call: &ReplicaCall) -> Result<ReplicaAnswer, CallError> {
        let known = self.0.lock().unwrap().clone();
        for catalog in known {
            if catalog.replica_id() == Some(id) {
                return Ok(catalog.answer(id, call).await);
            }
        }
        Ok(ReplicaAnswer::NotMe)
    }
}

/// A folder with a registry in it.
struct Place {
    folder: tempfile::TempDir,
    driver: Arc<FilesystemDriver>,
    clock: Arc<TestClock>,
}

fn options() -> Options {
    Options {
        deletion: DeletionMode::Soft,
        restore_window: DAY * 7,
        cache_entries: 10,
        redis: None,
        metrics: StorageMetrics::new(),
    }
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let driver = Arc::new(FilesystemDriver::open(folder.path()).await.unwrap());
        Self { folder, driver, clock: TestClock::new() }
    }

    async fn catalog(&self) -> Catalog {
        let catalog = Catalog::open(Arc::clone(&self.driver) as _, options(), self.clock.clone()).await.unwrap();
        catalog.adopt().await.unwrap();
        catalog
    }

    async fn collections(&self) -> Collections {
        self.of(&self.catalog().await).await
    }

    async fn of(&self, catalog: &Catalog) -> Collections {
        Collections::with_beat(catalog.clone(), self.clock.clone(), DAY, Duration::from_millis(20)).await.unwrap()
    }

    /// A blob that nothing needs, two days old.
    async fn orphan(&self, number: u32) -> Digest {
        let content = format!("orphan {number}");
        let digest = Digest::of(Algorithm::Sha256, content.as_bytes());
        let hex = digest.hex();
        let path = self.folder.path().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &content).unwrap();
        let at: StoragePath = path.strip_prefix(self.folder.path()).unwrap().to_str().unwrap().parse().unwrap();
        self.driver.touch(&at, self.clock.now() - SignedDuration::from_hours(48)).await.unwrap();
        digest
    }

    fn has(&self, digest: &Digest) -> bool {
        let hex = digest.hex();
        self.folder.path().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2])).exists()
    }

    fn reports(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("lagan/v1/collections")).map_or(0, Iterator::count)
    }
}

fn dry_run() -> CollectionRequest {
    CollectionRequest { dry_run: true, confirm: None }
}

fn confirming(status: &CollectionStatus) -> CollectionRequest {
    CollectionRequest { dry_run: false, confirm: Some(status.id.clone()) }
}

async fn run(collections: &Collections, request: CollectionRequest) -> CollectionStatus {
    collections.begin("admin", request).await.unwrap();
    collections.settled().await.unwrap()
}

async fn collect(collections: &Collections) -> CollectionStatus {
    run(collections, CollectionRequest::default()).await
}

fn halted_by(status: &CollectionStatus) -> Option<(CollectionBrake, bool)> {
    let halt: Option<&CollectionHalt> = status.halt.as_ref().filter(|_| status.state == CollectionState::Halted);
    halt.map(|halt| (halt.brake, halt.confirmable))
}

#[tokio::test]
async fn garbage_goes_and_the_report_stays() {
    let place = Place::new().await;
    let catalog = place.catalog().await;
    let collections = place.of(&catalog).await;
    assert_eq!(collections.status().await.unwrap(), None);
    let orphan = place.orphan(1).await;
    let status = collect(&collections).await;
    assert_eq!(status.state, CollectionState::Finished, "{status:?}");
    assert_eq!((status.garbage.blobs, status.removed.blobs, status.removed.bytes), (1, 1, 8));
    assert!(!place.has(&orphan) && status.ended_at.is_some() && status.halt.is_none());
    assert_eq!(status.progress.phase, "clean");
    assert_eq!(collections.status().await.unwrap(), Some(status.clone()));
    let restarted = place.of(&catalog).await;
    assert_eq!(restarted.status().await.unwrap(), Some(status), "another process knows of it");
}

#[tokio::test]
async fn a_dry_run_tells_what_would_go_and_leaves_no_trace() {
    let place = Place::new().await;
    let collections = place.collections().await;
    let orphan = place.orphan(1).await;
    let status = run(&collections, dry_run()).await;
    assert_eq!(status.state, CollectionState::Finished, "{status:?}");
    assert_eq!((status.garbage.blobs, status.garbage.bytes, status.removed.blobs), (1, 8, 0));
    assert!(place.has(&orphan));
    assert_eq!(place.reports(), 0);
    assert_eq!(collections.status().await.unwrap().unwrap().id, status.id);
}

#[tokio::test]
async fn too_much_waits_until_somebody_confirms() {
    let place = Place::new().await;
    let collections = place.collections().await;
    for number in 0..100 {
        place.orphan(number).await;
    }
    let looked = run(&collections, dry_run()).await;
    assert_eq!(looked.state, CollectionState::Finished);
    assert_eq!(looked.halt.unwrap().brake, CollectionBrake::TooMuch, "it says what would stop it");
    let halted = collect(&collections).await;
    assert_eq!(halted_by(&halted), Some((CollectionBrake::TooMuch, true)), "{halted:?}");
    assert_eq!((halted.garbage.blobs, halted.removed.blobs), (100, 0));
    let other = CollectionRequest { dry_run: false, confirm: Some(Ulid::nil().to_string()) };
    let refused = collections.begin("admin", other).await.unwrap_err();
    assert!(matches!(refused, Error::InvalidRequest { .. }), "{refused:?}");
    let refused = collections.begin("admin", CollectionRequest { dry_run: true, ..confirming(&halted) }).await;
    assert!(matches!(refused, Err(Error::InvalidRequest { .. })));
    let status = run(&collections, confirming(&halted)).await;
    assert_eq!(status.state, CollectionState::Finished, "{status:?}");
    assert_eq!((status.removed.blobs, status.confirmed_by.as_deref()), (100, Some("admin")));
    let refused = collections.begin("admin", confirming(&halted)).await.unwrap_err();
    assert!(matches!(refused, Error::InvalidRequest { .. }), "it is not the last one any more: {refused:?}");
}

#[tokio::test]
async fn an_adopted_store_waits_for_a_confirmation_and_for_the_grace_period() {
    let place = Place::new().await;
    let orphan = place.orphan(1).await;
    std::fs::create_dir_all(place.folder.path().join("docker/registry/v2/repositories/app/_layers")).unwrap();
    let collections = place.collections().await;
    let halted = collect(&collections).await;
    assert_eq!(halted_by(&halted), Some((CollectionBrake::NotConfirmed, true)), "{halted:?}");
    let young = run(&collections, confirming(&halted)).await;
    assert_eq!(halted_by(&young), Some((CollectionBrake::TooYoung, false)), "{young:?}");
    let refused = collections.begin("admin", confirming(&young)).await.unwrap_err();
    assert!(
        matches!(&refused, Error::InvalidRequest { reason } if reason.contains("cannot be confirmed")),
        "{refused:?}"
    );
    assert!(place.has(&orphan));
    place.clock.set_ahead(DAY);
    // What writes files has the machine's clock still.
    let skewed = collect(&collections).await;
    assert_eq!(halted_by(&skewed), Some((CollectionBrake::ClockSkew, false)), "{skewed:?}");
    assert!(skewed.halt.unwrap().message.contains(" s apart"));
    assert!(place.has(&orphan));
}

#[tokio::test]
async fn another_registry_that_writes_stops_it() {
    let place = Place::new().await;
    let collections = place.collections().await;
    let orphan = place.orphan(1).await;
    let manifest = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let digest = Digest::of(Algorithm::Sha256, manifest.as_bytes());
    let hex = digest.hex();
    let root = place.folder.path().join("docker/registry/v2");
    for (path, content) in [
        (format!("blobs/sha256/{}/{hex}/data", &hex[..2]), manifest.to_owned()),
        (format!("repositories/app/_manifests/revisions/sha256/{hex}/link"), digest.to_string()),
    ] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let halted = collect(&collections).await;
    assert_eq!(halted_by(&halted), Some((CollectionBrake::ForeignWriter, true)), "{halted:?}");
    assert!(halted.halt.as_ref().unwrap().message.contains(&format!("app@{digest}")));
    assert!(place.has(&orphan));
    let status = run(&collections, confirming(&halted)).await;
    assert_eq!(status.state, CollectionState::Finished, "{status:?}");
    assert!(!place.has(&orphan) && place.has(&digest));
    assert_eq!(status.progress.repositories, 1);
    // A listing cut short, a volume that is not mounted: all that there was is gone.
    std::fs::rename(root.join("repositories"), place.folder.path().join("elsewhere")).unwrap();
    let orphan = place.orphan(2).await;
    let halted = collect(&collections).await;
    assert_eq!(halted_by(&halted), Some((CollectionBrake::RepositoriesVanished, true)), "{halted:?}");
    assert!(place.has(&orphan) && place.has(&digest));
    std::fs::rename(place.folder.path().join("elsewhere"), root.join("repositories")).unwrap();
    assert_eq!(collect(&collections).await.removed.blobs, 1, "when it is back nobody needs to confirm");
}

#[tokio::test]
async fn what_cannot_be_read_fails_it_and_nothing_goes() {
    let place = Place::new().await;
    let collections = place.collections().await;
    let orphan = place.orphan(1).await;
    let intent = place.folder.path().join("lagan/v1/intents/01ARZ3NDEKTSV4RRFFQ69G5FAV");
    std::fs::create_dir_all(intent.parent().unwrap()).unwrap();
    std::fs::write(&intent, "{").unwrap();
    let status = collect(&collections).await;
    assert_eq!(status.state, CollectionState::Failed, "{status:?}");
    assert!(status.message.unwrap().contains("intents/01ARZ3NDEKTSV4RRFFQ69G5FAV"));
    assert!(place.has(&orphan));
    std::fs::remove_file(intent).unwrap();
    assert_eq!(collect(&collections).await.removed.blobs, 1);
}

#[tokio::test]
async fn a_collection_that_was_cut_off_with_its_process_is_told_of_as_such() {
    let place = Place::new().await;
    let catalog = place.catalog().await;
    let collections = place.of(&catalog).await;
    let status = collect(&collections).await;
    let id = Ulid::from_string(&status.id).unwrap();
    let running = CollectionStatus { state: CollectionState::Running, ended_at: None, ..status };
    let record = Record { beat: 3, status: running, passed: Vec::new(), repositories: None };
    Records::of(&catalog).put(id, &record).await.unwrap();
    let restarted = place.of(&catalog).await;
    let told = restarted.status().await.unwrap().unwrap();
    assert_eq!(told.state, CollectionState::Interrupted);
    assert!(told.message.is_some());
    assert_eq!(collect(&restarted).await.state, CollectionState::Finished, "another one may begin");
}

#[tokio::test]
async fn only_the_last_reports_are_kept() {
    let place = Place::new().await;
    let collections = place.collections().await;
    let mut last = String::new();
    for _ in 0..33 {
        last = collect(&collections).await.id;
    }
    assert_eq!(place.reports(), 30);
    assert_eq!(collections.status().await.unwrap().unwrap().id, last);
}

#[tokio::test]
async fn how_many_repositories_there_were_is_known_however_many_collections_did_not_finish() {
    let place = Place::new().await;
    let catalog = place.catalog().await;
    let records = Records::of(&catalog);
    let collections = place.of(&catalog).await;
    let finished = collect(&collections).await;
    let id = finished.id.parse().unwrap();
    let mut record = records.get(id).await.unwrap().unwrap();
    record.repositories = Some(7);
    records.put_end(id, &record).await.unwrap();
    record.status.state = CollectionState::Failed;
    for _ in 0..40 {
        records.put_end(catalog.name_collection(), &record).await.unwrap();
    }
    records.prune().await.unwrap();
    assert_eq!(place.reports(), 31);
    assert_eq!(collections.inner.repositories_before().await.unwrap(), Some(7));
}

#[tokio::test]
async fn a_stop_interrupts_it() {
    let place = Place::new().await;
    let collections = place.collections().await;
    place.orphan(1).await;
    collections.inner.stop.cancel();
    let status = collect(&collections).await;
    assert_eq!(status.state, CollectionState::Interrupted, "{status:?}");
    collections.shutdown().await;
}

#[tokio::test]
async fn what_one_process_collects_another_one_tells_of() {
    let place = Place::new().await;
    let calls = Arc::new(Calls::default());
    let mut processes = Vec::new();
    for _ in 0..2 {
        let setup = ReplicaSetup { address: "a:1".to_owned(), calls: calls.clone() };
        let catalog = Catalog::open_shared(
            Arc::clone(&place.driver) as _,
            options(),
            place.clock.clone(),
            Timing::default().faster(10),
            setup,
        );
        calls.0.lock().unwrap().push(catalog.clone());
        catalog.joined().await;
        processes.push(catalog);
    }
    processes[0].adopt().await.unwrap();
    let (one, two) = (place.of(&processes[0]).await, place.of(&processes[1]).await);
    let orphan = place.orphan(1).await;
    let dry = run(&one, dry_run()).await;
    assert_eq!(two.status().await.unwrap(), Some(dry), "who asks for a dry run may be answered by another process");
    let begun = one.begin("admin", CollectionRequest::default()).await.unwrap();
    let refused = two.begin("admin", CollectionRequest::default()).await;
    let status = one.settled().await.unwrap();
    match refused {
        Err(Error::Collecting { id, .. }) => assert_eq!(id, begun.id),
        // It was over before.
        Ok(other) => assert!(other.started_at >= status.ended_at.unwrap(), "{other:?}"),
        Err(other) => panic!("{other:?}"),
    }
    two.settled().await;
    assert_eq!((status.state, status.removed.blobs), (CollectionState::Finished, 1), "{status:?}");
    assert!(!place.has(&orphan));
    let told = two.status().await.unwrap().unwrap();
    assert!(told.id >= status.id, "{told:?}");
    for catalog in processes {
        catalog.leave().await;
    }
}
