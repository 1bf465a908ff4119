//! Operations that overlap, in many orders.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    oci::Digest,
    storage::{
        Catalog, Clock as _, Conflict, Error, PlannedDelete, PlannedOutcome, Repository,
        driver::{self, ByteStream, Durability, Entry, Metadata, StagedFile, Staging, StorageDriver, StoragePath},
        fixtures::{World, name, open, sha256},
        guard::keys::Key,
    },
};

use super::{assert_consistent, by, cause, image, index, is_there, put, reference, tags};

/// How many orders are tried. Each seed is another one, and always the same.
const SEEDS: u64 = 50;

/// Lets others run before and after each operation, a number of times that the seed decides.
#[derive(Debug)]
struct Yielding {
    inner: Arc<dyn StorageDriver>,
    random: AtomicU64,
}

impl Yielding {
    async fn others<T>(&self, operation: impl Future<Output = T> + Send) -> T {
        self.some_turns().await;
        let result = operation.await;
        self.some_turns().await;
        result
    }

    async fn some_turns(&self) {
        // A linear congruential generator (Knuth's MMIX constants); the high bits are the random ones.
        let step = |state: u64| state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let state = self.random.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| Some(step(state))).unwrap();
        for _ in 0..(state >> 60) {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl StorageDriver for Yielding {
    async fn get(&self, path: &StoragePath) -> Result<Bytes, driver::Error> {
        self.others(self.inner.get(path)).await
    }

    async fn read(&self, path: &StoragePath, range: Range<u64>) -> Result<ByteStream, driver::Error> {
        self.others(self.inner.read(path, range)).await
    }

    async fn stat(&self, path: &StoragePath) -> Result<Metadata, driver::Error> {
        self.others(self.inner.stat(path)).await
    }

    async fn list(&self, folder: &StoragePath, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, driver::Error> {
        self.others(self.inner.list(folder, after, limit)).await
    }

    async fn put(&self, path: &StoragePath, content: Bytes, durability: Durability) -> Result<(), driver::Error> {
        self.others(self.inner.put(path, content, durability)).await
    }

    async fn stage(&self, at: &Staging, started_at: Bytes) -> Result<Box<dyn StagedFile>, driver::Error> {
        self.others(self.inner.stage(at, started_at)).await
    }

    async fn resume(&self, at: &Staging) -> Result<Box<dyn StagedFile>, driver::Error> {
        self.others(self.inner.resume(at)).await
    }

    async fn last_use(&self, at: &Staging) -> Result<Timestamp, driver::Error> {
        self.others(self.inner.last_use(at)).await
    }

    async fn purge(&self, at: &Staging, unused_since: Timestamp) -> Result<driver::Purge, driver::Error> {
        self.others(self.inner.purge(at, unused_since)).await
    }

    async fn touch(&self, path: &StoragePath, modified: Timestamp) -> Result<(), driver::Error> {
        self.others(self.inner.touch(path, modified)).await
    }

    async fn delete(&self, path: &StoragePath) -> Result<(), driver::Error> {
        self.others(self.inner.delete(path)).await
    }

    async fn delete_directory(&self, path: &StoragePath) -> Result<(), driver::Error> {
        self.others(self.inner.delete_directory(path)).await
    }

    async fn signed_url(&self, path: &StoragePath, expires: Duration) -> Result<Option<String>, driver::Error> {
        self.inner.signed_url(path, expires).await
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn fenced(self: Arc<Self>) -> Arc<dyn StorageDriver> {
        self
    }
}

/// Begins after a number of turns that the seed decides: up to about as many as a delete takes.
async fn late<T>(seed: u64, operation: impl Future<Output = T>) -> T {
    for _ in 0..(seed * 37 % 1_000) {
        tokio::task::yield_now().await;
    }
    operation.await
}

async fn contended(world: &World, seed: u64) -> (Catalog, Repository) {
    let random = AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let driver = Arc::new(Yielding { inner: world.driver.clone(), random });
    let catalog = open(driver, world.options.clone(), world.clock.clone()).await;
    let repository = catalog.repository(&name("app"));
    (catalog, repository)
}

fn planned(world: &World, digest: &Digest, tag: Option<&str>, tags: &[&str]) -> PlannedDelete {
    let planned_at = world.clock.now();
    world.clock.advance(Duration::from_secs(1));
    PlannedDelete {
        reference: tag.map_or_else(|| by(digest), reference),
        expected: digest.clone(),
        tags: tags.iter().map(|tag| super::tag(tag)).collect(),
        planned_at,
        not_after: jiff::Timestamp::MAX,
        cause: cause(),
    }
}

#[tokio::test]
async fn a_push_and_a_delete_leave_all_of_the_push_or_nothing() {
    let (mut kept, mut gone) = (0, 0);
    for seed in 0..SEEDS {
        let world = World::new();
        let (_, repository) = contended(&world, seed).await;
        let image = image("a");
        let digest = image.push(&repository, Some("old")).await.unwrap();
        let reference_to_it = by(&digest);
        let (pushed, deleted) = tokio::join!(
            late(seed, repository.put_manifest(put(&image.bytes(), Some("new")))),
            repository.delete_manifest(&reference_to_it, cause()),
        );
        pushed.unwrap();
        let tombstone = deleted.unwrap();
        let is_kept = is_there(&repository, &by(&digest)).await;
        assert_eq!(is_there(&repository, &reference("new")).await, is_kept, "seed {seed}");
        assert!(!is_there(&repository, &reference("old")).await, "seed {seed}: it was there before the delete began");
        assert_eq!(tags(&repository).await, if is_kept { vec!["new"] } else { vec![] }, "seed {seed}");
        assert_eq!(tombstone.tags.contains(&super::tag("new")), !is_kept, "seed {seed}");
        assert_consistent(&repository).await;
        *(if is_kept { &mut kept } else { &mut gone }) += 1;
    }
    assert!(kept > 0 && gone > 0, "both orders were seen: {kept} kept, {gone} gone");
}

#[tokio::test]
async fn a_policy_deletes_no_child_of_an_index_that_was_pushed_meanwhile() {
    let (mut kept, mut gone) = (0, 0);
    for seed in 0..SEEDS {
        let world = World::new();
        let (_, repository) = contended(&world, seed).await;
        let child = image("child");
        let digest = child.push(&repository, None).await.unwrap();
        if seed % 2 == 0 {
            // So that what leads to a manifest is remembered already.
            let other = image("other").push(&repository, None).await.unwrap();
            let plan = planned(&world, &other, None, &[]);
            assert!(matches!(repository.delete_planned(plan).await, Ok(PlannedOutcome::Changed { .. })));
        }
        world.clock.advance(Duration::from_secs(1));
        let plan = planned(&world, &digest, None, &[]);
        let (pushed, deleted) = tokio::join!(
            late(seed, repository.put_manifest(put(&index(&[&child]), Some("multi")))),
            repository.delete_planned(plan),
        );
        let is_kept = is_there(&repository, &by(&digest)).await;
        match (pushed, deleted.unwrap()) {
            (Ok(_), PlannedOutcome::Changed { .. }) => assert!(is_kept, "seed {seed}"),
            (Err(Error::InvalidReferences(_)), PlannedOutcome::Deleted(_)) => assert!(!is_kept, "seed {seed}"),
            other => panic!("seed {seed}: {other:?}"),
        }
        assert_consistent(&repository).await;
        *(if is_kept { &mut kept } else { &mut gone }) += 1;
    }
    assert!(kept > 0 && gone > 0, "both orders were seen: {kept} kept, {gone} gone");
}

#[tokio::test]
async fn a_policy_deletes_no_tag_that_was_pushed_meanwhile() {
    let (mut changed, mut deleted_first) = (0, 0);
    for seed in 0..SEEDS {
        let world = World::new();
        let (_, repository) = contended(&world, seed).await;
        let image = image("a");
        let digest = image.push(&repository, Some("v1")).await.unwrap();
        let whole = seed % 2 == 0;
        world.clock.advance(Duration::from_secs(1));
        let plan =
            if whole { planned(&world, &digest, None, &["v1"]) } else { planned(&world, &digest, Some("v1"), &[]) };
        let pushed = late(seed, repository.put_manifest(put(&image.bytes(), Some("v1"))));
        let (pushed, deleted) = tokio::join!(pushed, repository.delete_planned(plan));
        pushed.unwrap();
        assert!(is_there(&repository, &reference("v1")).await, "seed {seed}: it was pushed, and not deleted since");
        match deleted.unwrap() {
            PlannedOutcome::Changed { .. } => changed += 1,
            PlannedOutcome::Deleted(_) => deleted_first += 1,
        }
    }
    assert!(changed > 0 && deleted_first > 0, "both orders were seen: {changed} changed, {deleted_first} deleted");
}

#[tokio::test]
async fn of_two_deletes_one_finds_nothing() {
    for seed in 0..SEEDS {
        let world = World::new();
        let (_, repository) = contended(&world, seed).await;
        let digest = image("a").push(&repository, Some("v1")).await.unwrap();
        let reference = if seed % 2 == 0 { by(&digest) } else { reference("v1") };
        let (first, second) = tokio::join!(
            repository.delete_manifest(&reference, cause()),
            repository.delete_manifest(&reference, cause()),
        );
        let (done, missing) = if first.is_ok() { (first, second) } else { (second, first) };
        let done = done.unwrap();
        let Err(Error::ManifestUnknown { trash: Some(trash), .. }) = missing else { panic!("{missing:?}") };
        assert_eq!(*trash, done, "seed {seed}");
    }
}

#[tokio::test]
async fn of_two_restores_one_finds_nothing() {
    for seed in 0..SEEDS {
        let world = World::new();
        let (catalog, repository) = contended(&world, seed).await;
        let digest = image("a").push(&repository, Some("v1")).await.unwrap();
        let id = repository.delete_manifest(&by(&digest), cause()).await.unwrap().id;
        let trash = catalog.trash();
        let (first, second) =
            tokio::join!(trash.restore(&id, Conflict::Fail, "a"), trash.restore(&id, Conflict::Fail, "b"));
        assert_eq!([&first, &second].into_iter().filter(|result| result.is_ok()).count(), 1, "seed {seed}");
        let missing = first.and(second).unwrap_err();
        assert!(matches!(missing, Error::TombstoneUnknown { .. }), "seed {seed}: {missing:?}");
        assert!(is_there(&repository, &reference("v1")).await);
        assert_consistent(&repository).await;
    }
}

#[tokio::test]
async fn a_restore_takes_no_tag_from_a_push() {
    for seed in 0..SEEDS {
        let world = World::new();
        let (catalog, repository) = contended(&world, seed).await;
        let (old, new) = (image("old"), image("new"));
        let digest = old.push(&repository, Some("v1")).await.unwrap();
        new.push(&repository, None).await.unwrap();
        let id = repository.delete_manifest(&by(&digest), cause()).await.unwrap().id;
        let trash = catalog.trash();
        let (pushed, restored) = tokio::join!(
            late(seed, repository.put_manifest(put(&new.bytes(), Some("v1")))),
            trash.restore(&id, Conflict::Fail, "restorer"),
        );
        pushed.unwrap();
        let points_to = repository.stat_manifest(&reference("v1")).await.unwrap().digest;
        assert_eq!(points_to, new.digest(), "seed {seed}: the push came after the delete, and fails for nobody");
        assert!(matches!(restored, Ok(_) | Err(Error::TagConflict { .. })), "seed {seed}: {restored:?}");
        assert_consistent(&repository).await;
    }
}

#[tokio::test]
async fn no_read_fills_a_cache_with_what_was_deleted() {
    for seed in 0..SEEDS {
        let world = World::new();
        let (_, repository) = contended(&world, seed).await;
        let digest = image("a").push(&repository, Some("v1")).await.unwrap();
        let (reference, by_digest) = (reference("v1"), by(&digest));
        let reads = async {
            for _ in 0..3 {
                let (by_tag, by_digest) =
                    tokio::join!(repository.stat_manifest(&reference), repository.manifest(&by_digest));
                assert!(matches!(by_tag, Ok(_) | Err(Error::ManifestUnknown { .. })));
                assert!(matches!(by_digest, Ok(_) | Err(Error::ManifestUnknown { .. })));
            }
        };
        let delete = async {
            repository.delete_manifest(&by_digest, cause()).await.unwrap();
            assert!(!is_there(&repository, &by_digest).await, "seed {seed}: it was answered after the delete");
            assert!(!is_there(&repository, &reference).await, "seed {seed}: it was answered after the delete");
        };
        tokio::join!(reads, delete);
        assert!(!is_there(&repository, &by_digest).await, "seed {seed}: a read that began before filled the cache");
    }
}

/// Lets everybody run until they can only wait, this operation included.
async fn waits<T>(operation: &mut (impl Future<Output = T> + Unpin)) {
    for _ in 0..1_000 {
        assert!(futures::poll!(&mut *operation).is_pending());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_restore_does_not_wait_behind_a_push_that_waits_for_it() {
    let world = World::new();
    let catalog = world.open().await;
    let repository = catalog.repository(&name("app"));
    let image = image("a");
    let digest = image.push(&repository, Some("v1")).await.unwrap();
    let id = repository.delete_manifest(&by(&digest), cause()).await.unwrap().id;
    let layer = sha256(&image.blobs()[1]);
    let trash = catalog.trash();
    let in_flight = repository.store.guard.enter([Key::Revision(name("app"), digest.clone())]).await.unwrap();
    let mut restored = Box::pin(trash.restore(&id, Conflict::Fail, "restorer"));
    waits(&mut restored).await;
    let mut pushed = Box::pin(repository.put_manifest(put(&image.bytes(), Some("v2"))));
    waits(&mut pushed).await;
    // Would it wait for the push, which waits for the restore, which relies on the layer too, none of them would end.
    repository.delete_blob(&layer, cause()).await.unwrap();
    drop(in_flight);
    let (restored, pushed) = tokio::join!(restored, pushed);
    restored.unwrap();
    pushed.unwrap();
    assert!(is_there(&repository, &reference("v1")).await && is_there(&repository, &reference("v2")).await);
}

#[tokio::test]
async fn a_push_that_nobody_waits_for_goes_to_its_end() {
    let world = World::new();
    let (catalog, repository) = contended(&world, 1).await;
    let image = image("a");
    image.push(&repository, None).await.unwrap();
    let mut push = Box::pin(repository.put_manifest(put(&image.bytes(), Some("v1"))));
    assert!(futures::poll!(push.as_mut()).is_pending());
    drop(push);
    catalog.drain().await;
    assert!(is_there(&repository, &reference("v1")).await);
}

#[tokio::test]
async fn a_restore_that_replaced_something_and_lost_its_entry_does_not_say_that_nothing_happened() {
    let mut lost = 0;
    for seed in 0..SEEDS * 4 {
        let world = World::new();
        let (catalog, repository) = contended(&world, seed).await;
        let old = image("a").push(&repository, Some("v1")).await.unwrap();
        let entry = repository.delete_manifest(&by(&old), cause()).await.unwrap();
        image("b").push(&repository, Some("v1")).await.unwrap();
        let (trash, app, wanted) = (catalog.trash(), name("app"), by(&old));
        let restore = trash.restore_reference(&app, &wanted, Conflict::Replace, "restorer");
        let (restored, purged) = tokio::join!(restore, late(seed, trash.purge(&entry.id)));
        let now = tags(&repository).await;
        match restored {
            Ok(_) => assert_eq!(now, ["v1"], "seed {seed}"),
            Err(Error::NotInTrash { .. }) => assert_eq!(now, ["v1"], "seed {seed}: {purged:?}"),
            Err(Error::Frozen { .. }) => lost += u64::from(now.is_empty()),
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert!(lost > 0, "the entry was never lost in between");
}
