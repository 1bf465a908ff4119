//! Mark: which blobs are stored, and which of them something needs (docs/protocol.md, *Collection*, 3).

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};
use ulid::Ulid;

use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::storage::{
    Adoption, Error, ForeignRevision, Tombstone, concurrent::concurrently, driver::PathComponent, layout::PathSpec,
    records::record::Lenient, replicas::Intent, repository_walk::RepositoryWalk, store::Store,
};

use super::{
    BlobSum, CollectionProblem, CollectionProgress,
    blob_table::{BlobIndex, BlobTable},
    old_links::OldLinks,
};

/// How many names of blobs are listed at once.
const PAGE: usize = 10_000;

/// How many things are looked at together. Each batch ends before the next one begins, so this bounds what is held.
const BATCH: usize = 256;

/// One look at everything.
///
/// # Guarantees
/// - What could not be read ends it with an error: it is not known then what is needed.
/// - What is damaged needs whatever it might: all that its repository has.
/// - In doubt a blob is needed. An age that lies in the future counts as young.
///
/// # Assumptions
/// In this order: the blobs, the intents, the links, the trash. What an operation relies on is in an intent before it is
/// in a link, and what a delete takes is in the trash before it is in no link any more.
#[derive(Debug)]
pub(super) struct Marker<'a> {
    pub(super) store: &'a Store,
    pub(super) progress: &'a CollectionProgress,
    adoption: Option<Adoption>,
    began: Timestamp,
    /// What was written later is young.
    pub(super) old_until: Timestamp,
    state: Mutex<State>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) table: BlobTable,
    pub(super) old_links: OldLinks,
    pub(super) repositories: u64,
    pub(super) foreign: u64,
    pub(super) first_foreign: Option<ForeignRevision>,
    /// Blobs with a young link, by when the youngest was written; also of those that something needs.
    young_links: BTreeMap<BlobIndex, Timestamp>,
    /// What nothing needs, and is too young to go.
    pub(super) young: BlobSum,
    /// When the youngest link or content of it was written.
    pub(super) youngest: Option<Timestamp>,
}

impl State {
    fn note_young(&mut self, digest: &Digest, written_at: Timestamp) {
        if let Some(index) = self.table.index_of(digest) {
            let known = self.young_links.entry(index).or_insert(written_at);
            *known = written_at.max(*known);
        }
    }
}

impl<'a> Marker<'a> {
    pub(super) async fn new(store: &'a Store, progress: &'a CollectionProgress) -> Result<Self, Error> {
        let began = store.clock.now();
        let old_until = before(began, store.timing.grace);
        let adoption = store.adoption().await?;
        progress.restart();
        Ok(Self { store, progress, adoption, began, old_until, state: Mutex::default() })
    }

