//! Pushes that come in between.

use std::slice;

use crate::storage::{
    Audience, Clock as _, Conflict, Holder,
    driver::faulty::{Fault, HeldWrite},
};

use super::*;

/// What somebody does with a blob that was garbage, so that it is needed.
#[derive(Debug, Clone, Copy)]
enum Use {
    /// Asks whether it is there, and may push.
    Head,
    /// Uploads it again.
    Commit,
    /// Mounts it into another repository.
    Mount,
    /// Pushes a manifest that references it.
    Manifest,
}

const USES: [Use; 4] = [Use::Head, Use::Commit, Use::Mount, Use::Manifest];

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    BeforeTheEpoch,
    AfterItBegan,
    AfterTheLook,
}

const MOMENTS: [Moment; 3] = [Moment::BeforeTheEpoch, Moment::AfterItBegan, Moment::AfterTheLook];

impl Use {
    async fn of(self, repository: &Repository, image: &Image) {
        let blobs = image.blobs();
        match self {
            Self::Head => {
                for blob in &blobs {
                    repository.stat_blob(&sha256(blob), Audience::Pusher).await.unwrap();
                }
            }
            Self::Commit => {
                for blob in &blobs {
                    let mut upload = repository.create_upload().await.unwrap();
                    upload.append(blob.clone()).await.unwrap();
                    upload.commit(&sha256(blob)).await.unwrap();
                }
            }
            Self::Mount => {
                let other = Repository { name: name("other"), store: repository.store.clone() };
                for blob in &blobs {
                    other.mount_blob(&sha256(blob), &repository.name).await.unwrap().unwrap();
                }
            }
            Self::Manifest => {
                repository.put_manifest(put(&image.bytes(), Some("v1"))).await.unwrap();
            }
        }
    }
}

/// The blobs of an image that was never pushed to its end, long ago.
async fn half_pushed(world: &World) -> (Catalog, Image) {
    let repository = world.repository("app").await;
    let image = image("half");
    for blob in image.blobs() {
        seed_blob(&repository, &blob).await.unwrap();
    }
    (aged(world).await, image)
}

#[tokio::test]
async fn what_is_relied_on_stays_whenever_that_began() {
    for (what, when) in USES.into_iter().flat_map(|what| MOMENTS.map(|when| (what, when))) {
        let world = World::new();
        let (catalog, image) = half_pushed(&world).await;
        let repository = catalog.repository(&name("app"));
        let run = Run::of(&catalog);
        if when == Moment::BeforeTheEpoch {
            what.of(&repository, &image).await;
        }
        let mut epoch = run.collection.open_epoch().await.unwrap();
        if when == Moment::AfterItBegan {
            what.of(&repository, &image).await;
        }
        let marked = run.collection.mark().await.unwrap();
        if when == Moment::AfterTheLook {
            assert_eq!(marked.garbage().blobs, 3, "it was garbage until then");
            what.of(&repository, &image).await;
        }
        if when != Moment::BeforeTheEpoch {
            // That it is young, or linked, is not why it stays.
            make_old(&world.memory).await;
        }
        assert_eq!(run.sweep(&mut epoch, &marked).await.unwrap(), SweepEnd::Done);
        epoch.close(&run.stop).await.unwrap();
        assert_eq!(run.progress.removed_blobs.get(), 0, "{what:?} {when:?}");
        for blob in image.blobs() {
            assert!(has_bytes(&catalog, &sha256(&blob)).await, "{what:?} {when:?}");
        }
        assert_eq!(run.progress.kept.get(), if when == Moment::AfterTheLook { 3 } else { marked.garbage().blobs });
        // I2: what was promised can be referenced.
        repository.put_manifest(put(&image.bytes(), Some("v1"))).await.unwrap();
        assert_consistent(&repository).await;
    }
}

#[tokio::test]
async fn an_upload_that_is_in_flight_when_the_epoch_begins_is_not_swept() {
    let world = World::new();
    let (catalog, image) = half_pushed(&world).await;
    let repository = catalog.repository(&name("app"));
    let held = world.driver.hold(|path| path.as_str().ends_with("/current/link"));
    let push = async { repository.put_manifest(put(&image.bytes(), Some("v1"))).await.unwrap() };
    let collecting = async {
        held.reached.await.unwrap();
        let run = Run::of(&catalog);
        run.to_its_end().await.unwrap();
        held.go.send(()).unwrap();
        run.progress
    };
    let (_, progress) = tokio::join!(push, collecting);
    assert_eq!(progress.removed_blobs.get(), 0);
    assert_consistent(&repository).await;
}

