//! Bytes that are not what they are stored as: finding out, and putting them aside, so that the next push of them is
//! taken.

use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{TryStreamExt as _, future};
use jiff::Timestamp;
use moka::sync::Cache;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::oci::{Algorithm, Digest, RepositoryName};

use crate::storage::{
    Error, InvalidReference,
    clock::within,
    driver::{self, StagedFile, StoragePath},
    guard::{held::Held, keys::Key},
    layout::PathSpec,
    store::Store,
    uploads::hash::UploadHash,
};

/// How many blobs may wait to be hashed because a manifest gives another length for them.
const MAX_SUSPECTS: usize = 64;

/// Of how many blobs it is remembered that they are what they are stored as.
const REMEMBERED: u64 = 10_000;

/// Blobs that are not as long as a manifest says: either of the two is wrong.
#[derive(Debug)]
pub(in crate::storage) struct Suspects {
    under_way: Mutex<HashSet<Digest>>,
    /// One at a time: whoever pushes wrong manifests must not keep the medium from others.
    turn: Semaphore,
    /// By the age of the bytes that were hashed.
    sound: Cache<(Digest, Timestamp), ()>,
}

impl Default for Suspects {
    fn default() -> Self {
        Self { under_way: Mutex::default(), turn: Semaphore::new(1), sound: Cache::new(REMEMBERED) }
    }
}

/// A blob that is being looked at, until this is dropped.
struct UnderWay {
    suspects: Arc<Suspects>,
    digest: Digest,
}

