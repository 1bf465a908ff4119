//! Whether another registry wrote this store, and whether one still does (docs/protocol.md, *Foreign writers*).
//!
//! Each revision that is written here has a fact record, written before its link. A revision link without one is
//! another registry's: older than the adoption it came with the store, younger it says that somebody writes who asks
//! nobody. While that may be, nothing may be collected.

use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::oci::{Digest, RepositoryName};

use super::{Catalog, Error, Repository, driver::Durability, layout::PathSpec, records::record::Lenient, store::Store};

/// Who wrote a store before it was first served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// Nobody: it was empty.
    Empty,
    /// Another registry.
    Foreign,
}

/// That somebody said that no other registry writes to the store any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Confirmation {
    /// Who.
    pub actor: String,
    /// When. What another registry wrote until then is accepted as it is.
    pub at: Timestamp,
}

/// When a store was first served here, and what it was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Adoption {
    /// Who wrote it before.
    pub origin: Origin,
    /// When it was first served here.
    pub first_served_at: Timestamp,
    /// Who confirmed that collection may begin, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Confirmation>,
}

impl Adoption {
    /// Whether a revision link of that age, without a fact record, was written by another registry since the store is
    /// served here.
    #[must_use]
    pub fn is_foreign(&self, link_written_at: Timestamp) -> bool {
        match (&self.confirmation, self.origin) {
            (Some(confirmation), _) => link_written_at > confirmation.at,
            (None, Origin::Foreign) => link_written_at > self.first_served_at,
            // Nothing was there before, so whatever is there without a record is somebody else's.
            (None, Origin::Empty) => true,
        }
    }
}

/// A revision that another registry wrote since the store is served here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignRevision {
    /// Where.
    pub repository: RepositoryName,
    /// What.
    pub digest: Digest,
    /// When its link was written.
    pub written_at: Timestamp,
}

/// What a process knows of other writers.
#[derive(Debug, Default)]
pub(super) struct ForeignWriters {
    adoption: Mutex<Option<Adoption>>,
    seen: AtomicU64,
}

impl ForeignWriters {
    fn known(&self) -> Option<Adoption> {
        self.adoption.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, adoption: &Adoption) {
        *self.adoption.lock().unwrap_or_else(PoisonError::into_inner) = Some(adoption.clone());
    }

    fn note(&self, name: &RepositoryName, digest: &Digest) {
        let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        // Each power of two: the first ones, and then ever fewer.
        if seen.is_power_of_two() {
            warn!(repository = %name, %digest, seen, "another registry writes to this store: nothing can be collected");
        }
    }
}

impl Catalog {
    /// Whether a registry lies in a folder: one that was served here, or one that docker/distribution wrote.
    #[must_use]
    pub fn lies_in(folder: &Path) -> bool {
        let is_there = |spec: PathSpec<'_>| folder.join(spec.path().as_str()).exists();
        is_there(PathSpec::Adoption) || is_there(PathSpec::Repositories)
    }

    /// To be called before the store is first served: notes when that was, and whether another registry wrote it before.
    /// Later calls change nothing.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the note cannot be read, [`Error::Driver`].
    pub async fn adopt(&self) -> Result<Adoption, Error> {
        let store = &self.store;
        let noted = match store.adoption().await? {
            Some(noted) => noted,
            None => store.note_adoption().await?,
        };
        store.foreign.learn(&noted);
        Ok(noted)
    }

    /// When the store was first served; `None` where it never was.
    ///
    /// # Errors
    /// As [`Self::adopt`].
    pub async fn adoption(&self) -> Result<Option<Adoption>, Error> {
        self.store.adoption().await
    }

    /// Notes that `actor` says that no other registry writes to the store any more.
    ///
    /// # Errors
    /// As [`Self::adopt`].
    pub async fn confirm_adoption(&self, actor: &str) -> Result<Adoption, Error> {
        let noted = self.adopt().await?;
        let confirmation = Confirmation { actor: actor.to_owned(), at: self.store.clock.now() };
        let noted = Adoption { confirmation: Some(confirmation), ..noted };
        self.store.put_record(PathSpec::Adoption, &noted, Durability::Durable).await?;
        self.store.foreign.learn(&noted);
        Ok(noted)
    }

    /// How many reads of this process came upon what another registry wrote since the store is served here.
    #[must_use]
    pub fn foreign_revisions_seen(&self) -> u64 {
        self.store.foreign.seen.load(Ordering::Relaxed)
    }
}

impl Repository {
    /// The visible revisions that another registry wrote since the store is served here. None of a store that never was.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Driver`].
    pub async fn foreign_revisions(&self) -> Result<Vec<ForeignRevision>, Error> {
        let Some(adoption) = self.store.adoption().await? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for digest in self.store.revision_names(&self.name).await? {
            if let Some(written_at) = self.store.foreign_since(&self.name, &digest, &adoption).await? {
                found.push(ForeignRevision { repository: self.name.clone(), digest, written_at });
            }
        }
        Ok(found)
    }
}