#[tokio::test]
async fn a_push_that_comes_during_the_sweep_waits_and_then_pushes_anew() {
    let world = World::new();
    let (catalog, image) = half_pushed(&world).await;
    let repository = catalog.repository(&name("app"));
    let held = world.driver.hold(|path| path.as_str().ends_with("/data"));
    let collecting = collect(&catalog);
    let pushing = async {
        held.reached.await.unwrap();
        let blob = &image.blobs()[0];
        assert!(repository.stat_blob(&sha256(blob), Audience::Pusher).await.is_err(), "it is on its way out");
        let mut upload = repository.create_upload().await.unwrap();
        upload.append(blob.clone()).await.unwrap();
        let digest = sha256(blob);
        let mut commit = Box::pin(upload.commit(&digest));
        assert!(futures::poll!(commit.as_mut()).is_pending());
        held.go.send(()).unwrap();
        commit.await.unwrap();
    };
    let (progress, ()) = tokio::join!(collecting, pushing);
    assert_eq!(progress.removed_blobs.get(), 3);
    image.push(&repository, Some("v1")).await.unwrap();
    assert_consistent(&repository).await;
}

#[tokio::test]
async fn a_manifest_that_is_refused_after_the_sweep_says_what_is_missing() {
    let world = World::new();
    let (catalog, image) = half_pushed(&world).await;
    collect(&catalog).await;
    let repository = catalog.repository(&name("app"));
    let error = repository.put_manifest(put(&image.bytes(), Some("v1"))).await.unwrap_err();
    assert!(matches!(&error, Error::InvalidReferences(missing) if missing.len() == 3), "{error:?}");
    assert!(!is_there(&repository, &by(&image.digest())).await);
}

#[tokio::test]
async fn what_another_registry_wrote_since_the_look_stays() {
    for is_link in [false, true] {
        let world = World::new();
        let (catalog, image) = half_pushed(&world).await;
        let (run, app) = (Run::of(&catalog), name("app"));
        let mut epoch = run.collection.open_epoch().await.unwrap();
        let marked = run.collection.mark().await.unwrap();
        assert_eq!(marked.garbage().blobs, 3);
        for blob in image.blobs() {
            let digest = sha256(&blob);
            let written = if is_link { PathSpec::LayerLink(&app, &digest) } else { PathSpec::BlobData(&digest) };
            world.memory.touch(&written.path(), world.clock.now()).await.unwrap();
        }
        assert_eq!(run.sweep(&mut epoch, &marked).await.unwrap(), SweepEnd::Done);
        assert_eq!((run.progress.removed_blobs.get(), run.progress.kept.get()), (0, 3), "link: {is_link}");
    }
}

#[tokio::test]
async fn bytes_stay_as_long_as_a_link_to_them_does() {
    for after in 0..6 {
        let world = World::new();
        let (catalog, image) = half_pushed(&world).await;
        let run = Run::of(&catalog);
        let mut epoch = run.collection.open_epoch().await.unwrap();
        let marked = run.collection.mark().await.unwrap();
        world.driver.fail_once(after, Fault::Refused);
        assert!(run.sweep(&mut epoch, &marked).await.is_err(), "removal {after} failed");
        let repository = catalog.repository(&name("app"));
        for blob in image.blobs() {
            let digest = sha256(&blob);
            assert!(!has_layer_link(&repository, &digest).await || has_bytes(&catalog, &digest).await, "{after}");
        }
    }
}

/// Tries to freeze a digest while something is held at the driver; what could not be frozen.
async fn freeze_while(held: HeldWrite, catalog: &Catalog, digest: &Digest) -> Vec<Digest> {
    held.reached.await.unwrap();
    let holder = Holder::Pending(ulid::Ulid::nil());
    let kept = catalog.store.guard.freeze_idle(holder, [digest.clone()]);
    catalog.store.guard.thaw(holder);
    held.go.send(()).unwrap();
    kept
}

#[tokio::test]
async fn what_somebody_is_in_the_middle_of_cannot_be_frozen() {
    for what in [Use::Commit, Use::Mount, Use::Manifest] {
        let world = World::new();
        let (catalog, image) = half_pushed(&world).await;
        let repository = catalog.repository(&name("app"));
        let held = world.driver.hold(|path| path.as_str().ends_with("/link"));
        let digest = sha256(&image.blobs()[0]);
        let freezing = freeze_while(held, &catalog, &digest);
        let ((), kept) = tokio::join!(what.of(&repository, &image), freezing);
        assert_eq!(kept, slice::from_ref(&digest), "{what:?}");
    }
}

#[tokio::test]
async fn what_is_being_restored_cannot_be_frozen() {
    let world = World::new();
    let catalog = world.open().await;
    let repository = catalog.repository(&name("app"));
    let image = image("a");
    image.push(&repository, Some("v1")).await.unwrap();
    let entry = repository.delete_manifest(&by(&image.digest()), cause()).await.unwrap();
    let held = world.driver.hold(|path| path.as_str().ends_with("/link"));
    let trash = catalog.trash();
    let digest = sha256(&image.blobs()[0]);
    let freezing = freeze_while(held, &catalog, &digest);
    let (restored, kept) = tokio::join!(trash.restore(&entry.id, Conflict::Fail, "test"), freezing);
    restored.unwrap();
    assert_eq!(kept, slice::from_ref(&digest));
}