impl Suspects {
    /// `None` where somebody is at it, or too many others wait.
    fn begin(self: &Arc<Self>, digest: &Digest) -> Option<UnderWay> {
        let mut under_way = self.lock();
        let is_new = under_way.len() < MAX_SUSPECTS && under_way.insert(digest.clone());
        is_new.then(|| UnderWay { suspects: Arc::clone(self), digest: digest.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.suspects.lock().remove(&self.digest);
    }
}

impl Store {
    /// Hashes the blobs of a refused manifest that are not as long as it says, and puts aside those that are damaged: from
    /// then on nobody is told that they are there, and the client's next attempt uploads them. Small ones are done
    /// with when this is answered; others go on.
    pub(in crate::storage) async fn look_into(self: &Arc<Self>, name: &RepositoryName, invalid: &[InvalidReference]) {
        let suspects = invalid.iter().filter_map(|reference| match reference {
            InvalidReference::SizeMismatch { descriptor, .. } => Some(descriptor),
            InvalidReference::BlobUnknown(_) | InvalidReference::ManifestUnknown(_) => None,
        });
        let looks = suspects.filter_map(|descriptor| {
            let looking = self.suspects.begin(&descriptor.digest)?;
            let (store, name) = (Arc::clone(self), name.clone());
            Some(tokio::spawn(async move { store.look_at_suspect(&name, looking).await }))
        });
        let looks: Vec<_> = looks.collect();
        let _ = within(&*self.clock, self.timing.guard_wait, future::join_all(looks)).await;
    }

    async fn look_at_suspect(self: &Arc<Self>, name: &RepositoryName, looking: UnderWay) {
        if let Err(error) = self.put_aside_if_damaged(name, &looking).await {
            warn!(digest = %looking.digest, error = &error as &dyn std::error::Error, "could not look at a suspect blob");
        }
    }

    async fn put_aside_if_damaged(self: &Arc<Self>, name: &RepositoryName, looking: &UnderWay) -> Result<(), Error> {
        // Stock distribution's SHA-512 links name SHA-256 content.
        let linked = self.link(PathSpec::LayerLink(name, &looking.digest), &looking.digest).await?;
        let content = linked.unwrap_or_else(|| looking.digest.clone());
        let suspects = &looking.suspects;
        let Some(seen) = self.metadata(PathSpec::BlobData(&content)).await? else { return Ok(()) };
        let key = (content.clone(), seen.modified);
        if suspects.sound.contains_key(&key) {
            return Ok(());
        }
        let _turn = suspects.turn.acquire().await;
        let Some((actual, _)) = self.hash_of(&content, content.algorithm(), |_| ()).await? else { return Ok(()) };
        if actual == content {
            suspects.sound.insert(key, ());
            return Ok(());
        }
        let this = Arc::clone(self);
        let put_aside = async move {
            let held = this.hold(vec![Key::Blob(content.clone())]).await?;
            // Somebody may have replaced it meanwhile.
            if this.metadata(PathSpec::BlobData(&content)).await? == Some(seen) {
                let place = held.put_aside(&content, seen.size).await?;
                warn!(digest = %content, %actual, %place, "put damaged bytes aside: the next push of the blob is taken");
            }
            Ok(())
        };
        self.changes.run(put_aside).await
    }

    /// What the bytes stored under a digest hash to, and how many they are; `None` where there are none. `on_read` is
    /// told how many were read.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn hash_of(
        &self,
        digest: &Digest,
        algorithm: Algorithm,
        on_read: impl Fn(u64) + Send,
    ) -> Result<Option<(Digest, u64)>, Error> {
        let path = PathSpec::BlobData(digest).path();
        let failed = |source| Error::driver("read a blob", source);
        let size = match self.driver.stat(&path).await {
            Ok(metadata) => metadata.size,
            Err(driver::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        let mut hash = UploadHash::new(algorithm);
        if size > 0 {
            let mut content = match self.driver.read(&path, 0..size).await {
                Ok(content) => content,
                Err(driver::Error::NotFound { .. }) => return Ok(None),
                Err(source) => return Err(failed(source)),
            };
            while let Some(chunk) = content.try_next().await.map_err(failed)? {
                on_read(chunk.len() as u64);
                hash = hash.updated(chunk).await.map_err(|error| unhashed(&path, error))?;
            }
        }
        Ok(hash.finish().map(|digest| (digest, size)))
    }
}

fn unhashed(path: &StoragePath, error: tokio::task::JoinError) -> Error {
    let source = io::Error::other(error);
    Error::Driver { action: "hash a blob", source: driver::Error::Io { action: "hash", path: path.clone(), source } }
}

impl Held {
    /// Copies what is stored under a digest to the quarantine, removes it from its place, and makes every replica forget
    /// that it was there; where it is now.
    ///
    /// # Errors
    /// [`Error::NoLease`], [`Error::Driver`].
    pub(in crate::storage) async fn put_aside(&self, digest: &Digest, size: u64) -> Result<StoragePath, Error> {
        let store = &self.store;
        let source = PathSpec::BlobData(digest).path();
        let id = store.ids.next(store.clock.now());
        let target = PathSpec::Quarantined(digest, id).path();
        let failed = |source| Error::driver("put a damaged blob aside", source);
        let started_at = store.clock.now().to_string().into();
        let mut staged = store.driver.stage(&PathSpec::quarantine_staging(id), started_at).await.map_err(failed)?;
        let copied = copy(store, &source, size, staged.as_mut(), &target).await;
        // What is left of a copy that failed is in nobody's way.
        let discarded = staged.discard().await;
        copied.and(discarded).map_err(failed)?;
        store.remove_file(&source, "remove a damaged blob").await?;
        store.clear_all_everywhere().await?;
        Ok(target)
    }
}

async fn copy(
    store: &Store,
    source: &StoragePath,
    size: u64,
    staged: &mut dyn StagedFile,
    target: &StoragePath,
) -> Result<(), driver::Error> {
    if size > 0 {
        let mut content = store.driver.read(source, 0..size).await?;
        while let Some(chunk) = content.try_next().await? {
            staged.append(chunk).await?;
        }
    }
    // It is kept for a look, as it is: nobody relies on its digest.
    let _ = staged.seal().await?;
    staged.publish(target).await
}
