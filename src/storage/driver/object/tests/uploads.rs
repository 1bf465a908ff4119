//! Uploads of a registry over the driver: several replicas, few bytes for buffers, a store that fails.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::future;

use crate::{
    oci::{Algorithm, Digest},
    storage::{
        Catalog, Repository, UploadId,
        driver::Purge,
        fixtures::{ManualClock, name, open, options, sha256},
    },
};

use super::{watched::Fault, *};

/// Some parts, and some bytes more.
fn content(seed: u32) -> Bytes {
    (0..1_050_001_u32).map(|n| (n.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).collect()
}

async fn catalog(store: &Arc<Watched>, buffer_bytes: usize) -> Catalog {
    open(replica(store, TINY, buffer_bytes), options(), Arc::new(ManualClock::new())).await
}

async fn repository(store: &Arc<Watched>) -> Repository {
    catalog(store, 1_000_000).await.repository(&name("a"))
}

async fn push(repository: &Repository, content: &Bytes) -> Result<Digest, crate::storage::Error> {
    let mut upload = repository.create_upload().await?;
    for chunk in content.chunks(70_000) {
        upload.append(content.slice_ref(chunk)).await?;
    }
    Ok(upload.commit(&sha256(content)).await?.digest)
}

async fn pull(repository: &Repository, digest: &Digest) -> Option<Vec<u8>> {
    use futures::TryStreamExt as _;
    let blob = repository.open_blob(digest).await.ok()?;
    let chunks: Vec<Bytes> = blob.stream(0..blob.size()).await.unwrap().try_collect().await.unwrap();
    Some(chunks.concat())
}

#[tokio::test]
async fn a_small_blob_is_one_write_and_a_large_one_leaves_nothing_behind() {
    let store = Arc::new(Watched::default());
    let repository = repository(&store).await;
    for content in [Bytes::from("small"), Bytes::new(), content(1).slice(..100_000), content(1)] {
        let digest = push(&repository, &content).await.unwrap();
        assert_eq!(pull(&repository, &digest).await.unwrap(), content);
        let left: Vec<_> = store.paths().await.into_iter().filter(|path| path.contains("_uploads")).collect();
        assert_eq!(left, [""; 0]);
        assert_eq!(store.open_uploads(), 0);
    }
    let before = store.writes();
    let mut upload = repository.create_upload().await.unwrap();
    upload.append(Bytes::from("another")).await.unwrap();
    upload.commit(&sha256(b"another")).await.unwrap();
    assert_eq!(store.writes() - before, 4, "when it began, link, content, and the removal of the first");
}

#[tokio::test]
async fn an_upload_begun_on_one_replica_ends_on_another_with_any_digest() {
    let content = content(2);
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let store = Arc::new(Watched::default());
        let mut upload = repository(&store).await.create_upload().await.unwrap();
        let id = upload.id().clone();
        for cut in [0..1, 1..99_999, 99_999..600_000, 600_000..1_050_001] {
            upload.append(content.slice(cut.clone())).await.unwrap();
            assert_eq!(upload.suspend().await.unwrap(), cut.end as u64);
            let next = repository(&store).await;
            assert_eq!(next.upload_offset(&id).await.unwrap(), cut.end as u64);
            upload = next.resume_upload(&id).await.unwrap();
        }
        let digest = Digest::of(algorithm, &content);
        upload.commit(&digest).await.unwrap();
        assert_eq!(pull(&repository(&store).await, &digest).await.unwrap(), content);
    }
}

#[tokio::test]
async fn a_cancelled_upload_leaves_neither_objects_nor_parts() {
    let store = Arc::new(Watched::default());
    let first = repository(&store).await;
    let id = left_behind(&first).await;
    repository(&store).await.cancel_upload(&id).await.unwrap();
    assert_eq!(store.paths().await, [""; 0]);
    assert_eq!(store.open_uploads(), 0);
    assert!(matches!(first.upload_offset(&id).await, Err(crate::storage::Error::UploadUnknown { .. })));
}

