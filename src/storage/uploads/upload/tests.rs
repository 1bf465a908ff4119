//! What uploads promise, on the drivers for tests and in folders.

use std::sync::LazyLock;

use futures::FutureExt as _;

use crate::storage::{
    Audience, Catalog,
    driver::{FilesystemDriver, faulty::Fault},
    fixtures::{ManualClock, World, name, open, options, sha256},
};

use super::*;

/// More than one flush, and not a multiple of anything.
fn content() -> Bytes {
    static CONTENT: LazyLock<Bytes> =
        LazyLock::new(|| (0..2_500_001_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).collect());
    CONTENT.clone()
}

async fn upload(repository: &Repository, content: &Bytes) -> Result<Descriptor, Error> {
    let mut upload = repository.create_upload().await?;
    for chunk in content.chunks(100_000) {
        upload.append(content.slice_ref(chunk)).await?;
    }
    upload.commit(&sha256(content)).await
}

async fn download(repository: &Repository, digest: &Digest) -> Result<Vec<u8>, Error> {
    let blob = repository.open_blob(digest).await?;
    let chunks: Vec<Bytes> = blob.stream(0..blob.size()).await?.try_collect().await.unwrap();
    Ok(chunks.concat())
}

async fn is_unknown(repository: &Repository, digest: &Digest) -> bool {
    for audience in [Audience::Puller, Audience::Pusher] {
        if !matches!(repository.stat_blob(digest, audience).await, Err(Error::BlobUnknown { .. })) {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn a_committed_upload_is_a_blob_of_its_repository_only() {
    let world = World::new();
    let catalog = world.open().await;
    let (repository, other) = (catalog.repository(&name("a")), catalog.repository(&name("a/b")));
    let (content, digest) = (content(), sha256(&content()));
    assert!(is_unknown(&repository, &digest).await);
    let descriptor = upload(&repository, &content).await.unwrap();
    assert_eq!((descriptor.size, &descriptor.digest), (2_500_001, &digest));
    for audience in [Audience::Puller, Audience::Pusher] {
        assert_eq!(repository.stat_blob(&digest, audience).await.unwrap(), descriptor);
    }
    assert_eq!(download(&repository, &digest).await.unwrap(), content);
    assert!(is_unknown(&other, &digest).await);
    world.memory.crash();
    assert_eq!(download(&world.repository("a").await, &digest).await.unwrap(), content, "it was durable");
    let left = world.memory.paths().into_iter().filter(|path| path.as_str().contains("_uploads")).count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn what_cannot_be_opened_is_replaced_by_the_next_push() {
    let world = World::new();
    let repository = world.repository("a").await;
    let (content, digest) = (Bytes::from_static(b"cargo"), sha256(b"cargo"));
    upload(&repository, &content).await.unwrap();
    world.driver.lock_up(PathSpec::BlobData(&digest).path());
    let reader = repository.open_blob(&digest).await.unwrap();
    assert!(reader.stream(0..5).await.is_err());

    upload(&repository, &content).await.unwrap();

    assert_eq!(download(&repository, &digest).await.unwrap(), b"cargo");
}

#[tokio::test]
async fn an_upload_goes_on_in_another_process() {
    let world = World::new();
    let (content, digest) = (content(), sha256(&content()));
    let mut upload = world.repository("a").await.create_upload().await.unwrap();
    let id = upload.id().clone();
    upload.append(content.slice(..1_234_567)).await.unwrap();
    assert_eq!(upload.suspend().await.unwrap(), 1_234_567);
    let repository = world.repository("a").await;
    assert_eq!(repository.upload_offset(&id).await.unwrap(), 1_234_567);
    let mut upload = repository.resume_upload(&id).await.unwrap();
    assert_eq!(upload.hash.as_ref().map(UploadHash::length), Some(1_234_567), "nothing is hashed again");
    upload.append(content.slice(1_234_567..)).await.unwrap();
    upload.commit(&digest).await.unwrap();
    assert_eq!(download(&repository, &digest).await.unwrap(), content);
    assert!(matches!(repository.upload_offset(&id).await, Err(Error::UploadUnknown { .. })));
}

#[tokio::test]
async fn a_dropped_upload_keeps_what_was_written() {
    let world = World::new();
    let repository = world.repository("a").await;
    let (content, digest) = (content(), sha256(&content()));
    let mut upload = repository.create_upload().await.unwrap();
    let id = upload.id().clone();
    upload.append(content.slice(..1_500_000)).await.unwrap();
    upload.append(content.slice(1_500_000..1_500_010)).await.unwrap();
    drop(upload);
    let mut upload = repository.resume_upload(&id).await.unwrap();
    let written = 5 * FLUSH_BYTES;
    assert_eq!(upload.offset(), written as u64);
    upload.append(content.slice(written..)).await.unwrap();
    upload.commit(&digest).await.unwrap();
    assert_eq!(download(&repository, &digest).await.unwrap(), content);
}

#[tokio::test]
async fn offset_is_that_of_the_end_while_a_request_ends() {
    let world = World::new();
    let repository = world.repository("a").await;
    let mut upload = repository.create_upload().await.unwrap();
    let id = upload.id().clone();
    upload.append(content().slice(..100_000)).await.unwrap();
    let mut asked = Box::pin(repository.upload_offset(&id));
    assert!(asked.as_mut().now_or_never().is_none(), "the request before may still write");
    upload.append(content().slice(100_000..700_000)).await.unwrap();
    upload.suspend().await.unwrap();
    assert_eq!(asked.await.unwrap(), 700_000);
}

#[tokio::test]
async fn an_append_that_was_abandoned_ends_before_the_upload_goes_on() {
    let world = World::new();
    let repository = world.repository("a").await;
    let (content, digest) = (content(), sha256(&content()));
    let mut upload = repository.create_upload().await.unwrap();
    let id = upload.id().clone();
    assert!(Box::pin(upload.append(content.slice(..1_200_000))).now_or_never().is_none());
    assert!(matches!(upload.append(Bytes::from("x")).await, Err(Error::UploadBusy { .. })));
    drop(upload);
    let mut upload = repository.resume_upload(&id).await.unwrap();
    let offset = usize::try_from(upload.offset()).unwrap();
    upload.append(content.slice(offset..)).await.unwrap();
    upload.commit(&digest).await.unwrap();
    assert_eq!(download(&repository, &digest).await.unwrap(), content);
}

#[tokio::test]
async fn content_of_another_digest_is_refused_and_not_seen() {
    let world = World::new();
    let repository = world.repository("a").await;
    let (expected, actual) = (sha256(b"expected"), sha256(b"actual"));
    let mut upload = repository.create_upload().await.unwrap();
    let id = upload.id().clone();
    upload.append(Bytes::from("actual")).await.unwrap();
    let error = upload.commit(&expected).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { actual: told, .. } if told == actual));
    assert!(is_unknown(&repository, &expected).await && is_unknown(&repository, &actual).await);
    assert!(matches!(repository.resume_upload(&id).await, Err(Error::UploadUnknown { .. })));
    assert_eq!(world.memory.paths(), []);
}

#[tokio::test]
async fn both_algorithms_can_be_committed() {
    let world = World::new();
    let repository = world.repository("a").await;
    for content in [content(), Bytes::new()] {
        let digest = Digest::of(Algorithm::Sha512, &content);
        let mut upload = repository.create_upload().await.unwrap();
        upload.append(content.clone()).await.unwrap();
        upload.commit(&digest).await.unwrap();
        assert_eq!(download(&repository, &digest).await.unwrap(), content);
    }
}

#[tokio::test]
async fn an_upload_has_one_writer_and_can_be_cancelled() {
    let world = World::new();
    let repository = world.repository("a").await;
    let upload = repository.create_upload().await.unwrap();
    let id = upload.id().clone();
    assert!(matches!(repository.resume_upload(&id).await, Err(Error::UploadBusy { .. })));
    assert!(matches!(repository.cancel_upload(&id).await, Err(Error::UploadBusy { .. })));
    drop(upload);
    assert!(matches!(
        world.open().await.repository(&name("b")).resume_upload(&id).await,
        Err(Error::UploadUnknown { .. })
    ));
    repository.cancel_upload(&id).await.unwrap();
    assert!(matches!(repository.cancel_upload(&id).await, Err(Error::UploadUnknown { .. })));
    assert_eq!(world.memory.paths(), []);
}

#[tokio::test]
async fn a_damaged_blob_is_replaced_by_the_next_push() {
    let world = World::new();
    let repository = world.repository("a").await;
    let (content, digest) = (content(), sha256(&content()));
    for damaged in ["", "truncated"] {
        upload(&repository, &content).await.unwrap();
        let data = PathSpec::BlobData(&digest).path();
        world.memory.put_now(&data, damaged);
        upload(&repository, &content).await.unwrap();
        assert_eq!(download(&world.repository("a").await, &digest).await.unwrap(), content);
    }
}

#[tokio::test]
async fn a_torn_link_is_the_digest_of_its_path() {
    let world = World::new();
    let repository = world.repository("a").await;
    let (content, digest) = (content(), sha256(&content()));
    upload(&repository, &content).await.unwrap();
    for torn in ["", "sha256:12", "\0\0\0"] {
        world.memory.put_now(&PathSpec::LayerLink(&name("a"), &digest).path(), torn);
        assert_eq!(download(&world.repository("a").await, &digest).await.unwrap(), content);
    }
}

#[tokio::test]
async fn commits_of_the_same_content_do_not_disturb_each_other() {
    let world = World::new();
    let catalog = world.open().await;
    let (content, digest) = (content(), sha256(&content()));
    let pushes = (0..6).map(|number| {
        let (repository, content) = (catalog.repository(&name(["a", "b"][number % 2])), content.clone());
        async move { upload(&repository, &content).await }
    });
    for pushed in future::join_all(pushes).await {
        pushed.unwrap();
    }
    for repository in ["a", "b"] {
        assert_eq!(download(&catalog.repository(&name(repository)), &digest).await.unwrap(), content);
    }
}

/// Each write of a push fails in turn, with an effect or without, and everything after it too. Then nothing wrong
/// can be seen, by this process or the next, and the same push succeeds.
#[tokio::test]
async fn a_push_that_fails_anywhere_can_be_repeated() {
    let (content, digest) = (content(), sha256(&content()));
    let writes = {
        let world = World::new();
        let repository = world.repository("a").await;
        let before = world.driver.writes();
        upload(&repository, &content).await.unwrap();
        world.driver.writes() - before
    };
    assert!(writes >= 6, "{writes} writes are less than a push takes");
    for (failing, fault) in (0..writes).flat_map(|n| [(n, Fault::Refused), (n, Fault::Ambiguous)]) {
        let world = World::new();
        let repository = world.repository("a").await;
        world.driver.crash(failing, fault);
        let pushed = upload(&repository, &content).await;
        // Only the removal of the finished upload may fail unnoticed.
        assert_eq!(pushed.is_ok(), failing == writes - 1, "write {failing}, {fault:?}");
        world.driver.heal();
        world.memory.crash();
        let repository = world.repository("a").await;
        if let Ok(seen) = download(&repository, &digest).await {
            assert_eq!(seen, content, "write {failing}, {fault:?}");
        } else {
            assert!(is_unknown(&repository, &digest).await);
            assert!(pushed.is_err(), "what was answered is gone after write {failing}, {fault:?}");
        }
        upload(&repository, &content).await.unwrap();
        assert_eq!(download(&repository, &digest).await.unwrap(), content);
    }
}

#[tokio::test]
async fn an_upload_that_fills_the_medium_leaves_nothing_on_it() {
    let world = World::new();
    let repository = world.repository("a").await;
    let is_empty = || !world.memory.paths().iter().any(|path| path.as_str().contains("_uploads"));
    let mut upload = repository.create_upload().await.unwrap();
    let id = upload.id().clone();
    upload.append(content().slice(..1_100_000)).await.unwrap();
    world.driver.fail_once(0, Fault::Full);
    upload.append(content().slice(1_100_000..)).await.unwrap_err();
    assert!(is_empty(), "what nobody can finish keeps the medium full");
    drop(upload);
    assert!(matches!(repository.upload_offset(&id).await, Err(Error::UploadUnknown { .. })));
    for write in 0..2 {
        world.driver.fail_once(write, Fault::Full);
        repository.create_upload().await.unwrap_err();
        assert!(is_empty(), "write {write}");
    }
}

#[tokio::test]
async fn an_upload_goes_on_after_a_write_that_failed() {
    let world = World::new();
    let repository = world.repository("a").await;
    let (content, digest) = (content(), sha256(&content()));
    for fault in [Fault::Refused, Fault::Ambiguous] {
        let mut upload = repository.create_upload().await.unwrap();
        upload.append(content.slice(..1_100_000)).await.unwrap();
        world.driver.fail_once(0, fault);
        upload.append(content.slice(1_100_000..)).await.unwrap_err();
        assert_eq!(upload.offset(), 4 * FLUSH_BYTES as u64, "what was not written is dropped");
        upload.append(content.slice(4 * FLUSH_BYTES..)).await.unwrap();
        upload.commit(&digest).await.unwrap();
        assert_eq!(download(&repository, &digest).await.unwrap(), content);
    }
}

#[tokio::test]
async fn a_push_works_on_a_folder_too() {
    let folder = tempfile::tempdir().unwrap();
    let (content, digest) = (content(), sha256(&content()));
    let catalog = async || -> Catalog {
        let driver = Arc::new(FilesystemDriver::open(folder.path()).await.unwrap());
        open(driver, options(), Arc::new(ManualClock::new())).await
    };
    let id = {
        let mut upload = catalog().await.repository(&name("a/b")).create_upload().await.unwrap();
        let id = upload.id().clone();
        upload.append(content.slice(..2_000_000)).await.unwrap();
        upload.suspend().await.unwrap();
        id
    };
    let repository = catalog().await.repository(&name("a/b"));
    let mut upload = repository.resume_upload(&id).await.unwrap();
    upload.append(content.slice(2_000_000..)).await.unwrap();
    upload.commit(&digest).await.unwrap();
    assert_eq!(download(&repository, &digest).await.unwrap(), content);
    assert!(!folder.path().join("docker/registry/v2/repositories/a/b/_uploads").exists());
}
