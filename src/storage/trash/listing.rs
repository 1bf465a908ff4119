//! What can be restored.

use std::sync::Arc;

use crate::oci::{Digest, Reference, RepositoryName};

use super::index::{Place, inverted};
use crate::storage::{
    Error, Page, Tombstone, TombstoneId, TombstoneKind, TombstoneState,
    concurrent::concurrently,
    driver::{self, Entry},
    layout::PathSpec,
    records::record::Lenient,
    store::Store,
};

/// How many names of the trash are read at once. Lists are asked for in pages of about this size.
const BATCH: usize = 256;

/// All live tombstones.
#[derive(Debug, Clone)]
pub struct Trash {
    pub(in crate::storage) store: Arc<Store>,
}

/// Which entries to list.
#[derive(Debug, Clone, Default)]
pub struct TrashFilter {
    /// Of this repository.
    pub repository: Option<RepositoryName>,
    /// That this tag or digest would bring back.
    pub reference: Option<Reference>,
    /// That were deleted together, by the name of the group.
    pub group: Option<String>,
}

impl TrashFilter {
    fn admits_repository(&self, name: &RepositoryName) -> bool {
        self.repository.as_ref().is_none_or(|wanted| wanted == name)
    }

    fn admits(&self, tombstone: &Tombstone) -> bool {
        if self.group.as_ref().is_some_and(|group| *group != tombstone.group) {
            return false;
        }
        match &self.reference {
            None => true,
            Some(Reference::Digest(digest)) => tombstone.digest == *digest,
            Some(Reference::Tag(tag)) => tombstone.tags.contains(tag),
        }
    }
}

impl Trash {
    /// At most `limit` entries, newest first, that are older than `after`. What has expired is not listed. Whether the
    /// content of each is there is looked up.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn list(
        &self,
        filter: &TrashFilter,
        after: Option<&TombstoneId>,
        limit: usize,
    ) -> Result<Page<Tombstone>, Error> {
        // One more than is wanted tells whether more follow.
        let wanted = limit.saturating_add(1);
        let mut entries = match filter {
            TrashFilter { repository: Some(name), reference: Some(reference), .. } => {
                let found = self.store.tombstones_for(name, reference).await?;
                let is_later = |entry: &Tombstone| after.is_none_or(|after| entry.id < *after);
                found.into_iter().filter(|entry| is_later(entry) && filter.admits(entry)).take(wanted).collect()
            }
            _ => self.walk(filter, after, wanted).await?,
        };
        let more = entries.len() > limit;
        entries.truncate(limit);
        let entries = concurrently(entries.into_iter().map(|entry| self.store.looked_up(entry))).await?;
        Ok(Page { entries, more })
    }

    async fn walk(
        &self,
        filter: &TrashFilter,
        after: Option<&TombstoneId>,
        wanted: usize,
    ) -> Result<Vec<Tombstone>, Error> {
        let mut entries = Vec::new();
        let mut after = after.map(|id| inverted(id.0).to_string());
        loop {
            let batch = self.names(after.as_deref()).await?;
            for entry in &batch {
                entries.extend(self.listed(filter, &entry.name).await?);
                if entries.len() >= wanted {
                    return Ok(entries);
                }
            }
            if batch.len() < BATCH {
                return Ok(entries);
            }
            after = batch.into_iter().last().map(|entry| entry.name);
        }
    }

    async fn names(&self, after: Option<&str>) -> Result<Vec<Entry>, Error> {
        match self.store.driver.list(&PathSpec::TrashEntries.path(), after, BATCH).await {
            Ok(batch) => Ok(batch),
            Err(driver::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(source) => Err(Error::driver("list the trash", source)),
        }
    }

    async fn listed(&self, filter: &TrashFilter, name: &str) -> Result<Option<Tombstone>, Error> {
        let Ok(TombstoneId(key)) = name.parse() else { return Ok(None) };
        let place: Lenient<Place> = self.store.lenient_record(PathSpec::TrashEntry(key)).await?;
        let Some(place) = place.read().filter(|place| filter.admits_repository(&place.repository)) else {
            return Ok(None);
        };
        let found = self.store.tombstone_at(&place.repository, &place.digest, inverted(key)).await?;
        let now = self.store.clock.now();
        Ok(found.filter(|tombstone| !tombstone.is_expired(now) && filter.admits(tombstone)))
    }

    /// One entry. Whether its content is there is looked up.
    ///
    /// # Errors
    /// [`Error::TombstoneUnknown`], also where it has expired; [`Error::Driver`].
    pub async fn get(&self, id: &TombstoneId) -> Result<Tombstone, Error> {
        self.store.looked_up(self.entry(id).await?).await
    }

    /// One entry as it was written.
    pub(in crate::storage) async fn entry(&self, id: &TombstoneId) -> Result<Tombstone, Error> {
        let now = self.store.clock.now();
        let found = self.store.tombstone(*id).await?.filter(|tombstone| !tombstone.is_expired(now));
        found.ok_or(Error::TombstoneUnknown { id: *id })
    }
}

impl Store {
    /// The entry, with its state as the medium has it.
    pub(in crate::storage) async fn looked_up(&self, mut tombstone: Tombstone) -> Result<Tombstone, Error> {
        if tombstone.state == TombstoneState::Restorable {
            if self.is_blob_back(&tombstone).await? {
                tombstone.state = TombstoneState::Revived;
            } else if !self.has_content(&tombstone).await? {
                tombstone.state = TombstoneState::Missing;
            }
        }
        Ok(tombstone)
    }

    /// Whether a blob was pushed again. Its push does not note that, as a manifest's does: each would have to look into
    /// the trash, and nothing depends on it.
    async fn is_blob_back(&self, tombstone: &Tombstone) -> Result<bool, Error> {
        let link = PathSpec::LayerLink(&tombstone.repository, &tombstone.digest);
        Ok(tombstone.kind == TombstoneKind::Blob && self.link(link, &tombstone.digest).await?.is_some())
    }

    /// Whether everything is there that a restore needs.
    pub(in crate::storage) async fn has_content(&self, tombstone: &Tombstone) -> Result<bool, Error> {
        let looks = tombstone.closure.iter().map(|digest| self.has_member_content(&tombstone.repository, digest));
        let found = concurrently(looks).await?;
        // A blob's closure are the addresses that its one content has.
        let is_one = tombstone.kind == TombstoneKind::Blob;
        Ok(if is_one { found.contains(&true) } else { !found.contains(&false) })
    }

    async fn has_member_content(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        if self.stored_size(digest).await?.is_some() {
            return Ok(true);
        }
        // Stock distribution's SHA-512 links name SHA-256 content.
        match self.link(PathSpec::LayerLink(name, digest), digest).await? {
            Some(target) if target != *digest => Ok(self.stored_size(&target).await?.is_some()),
            _ => Ok(false),
        }
    }
}