    /// Looks at everything; what was found.
    pub(super) async fn run(self) -> Result<State, Error> {
        self.progress.enter("list");
        self.blobs().await?;
        self.progress.enter("mark");
        self.intents().await?;
        let mut walk = RepositoryWalk::begin(self.store, None);
        while let Some(name) = walk.next().await? {
            self.repository(&name).await?;
        }
        self.trash().await?;
        self.weigh().await?;
        Ok(self.state.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    async fn blobs(&self) -> Result<(), Error> {
        for algorithm in Algorithm::ALL {
            for folder in self.store.names(PathSpec::BlobFanOuts(algorithm)).await? {
                if let Ok(folder) = folder.parse::<PathComponent>() {
                    self.fan_out(algorithm, &folder).await?;
                }
            }
        }
        let mut state = self.state();
        state.table.seal();
        self.progress.blobs.add(state.table.len() as u64);
        Ok(())
    }

    async fn fan_out(&self, algorithm: Algorithm, folder: &PathComponent) -> Result<(), Error> {
        let mut after: Option<String> = None;
        loop {
            let names = self.store.names_after(PathSpec::BlobFanOut(algorithm, folder), after.as_deref(), PAGE).await?;
            // What lies elsewhere is nobody's blob.
            let here = names.iter().filter(|hex| hex.starts_with(folder.as_str()));
            let mut state = self.state();
            here.filter_map(|hex| format!("{algorithm}:{hex}").parse().ok())
                .for_each(|digest| state.table.add(&digest));
            drop(state);
            if names.len() < PAGE {
                return Ok(());
            }
            after = names.into_iter().last();
        }
    }

    /// What operations rely on that may not have written their links yet.
    async fn intents(&self) -> Result<(), Error> {
        let old_until = before(self.began, self.store.timing.grace * 2);
        for id in self.store.ids_in(PathSpec::Intents).await? {
            let spec = PathSpec::Intent(id);
            if self.store.age(spec).await?.is_none_or(|age| age <= old_until) {
                continue;
            }
            // One that is gone by now is that of an operation whose links stand.
            let intent: Option<Intent> = self.store.record(spec).await?;
            let Some(intent) = intent else { continue };
            for digest in &intent.digests {
                self.need(&intent.repository, digest).await?;
            }
        }
        Ok(())
    }

    async fn repository(&self, name: &RepositoryName) -> Result<(), Error> {
        let layers = self.layer_names(name).await?;
        let revisions = self.store.revision_names(name).await?;
        let (is_visible, is_damaged) = (AtomicBool::new(false), AtomicBool::new(false));
        for batch in revisions.chunks(BATCH) {
            let looks: Vec<_> =
                batch.iter().map(|digest| self.revision(name, digest, &is_visible, &is_damaged)).collect();
            concurrently(looks.into_iter()).await?;
        }
        // After the manifests: what they need is not looked at again.
        self.layers(name, &layers, is_damaged.into_inner()).await?;
        self.state().repositories += u64::from(is_visible.into_inner());
        self.progress.repositories.add(1);
        Ok(())
    }

    async fn layer_names(&self, name: &RepositoryName) -> Result<Vec<Digest>, Error> {
        let mut layers = Vec::new();
        for algorithm in Algorithm::ALL {
            let names = self.store.names(PathSpec::Layers(name, algorithm)).await?;
            layers.extend(names.iter().filter_map(|hex| format!("{algorithm}:{hex}").parse::<Digest>().ok()));
        }
        Ok(layers)
    }

    async fn revision(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        is_visible: &AtomicBool,
        is_damaged: &AtomicBool,
    ) -> Result<(), Error> {
        let link = PathSpec::RevisionLink(name, digest);
        let Some(target) = self.store.link(link, digest).await? else { return Ok(()) };
        is_visible.store(true, Ordering::Relaxed);
        self.progress.manifests.add(1);
        // After the link, which is written after it.
        let fact = self.store.revision_fact(name, digest).await?;
        if fact == Lenient::Absent {
            self.look_for_another_registry(name, digest).await?;
        }
        self.state().table.need(digest);
        let media_type = fact.read().map(|fact| fact.media_type);
        if !self.closure(name, digest, target, media_type).await? {
            is_damaged.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn look_for_another_registry(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        let Some(adoption) = &self.adoption else { return Ok(()) };
        if let Some(written_at) = self.store.foreign_since(name, digest, adoption).await? {
            let mut state = self.state();
            state.foreign += 1;
            let found = || ForeignRevision { repository: name.clone(), digest: digest.clone(), written_at };
            state.first_foreign.get_or_insert_with(found);
        }
        Ok(())
    }

    async fn layers(&self, name: &RepositoryName, layers: &[Digest], are_all_needed: bool) -> Result<(), Error> {
        for batch in layers.chunks(BATCH) {
            let looks: Vec<_> = batch.iter().map(|digest| self.layer(name, digest, are_all_needed)).collect();
            concurrently(looks.into_iter()).await?;
        }
        Ok(())
    }

    /// A young link keeps what it names, whether or not a manifest references it yet.
    async fn layer(&self, name: &RepositoryName, digest: &Digest, is_needed: bool) -> Result<(), Error> {
        let own = self.state().table.index_of(digest);
        // What a SHA-256 link names is what it is called: one that names other content was written by nobody.
        if digest.algorithm() == Algorithm::Sha256 && own.is_some_and(|own| self.state().table.is_needed(own)) {
            return Ok(());
        }
        let spec = PathSpec::LayerLink(name, digest);
        let Some(age) = self.store.age(spec).await? else { return Ok(()) };
        let is_young = self.is_young(age);
        if let Some(own) = own.filter(|_| !is_needed && !is_young && digest.algorithm() == Algorithm::Sha256) {
            self.state().old_links.add(name, own);
            return Ok(());
        }
        let Some(target) = self.store.link(spec, digest).await? else { return Ok(()) };
        let mut state = self.state();
        if is_needed {
            state.table.need(digest);
            state.table.need(&target);
        } else if is_young {
            state.note_young(digest, age);
            state.note_young(&target, age);
        } else if let Some(blob) = state.table.index_of(&target) {
            state.old_links.add_alias(name, digest.clone(), blob);
        }
        Ok(())
    }

    /// Roots what an address stands for in a repository; whether it stands for the same, which is stored, in every other.
    /// Stock distribution's SHA-512 links name content by its SHA-256, and those of this registry by their own.
    pub(super) async fn need(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        if self.state().table.need(digest) && digest.algorithm() == Algorithm::Sha256 {
            return Ok(true);
        }
        for spec in [PathSpec::LayerLink(name, digest), PathSpec::RevisionLink(name, digest)] {
            if let Some(target) = self.store.link(spec, digest).await? {
                self.state().table.need(&target);
            }
        }
        Ok(false)
    }

    /// What can be restored.
    async fn trash(&self) -> Result<(), Error> {
        let mut walk = RepositoryWalk::begin_in(self.store, PathSpec::AllTrash, None);
        while let Some(name) = walk.next().await? {
            let mut is_known = false;
            for text in self.store.names(PathSpec::TombstonedDigests(&name)).await? {
                let Ok(digest) = text.parse::<Digest>() else { continue };
                for text in self.store.names(PathSpec::Tombstones(&name, &digest)).await? {
                    if let Ok(id) = Ulid::from_string(&text) {
                        is_known |= self.tombstone(&name, &digest, id).await?;
                    }
                }
            }
            // One that is in the trash as a whole has not vanished.
            if is_known && !self.store.has_revision(&name).await? {
                self.state().repositories += 1;
            }
        }
        Ok(())
    }

    /// Whether an entry of the trash protects anything.
    async fn tombstone(&self, name: &RepositoryName, digest: &Digest, id: Ulid) -> Result<bool, Error> {
        let read: Lenient<Tombstone> = self.store.lenient_record(PathSpec::Tombstone(name, digest, id)).await?;
        match read {
            Lenient::Absent => return Ok(false),
            Lenient::Read(tombstone) if tombstone.is_expired(self.expired_until()) => return Ok(false),
            Lenient::Read(tombstone) => {
                for needed in tombstone.closure.iter().chain([digest]) {
                    self.need(name, needed).await?;
                }
            }
            Lenient::Unreadable => {
                let message = format!("entry {id} of the trash cannot be read: everything in its repository is kept");
                let (repository, digest) = (Some(name.clone()), Some(digest.clone()));
                self.progress.note_problem(CollectionProblem { repository, digest: digest.clone(), message });
                self.need_all(name).await?;
                if let Some(digest) = digest {
                    self.closure(name, &digest, digest.clone(), None).await?;
                }
            }
        }
        Ok(true)
    }

    /// Entries of the trash that expired before this protect nothing.
    fn expired_until(&self) -> Timestamp {
        before(self.began, self.store.timing.expiry_margin)
    }

    async fn need_all(&self, name: &RepositoryName) -> Result<(), Error> {
        let layers = self.layer_names(name).await?;
        self.layers(name, &layers, true).await
    }

    /// How much it is that nothing needs. What was written since a while ago is needed after all: an upload may be about
    /// to link it.
    async fn weigh(&self) -> Result<(), Error> {
        let mut from = 0;
        loop {
            let batch = self.unneeded(&mut from);
            if batch.is_empty() {
                break;
            }
            let looks: Vec<_> =
                batch.iter().map(|(_, digest)| self.store.metadata(PathSpec::BlobData(digest))).collect();
            let found: Vec<_> = concurrently(looks.into_iter()).await?;
            for ((index, digest), metadata) in batch.iter().zip(found) {
                let mut state = self.state();
                let linked_at = state.young_links.get(index).copied();
                let Some(metadata) = metadata else {
                    state.table.need(digest);
                    continue;
                };
                if linked_at.is_none() && !self.is_young(metadata.modified) {
                    self.progress.garbage_blobs.add(1);
                    self.progress.garbage_bytes.add(metadata.size);
                    continue;
                }
                state.table.need(digest);
                state.young.blobs += 1;
                state.young.bytes += metadata.size;
                state.youngest = state.youngest.max(linked_at).max(Some(metadata.modified));
            }
        }
        let State { table, old_links, .. } = &mut *self.state();
        old_links.retain(|blob| !table.is_needed(blob));
        Ok(())
    }

    /// The next blobs that nothing needs.
    fn unneeded(&self, from: &mut usize) -> Vec<(BlobIndex, Digest)> {
        let state = self.state();
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some((index, next)) = state.table.next_unneeded(*from)
        {
            *from = next;
            batch.extend(state.table.digest(index).map(|digest| (index, digest)));
        }
        batch
    }

    fn is_young(&self, age: Timestamp) -> bool {
        age > self.old_until
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So much earlier; the first moment there is where that is earlier still.
pub(super) fn before(moment: Timestamp, by: std::time::Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    moment.checked_sub(by).unwrap_or(Timestamp::MIN)
}
