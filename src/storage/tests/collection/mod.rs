//! Collection in one process: what goes, what stays, and what is in its way.

mod damage;
mod faults;
mod pushes;
mod roots;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::{
    oci::Digest,
    storage::{
        Catalog, Collection, CollectionProgress, Epoch, Error, Marked, Repository, SweepEnd,
        driver::{StorageDriver as _, memory::MemoryDriver},
        fixtures::{World, name, sha256},
        layout::PathSpec,
    },
};

use super::{Image, assert_consistent, by, cause, image, index, is_there, put, seed_blob, tags, tear};

/// The grace period of [`fixtures::open`](crate::storage::fixtures::open): a tenth of a day.
const GRACE: Duration = Duration::from_secs(24 * 60 * 6);

/// Longer than the restore window, and what is added to it.
const PAST_THE_WINDOW: Duration = Duration::from_secs(25 * 60 * 60);

/// A collection step by step.
pub(super) struct Run {
    pub(super) collection: Collection,
    pub(super) progress: Arc<CollectionProgress>,
    pub(super) stop: CancellationToken,
}

impl Run {
    pub(super) fn of(catalog: &Catalog) -> Self {
        let progress = Arc::new(CollectionProgress::default());
        let collection = Collection::new(catalog, Arc::clone(&progress));
        Self { collection, progress, stop: CancellationToken::new() }
    }

    pub(super) async fn sweep(&self, epoch: &mut Epoch, marked: &Marked) -> Result<SweepEnd, Error> {
        epoch.sweep(marked, &self.progress, &self.stop).await
    }

    pub(super) async fn to_its_end(&self) -> Result<(), Error> {
        let mut epoch = self.collection.open_epoch().await?;
        let marked = self.collection.mark().await?;
        assert_eq!(self.sweep(&mut epoch, &marked).await?, SweepEnd::Done);
        epoch.close(&self.stop).await?;
        self.collection.clean().await
    }
}

/// One collection from its beginning to its end; what it says of itself.
async fn collect(catalog: &Catalog) -> Arc<CollectionProgress> {
    let run = Run::of(catalog);
    run.to_its_end().await.unwrap();
    assert!(catalog.store.guard.holders().is_empty(), "nothing stays frozen");
    assert!(catalog.store.guard.touched().is_empty(), "nothing is noted any more");
    run.progress
}

async fn has_bytes(catalog: &Catalog, digest: &Digest) -> bool {
    catalog.store.stored_size(digest).await.unwrap().is_some()
}

async fn has_layer_link(repository: &Repository, digest: &Digest) -> bool {
    repository.store.age(PathSpec::LayerLink(&repository.name, digest)).await.unwrap().is_some()
}

/// A store in which nothing is young any more, with its process.
async fn aged(world: &World) -> Catalog {
    world.clock.advance(GRACE * 2);
    world.open().await
}

/// Makes all content as old as if it had been written two days ago.
pub(super) async fn make_old(memory: &MemoryDriver) {
    for path in memory.paths().iter().filter(|path| path.as_str().starts_with("docker/")) {
        let modified = memory.stat(path).await.unwrap().modified - SignedDuration::from_hours(48);
        memory.touch(path, modified).await.unwrap();
    }
}

/// A blob that was pushed, and that nothing came to reference.
async fn orphan(repository: &Repository, content: &str) -> Digest {
    seed_blob(repository, &Bytes::from(content.to_owned())).await.unwrap()
}

fn digests(image: &Image) -> Vec<Digest> {
    image.blobs().iter().map(|blob| sha256(blob)).chain([image.digest()]).collect()
}

#[tokio::test]
async fn what_nothing_needs_goes_and_the_rest_stays() {
    let world = World::new();
    let repository = world.repository("app").await;
    let kept = image("kept");
    kept.push(&repository, Some("v1")).await.unwrap();
    let orphans = [orphan(&repository, "one").await, orphan(&repository, "another").await];
    let catalog = aged(&world).await;
    let progress = collect(&catalog).await;
    assert_eq!((progress.garbage_blobs.get(), progress.removed_blobs.get(), progress.kept.get()), (2, 2, 0));
    assert_eq!(progress.removed_bytes.get(), "oneanother".len() as u64);
    assert_eq!((progress.blobs.get(), progress.manifests.get(), progress.repositories.get()), (6, 1, 1));
    let repository = catalog.repository(&name("app"));
    for digest in &orphans {
        assert!(!has_bytes(&catalog, digest).await);
        assert!(!has_layer_link(&repository, digest).await, "the link goes with the bytes");
    }
    assert_consistent(&repository).await;
    assert!(is_there(&repository, &by(&kept.digest())).await);
    assert_eq!(collect(&catalog).await.garbage_blobs.get(), 0, "a second one has nothing to do");
}

#[tokio::test]
async fn a_look_writes_nothing() {
    let world = World::new();
    orphan(&world.repository("app").await, "orphan").await;
    let catalog = aged(&world).await;
    let writes = world.driver.writes();
    let run = Run::of(&catalog);
    let marked = run.collection.mark().await.unwrap();
    assert_eq!((marked.garbage().blobs, marked.garbage().bytes, marked.blobs()), (1, 6, 1));
    assert_eq!(world.driver.writes(), writes);
}

#[tokio::test]
async fn garbage_of_many_batches_goes() {
    let world = World::new();
    let repository = world.repository("app").await;
    for number in 0..250 {
        orphan(&repository, &format!("orphan {number}")).await;
    }
    let catalog = aged(&world).await;
    assert_eq!(collect(&catalog).await.removed_blobs.get(), 250);
    let left: Vec<_> = world.memory.paths().into_iter().filter(|path| path.as_str().contains("/blobs/")).collect();
    assert_eq!(left, []);
}

#[tokio::test]
async fn a_stop_ends_it_between_two_batches() {
    let world = World::new();
    let repository = world.repository("app").await;
    for number in 0..150 {
        orphan(&repository, &format!("orphan {number}")).await;
    }
    let catalog = aged(&world).await;
    let run = Run::of(&catalog);
    let mut epoch = run.collection.open_epoch().await.unwrap();
    let marked = run.collection.mark().await.unwrap();
    let held = world.driver.hold(|path| path.as_str().ends_with("/data"));
    let stopping = async {
        held.reached.await.unwrap();
        run.stop.cancel();
        held.go.send(()).unwrap();
    };
    let (ended, ()) = tokio::join!(run.sweep(&mut epoch, &marked), stopping);
    assert_eq!(ended.unwrap(), SweepEnd::Stopped);
    assert_eq!(run.progress.removed_blobs.get(), 100, "the batch that was begun is ended");
    drop(epoch);
    assert!(catalog.store.guard.holders().is_empty() && catalog.store.guard.touched().is_empty());
}

#[tokio::test]
async fn pullers_are_not_told_of_what_went() {
    let world = World::new();
    let repository = world.repository("app").await;
    let digest = orphan(&repository, "orphan").await;
    world.clock.advance(GRACE * 2);
    repository.stat_blob(&digest, crate::storage::Audience::Puller).await.unwrap();
    let catalog = Catalog { store: Arc::clone(&repository.store) };
    collect(&catalog).await;
    assert!(repository.stat_blob(&digest, crate::storage::Audience::Puller).await.is_err(), "caches were cleared");
}