#[tokio::test]
async fn two_replicas_that_end_the_same_upload_answer_alike() {
    for length in [7, 1_050_001] {
        let content = content(5).slice(..length);
        let store = Arc::new(Watched::default());
        let first = repository(&store).await;
        let mut upload = first.create_upload().await.unwrap();
        let id = upload.id().clone();
        upload.append(content.clone()).await.unwrap();
        upload.suspend().await.unwrap();
        let (one, two) = (repository(&store).await, repository(&store).await);
        let (one, two) = (one.resume_upload(&id).await.unwrap(), two.resume_upload(&id).await.unwrap());
        let committed = one.commit(&sha256(&content)).await.unwrap();
        assert_eq!(two.commit(&sha256(&content)).await.unwrap(), committed);
        assert_eq!(pull(&first, &committed.digest).await.unwrap(), content);
        assert_eq!(store.open_uploads(), 0);
    }
}

/// An upload of some parts, left by a replica that died: not all of them are named by a state.
async fn left_behind(first: &Repository) -> UploadId {
    let mut upload = first.create_upload().await.unwrap();
    let id = upload.id().clone();
    upload.append(content(3)).await.unwrap();
    upload.suspend().await.unwrap();
    let mut upload = first.resume_upload(&id).await.unwrap();
    upload.append(content(3)).await.unwrap();
    // A replica that dies here has sent parts that no state names.
    drop(upload);
    id
}

#[tokio::test]
async fn an_upload_that_nobody_uses_goes_with_its_parts_also_when_two_remove_it() {
    let store = Arc::new(Watched::default());
    let id = left_behind(&repository(&store).await).await;
    assert!(store.open_uploads() > 0);
    let (one, two) = (repository(&store).await, repository(&store).await);
    assert_eq!(one.purge_upload(&id, Timestamp::UNIX_EPOCH).await.unwrap(), Purge::InUse);
    let (one, two) = future::join(one.purge_upload(&id, Timestamp::MAX), two.purge_upload(&id, Timestamp::MAX)).await;
    assert!([one.unwrap(), two.unwrap()].contains(&Purge::Removed));
    assert_eq!(store.paths().await, [""; 0]);
    assert_eq!(store.open_uploads(), 0);
}

#[tokio::test]
async fn a_purge_that_is_cut_off_is_ended_by_the_next_one_and_nobody_goes_on_in_between() {
    let store = Arc::new(Watched::default());
    for writes in 1.. {
        let id = left_behind(&repository(&store).await).await;
        store.crash(writes, Fault::Refused);
        let purged = repository(&store).await.purge_upload(&id, Timestamp::MAX).await;
        store.heal();
        if purged.is_ok() {
            break;
        }
        let other = repository(&store).await;
        let resumed = other.resume_upload(&id).await;
        assert!(matches!(resumed, Err(crate::storage::Error::UploadUnknown { .. })), "after {writes} writes");
        assert_eq!(other.purge_upload(&id, Timestamp::MAX).await.unwrap(), Purge::Removed);
        assert_eq!(store.paths().await, [""; 0], "after {writes} writes");
    }
}

#[tokio::test]
async fn whoever_goes_on_while_an_upload_is_removed_is_told_before_anything_is_acknowledged() {
    for length in [7, 400_000] {
        let store = Arc::new(Watched::default());
        let id = left_behind(&repository(&store).await).await;
        let (purger, writer) = (repository(&store).await, repository(&store).await);
        let mut upload = writer.resume_upload(&id).await.unwrap();
        assert_eq!(purger.purge_upload(&id, Timestamp::MAX).await.unwrap(), Purge::Removed);
        let written = match upload.append(content(5).slice(..length)).await {
            Ok(()) => upload.suspend().await.map(drop),
            Err(error) => Err(error),
        };
        assert!(matches!(written, Err(crate::storage::Error::UploadUnknown { .. })), "{written:?}");
        assert_eq!(store.paths().await, [""; 0]);
        assert_eq!(store.open_uploads(), 0);
    }
}