impl Store {
    /// The note of the adoption, read from the medium.
    pub(super) async fn adoption(&self) -> Result<Option<Adoption>, Error> {
        self.record(PathSpec::Adoption).await
    }

    async fn note_adoption(&self) -> Result<Adoption, Error> {
        let first_served_at = self.clock.now();
        let is_foreign = self.is_folder(PathSpec::Repositories).await?
            // Revisions have facts only where they were written here: a store of before this note was kept.
            && !self.is_folder(PathSpec::AllFacts).await?;
        let origin = if is_foreign { Origin::Foreign } else { Origin::Empty };
        // Another replica may have been faster: what it served first stays.
        if let Some(noted) = self.adoption().await? {
            return Ok(noted);
        }
        let adoption = Adoption { origin, first_served_at, confirmation: None };
        self.put_record(PathSpec::Adoption, &adoption, Durability::Durable).await?;
        if is_foreign {
            info!("another registry wrote this store: it is served as it is");
        }
        Ok(adoption)
    }

    /// When another registry wrote a visible revision, if one did since the store is served here.
    pub(super) async fn foreign_since(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        adoption: &Adoption,
    ) -> Result<Option<Timestamp>, Error> {
        // The link first: its record is written before it.
        let Some(age) = self.age(PathSpec::RevisionLink(name, digest)).await? else { return Ok(None) };
        let is_ours = !matches!(self.revision_fact(name, digest).await?, Lenient::Absent);
        Ok((!is_ours && adoption.is_foreign(age)).then_some(age))
    }

    /// Looks whether a revision without facts, which was just read, is another registry's. It only warns, so it never
    /// fails.
    pub(super) async fn suspect(&self, name: &RepositoryName, digest: &Digest) {
        let Some(adoption) = self.foreign.known() else { return };
        match self.foreign_since(name, digest, &adoption).await {
            Ok(Some(_)) => {
                self.options.metrics.content.foreign();
                self.foreign.note(name, digest);
            }
            Ok(None) => {}
            Err(error) => {
                warn!(repository = %name, %digest, error = &error as &dyn std::error::Error, "could not look at a link");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::storage::{
        Clock as _,
        fixtures::{World, name, sha256},
    };

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn foreign_link(world: &World, content: &str) -> Digest {
        let digest = sha256(content.as_bytes());
        world.memory.put_now(&PathSpec::BlobData(&digest).path(), content);
        world.memory.put_now(&PathSpec::RevisionLink(&name("app"), &digest).path(), &digest.to_string());
        digest
    }

    #[tokio::test]
    async fn a_store_is_noted_once_with_who_wrote_it_before() {
        let world = World::new();
        let begun = world.clock.now();
        assert_eq!(world.open().await.adoption().await.unwrap(), None);
        let empty = world.open().await.adopt().await.unwrap();
        assert_eq!((empty.origin, empty.first_served_at), (Origin::Empty, begun));
        foreign_link(&world, "later");
        world.clock.advance(HOUR);
        assert_eq!(world.open().await.adopt().await.unwrap(), empty);

        let world = World::new();
        foreign_link(&world, "before");
        assert_eq!(world.open().await.adopt().await.unwrap().origin, Origin::Foreign);
    }

    #[tokio::test]
    async fn a_store_of_before_the_note_is_its_own() {
        let world = World::new();
        let image = crate::storage::tests::image("a");
        image.push(&world.repository("app").await, Some("v1")).await.unwrap();
        assert_eq!(world.open().await.adopt().await.unwrap().origin, Origin::Empty);
    }

    #[tokio::test]
    async fn what_another_registry_writes_after_the_adoption_is_found_until_it_is_confirmed() {
        let world = World::new();
        foreign_link(&world, "before");
        let catalog = world.open().await;
        catalog.adopt().await.unwrap();
        let repository = catalog.repository(&name("app"));
        assert_eq!(repository.foreign_revisions().await.unwrap(), []);
        world.clock.advance(HOUR);
        crate::storage::tests::image("ours").push(&repository, Some("v1")).await.unwrap();
        assert_eq!(repository.foreign_revisions().await.unwrap(), []);
        let digest = foreign_link(&world, "after");
        let found = repository.foreign_revisions().await.unwrap();
        assert_eq!(found.iter().map(|found| &found.digest).collect::<Vec<_>>(), [&digest]);
        assert_eq!(catalog.foreign_revisions_seen(), 0);
        repository.stat_manifest(&crate::oci::Reference::Digest(digest)).await.unwrap();
        assert_eq!(catalog.foreign_revisions_seen(), 1);
        let confirmed = catalog.confirm_adoption("admin").await.unwrap();
        assert_eq!(confirmed.confirmation.unwrap().actor, "admin");
        assert_eq!(repository.foreign_revisions().await.unwrap(), []);
        world.clock.advance(HOUR);
        foreign_link(&world, "again");
        assert_eq!(repository.foreign_revisions().await.unwrap().len(), 1);
    }
}
