//! Scrubs of two processes that serve one store.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::oci::{Algorithm, Digest};
use crate::storage::driver::FilesystemDriver;
use crate::storage::{
    CallError, DeletionMode, Options, ReplicaAnswer, ReplicaCall, ReplicaCalls, ReplicaSetup, StorageMetrics, Timing,
};

use super::*;

const BEAT: Duration = Duration::from_millis(40);

/// A day, and a clock for what is measured that passes when it is read.
#[derive(Debug, Default)]
struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        "2026-06-01T12:00:00Z".parse().unwrap()
    }

    fn boot_time(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

impl TestClock {
    fn pass(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

/// Nobody is asked anything here.
#[derive(Debug)]
struct NoCalls;

#[async_trait]
impl ReplicaCalls for NoCalls {
    async fn call(&self, _: Ulid, _: &str, _: &ReplicaCall) -> Result<ReplicaAnswer, CallError> {
        Ok(ReplicaAnswer::Done)
    }
}

/// Processes that serve one store.
struct Store {
    driver: Arc<FilesystemDriver>,
    _folder: tempfile::TempDir,
}

impl Store {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let driver = Arc::new(FilesystemDriver::open(folder.path()).await.unwrap());
        Self { driver, _folder: folder }
    }

    async fn process(&self) -> (Scrubs, Arc<TestClock>) {
        let clock = Arc::new(TestClock::default());
        let options = Options {
            deletion: DeletionMode::Soft,
            restore_window: Duration::from_secs(3600),
            cache_entries: 10,
            redis: None,
            metrics: StorageMetrics::new(),
        };
        let setup = ReplicaSetup { address: "a:1".to_owned(), calls: Arc::new(NoCalls) };
        let catalog =
            Catalog::open_shared(Arc::clone(&self.driver) as _, options, clock.clone(), Timing::default(), setup);
        catalog.joined().await;
        (Scrubs::with_beat(catalog, clock.clone(), BEAT), clock)
    }

    /// A scrub of which nobody knows whether its process lives.
    async fn note(&self, records: &Records, id: Ulid, beat: u64, running: &ScrubStatus) {
        let started_at = running.started_at + jiff::SignedDuration::from_secs(1);
        let status = ScrubStatus { id: id.to_string(), state: ScrubState::Running, started_at, ..running.clone() };
        records.put(id, &Sign { beat, status }).await.unwrap();
    }
}

async fn damage(scrubs: &Scrubs) -> Digest {
    let catalog = &scrubs.inner.catalog;
    let repository = catalog.repository(&"app".parse().unwrap());
    let digest = Digest::of(Algorithm::Sha256, b"cargo");
    let mut upload = repository.create_upload().await.unwrap();
    upload.append(b"cargo".as_slice().into()).await.unwrap();
    upload.commit(&digest).await.unwrap();
    digest
}

#[tokio::test]
async fn any_process_tells_of_a_scrub() {
    let store = Store::new().await;
    let ((one, _), (other, _)) = (store.process().await, store.process().await);
    assert!(matches!(other.status().await, Err(Error::NeverScrubbed)));
    let digest = damage(&one).await;
    let data = format!("docker/registry/v2/blobs/sha256/{}/{}/data", &digest.hex()[..2], digest.hex());
    let path = data.parse().unwrap();
    crate::storage::driver::StorageDriver::put(
        &*store.driver,
        &path,
        b"other".as_slice().into(),
        crate::storage::driver::Durability::Visible,
    )
    .await
    .unwrap();
    let begun = one.start(&ScrubRequest::default()).await.unwrap();
    let ended = one.settled().await.unwrap();
    assert_eq!((ended.state, ended.damage), (ScrubState::Finished, 1), "{ended:?}");
    assert_eq!(other.status().await.unwrap(), ended);
    assert_eq!(ended.id, begun.id);
    let findings = other.findings(None, 10).await.unwrap();
    assert_eq!(findings.findings.len(), 1);
    assert_eq!(findings, one.findings(None, 10).await.unwrap());
    // Another one takes its place, wherever it is asked for.
    other.start(&ScrubRequest::default()).await.unwrap();
    let second = other.settled().await.unwrap();
    assert_eq!(one.status().await.unwrap(), second);
    assert_eq!(one.inner.records.as_ref().unwrap().all().await.unwrap().len(), 1);
    one.inner.catalog.leave().await;
    other.inner.catalog.leave().await;
}

#[tokio::test]
async fn a_scrub_of_a_process_that_lives_is_in_the_way_and_of_one_that_died_is_not() {
    let store = Store::new().await;
    let (scrubs, clock) = store.process().await;
    scrubs.start(&ScrubRequest::default()).await.unwrap();
    let status = scrubs.settled().await.unwrap();
    let records = Records::of(&scrubs.inner.catalog).unwrap();
    let other = Ulid::from_parts(u64::from(u32::MAX), 7);
    store.note(&records, other, 1, &status).await;
    assert_eq!(scrubs.status().await.unwrap().id, other.to_string());
    // It gives other signs while it is watched.
    let request = ScrubRequest::default();
    let beating = async {
        for beat in 2.. {
            store.note(&records, other, beat, &status).await;
        }
    };
    let started = tokio::select! {
        started = scrubs.start(&request) => started,
        () = beating => panic!("it goes on for ever"),
    };
    match started {
        Err(Error::Scrubbing { id, .. }) => assert_eq!(id, other.to_string()),
        unexpected => panic!("{unexpected:?}"),
    }
    // And no more.
    assert_eq!(scrubs.status().await.unwrap().state, ScrubState::Running);
    clock.pass(BEAT * MISSED_BEATS);
    assert_eq!(scrubs.status().await.unwrap().state, ScrubState::Interrupted);
    let begun = scrubs.start(&ScrubRequest::default()).await.unwrap();
    assert_eq!(scrubs.settled().await.unwrap().id, begun.id);
    let left: Vec<_> = records.all().await.unwrap().into_iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(left, [begun.id]);
    scrubs.inner.catalog.leave().await;
}

#[tokio::test]
async fn a_scrub_whose_record_is_gone_stops() {
    let store = Store::new().await;
    let (scrubs, _) = store.process().await;
    scrubs.start(&ScrubRequest::default()).await.unwrap();
    let status = scrubs.settled().await.unwrap();
    let records = Records::of(&scrubs.inner.catalog).unwrap();
    let id: Ulid = status.id.parse().unwrap();
    let signs = scrubs.inner.give_signs(id);
    let taking_over = async {
        while records.get(id).await.unwrap().unwrap().beat == u64::MAX {
            tokio::task::yield_now().await;
        }
        loop {
            records.remove(id).await.unwrap();
        }
    };
    tokio::select! {
        () = signs => {}
        () = taking_over => {}
    }
    assert!(records.get(id).await.unwrap().is_none(), "and writes none after that");
    scrubs.inner.catalog.leave().await;
}