#[tokio::test]
async fn an_upload_that_is_used_again_while_it_is_looked_at_stays() {
    let store = Arc::new(Watched::default());
    let id = left_behind(&repository(&store).await).await;
    let last_use = repository(&store).await.upload_last_use(&id).await.unwrap().unwrap();
    let writer = repository(&store).await;
    let mut upload = writer.resume_upload(&id).await.unwrap();
    let before = upload.offset();
    upload.append(Bytes::from("more")).await.unwrap();
    upload.suspend().await.unwrap();
    let purger = repository(&store).await;
    // What the purger saw of it at first is what was there before.
    assert_eq!(purger.purge_upload(&id, last_use).await.unwrap(), Purge::InUse);
    assert_eq!(writer.resume_upload(&id).await.unwrap().offset(), before + 4);
    let marks = store.paths().await.into_iter().filter(|path| path.contains("purging")).count();
    assert_eq!(marks, 0);
}

#[tokio::test]
async fn a_replica_that_dies_loses_a_few_parts_only() {
    let store = Arc::new(Watched::default());
    let content = content(4);
    let mut upload = repository(&store).await.create_upload().await.unwrap();
    let id = upload.id().clone();
    for chunk in content.chunks(70_000) {
        upload.append(content.slice_ref(chunk)).await.unwrap();
    }
    drop(upload);
    let next = repository(&store).await;
    let mut upload = next.resume_upload(&id).await.unwrap();
    let offset = usize::try_from(upload.offset()).unwrap();
    assert!(offset >= 300_000, "{offset} bytes are left");
    upload.append(content.slice(offset..)).await.unwrap();
    upload.commit(&sha256(&content)).await.unwrap();
    assert_eq!(pull(&next, &sha256(&content)).await.unwrap(), content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_share_too_little_memory_all_come_to_their_end() {
    let store = Arc::new(Watched::default());
    // One part of the largest size that the content needs, and a bit.
    let catalog = catalog(&store, 450_000).await;
    let pushes = (0..24_u32).map(|number| {
        let repository = catalog.repository(&name("a"));
        tokio::spawn(async move {
            let content = content(number * 1000);
            let digest = push(&repository, &content).await.unwrap();
            assert_eq!(pull(&repository, &digest).await.unwrap(), content);
        })
    });
    for pushed in future::join_all(pushes.collect::<Vec<_>>()).await {
        pushed.unwrap();
    }
    assert_eq!(store.open_uploads(), 0);
}

/// Bytes that are counted for as long as anybody holds them.
struct Counted {
    bytes: Bytes,
    held: Arc<Held>,
}

#[derive(Default)]
struct Held {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Counted {
    fn of(bytes: Bytes, held: &Arc<Held>) -> Bytes {
        let now = held.now.fetch_add(bytes.len(), Ordering::SeqCst) + bytes.len();
        held.most.fetch_max(now, Ordering::SeqCst);
        Bytes::from_owner(Self { bytes, held: Arc::clone(held) })
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.now.fetch_sub(self.bytes.len(), Ordering::SeqCst);
    }
}

/// Forty uploads of a mebibyte share less than half of one, and a chunk that each has in its hands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_wait_for_the_budget_and_never_hold_more_than_it() {
    const BUDGET: usize = 450_000;
    const UPLOADS: usize = 40;
    const CHUNK: usize = 5_000;
    let driver = replica(&Arc::new(Watched::default()), TINY, BUDGET);
    let (held, content) = (Arc::new(Held::default()), content(8));
    let uploads = (0..UPLOADS).map(|number| {
        let (driver, held, content) = (Arc::clone(&driver), Arc::clone(&held), content.clone());
        tokio::spawn(async move {
            let mut file = driver.stage(&staging(&number.to_string()), Bytes::from("now")).await.unwrap();
            for chunk in content.chunks(CHUNK) {
                file.append(Counted::of(content.slice_ref(chunk), &held)).await.unwrap();
                tokio::task::yield_now().await;
            }
            let _ = file.seal().await.unwrap();
            let target = format!("done/{number}").parse().unwrap();
            file.publish(&target).await.unwrap();
            file.discard().await.unwrap();
            assert!(driver.get(&target).await.unwrap() == content, "upload {number} has other content");
        })
    });
    for upload in future::join_all(uploads.collect::<Vec<_>>()).await {
        upload.unwrap();
    }
    let most = held.most.load(Ordering::SeqCst);
    assert!(most <= BUDGET + UPLOADS * CHUNK, "{most} bytes were held at once");
    assert!(most >= BUDGET / 2, "{most} bytes: they did not meet");
    assert_eq!((held.now.load(Ordering::SeqCst), driver.shared.budget.free_bytes()), (0, BUDGET));
}

fn staging(name: &str) -> Staging {
    let at = |part: &str| format!("{name}{part}").parse().unwrap();
    Staging { folder: at(""), started_at: at("/startedat"), data: at("/data"), states: at("/hashstates") }
}

#[tokio::test]
async fn an_upload_that_is_slow_lets_others_have_its_memory() {
    let store = Arc::new(Watched::default());
    let ordinary = replica(&store, TINY, 100_000);
    let (bucket, budget) = (ordinary.shared.bucket.clone(), Budget::with_turn(100_000, Duration::ZERO));
    let shared = Arc::new(Shared { bucket, budget, sizes: TINY });
    let driver = ObjectDriver { shared, fenced: ordinary.fenced.clone() };
    let begin = async |name| driver.stage(&staging(name), Bytes::from("now")).await.unwrap();
    let (mut slow, mut fast) = (begin("slow").await, begin("fast").await);
    slow.append(content(5).slice(..90_000)).await.unwrap();
    let target = |name: &str| format!("done/{name}").parse().unwrap();
    let waits = async {
        fast.append(content(6).slice(..50_000)).await.unwrap();
        let _ = fast.seal().await.unwrap();
        fast.publish(&target("fast")).await.unwrap();
        drop(fast);
    };
    let goes_on = async {
        while driver.shared.budget.begin().is_some() {
            tokio::task::yield_now().await;
        }
        slow.append(content(5).slice(90_000..95_000)).await.unwrap();
        let _ = slow.seal().await.unwrap();
        slow.publish(&target("slow")).await.unwrap();
    };
    future::join(waits, goes_on).await;
    assert_eq!(driver.get(&target("fast")).await.unwrap(), content(6).slice(..50_000));
    assert_eq!(driver.get(&target("slow")).await.unwrap(), content(5).slice(..95_000));
}

/// Each write of a push fails in turn, with an effect or without, and everything after it too. Then nothing wrong can be
/// seen, the same push succeeds, and what the broken one left can be removed.
#[tokio::test]
async fn a_push_that_fails_anywhere_can_be_repeated() {
    for content in [Bytes::from("small"), content(7)] {
        let digest = sha256(&content);
        let writes = {
            let store = Arc::new(Watched::default());
            push(&repository(&store).await, &content).await.unwrap();
            store.writes()
        };
        for (failing, fault) in (0..writes).flat_map(|n| [(n, Fault::Refused), (n, Fault::Ambiguous)]) {
            let store = Arc::new(Watched::default());
            let first = repository(&store).await;
            store.crash(failing, fault);
            let pushed = push(&first, &content).await;
            store.heal();
            let next = repository(&store).await;
            match pull(&next, &digest).await {
                Some(seen) => assert_eq!(seen, content, "write {failing}, {fault:?}"),
                None => assert!(pushed.is_err(), "what was answered is gone after write {failing}, {fault:?}"),
            }
            push(&next, &content).await.unwrap();
            assert_eq!(pull(&next, &digest).await.unwrap(), content);
        }
    }
}
