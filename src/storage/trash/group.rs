//! What was deleted together, and comes back together: an image with what refers to it, a whole repository.

use crate::oci::{Digest, RepositoryName};

use crate::storage::{
    Conflict, Error, Restored, Tombstone, Trash, concurrent::concurrently, layout::PathSpec, store::Store,
};

/// How many entries of a repository's trash are read between two looks for those of a group.
const BATCH: usize = 256;

/// What was deleted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashGroup {
    /// Where.
    pub repository: RepositoryName,
    /// Its name, as each of its entries has it.
    pub name: String,
}

impl Trash {
    /// Brings back all that was deleted together, as far as it is still in the trash; what came back of each entry that
    /// was asked for by itself. What an entry brings along is not listed twice.
    ///
    /// # Errors
    /// [`Error::GroupUnknown`]; [`Error::TagConflict`], looked for before anything is restored; and as
    /// [`Trash::restore`]. After an error some of it may be back; the other entries are still there, and the group can be
    /// asked for again.
    ///
    /// # Cancel safety
    /// It runs to its end also when it is dropped.
    pub async fn restore_group(
        &self,
        group: &TrashGroup,
        conflict: Conflict,
        actor: &str,
    ) -> Result<Vec<Restored>, Error> {
        let (this, group, actor) = (self.clone(), group.clone(), actor.to_owned());
        let restore = async move {
            let entries = this.store.group(&group).await?;
            if conflict == Conflict::Fail {
                this.refuse_if_taken(&entries).await?;
            }
            let mut restored = Vec::new();
            for entry in entries {
                match this.for_change()?.restore_entry(entry.id, None, conflict, &actor).await {
                    Ok(entry) => restored.push(entry),
                    // It came back with another one, or by somebody else.
                    Err(Error::TombstoneUnknown { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(restored)
        };
        self.store.changes.run(restore).await
    }

    /// The same, for changes that begin now.
    pub(in crate::storage) fn for_change(&self) -> Result<Self, Error> {
        Ok(Self { store: self.store.for_change()? })
    }

    async fn refuse_if_taken(&self, entries: &[Tombstone]) -> Result<(), Error> {
        for entry in entries {
            let repository = self.repository(&entry.repository);
            for tag in &entry.tags {
                if let Some(digest) = repository.taken(tag, &entry.digest).await? {
                    return Err(Error::TagConflict { tag: tag.clone(), digest });
                }
            }
        }
        Ok(())
    }
}

impl Store {
    /// The entries of a group that have not expired, newest first.
    ///
    /// # Errors
    /// [`Error::GroupUnknown`] where there is none; [`Error::Driver`].
    pub(in crate::storage) async fn group(&self, group: &TrashGroup) -> Result<Vec<Tombstone>, Error> {
        let name = &group.repository;
        let digests = self.names(PathSpec::TombstonedDigests(name)).await?;
        let digests: Vec<Digest> = digests.iter().filter_map(|text| text.parse().ok()).collect();
        let now = self.clock.now();
        let mut entries: Vec<Tombstone> = Vec::new();
        for batch in digests.chunks(BATCH) {
            let read = concurrently(batch.iter().map(|digest| self.tombstones_of(name, digest))).await?;
            let of_group = |entry: &Tombstone| entry.group == group.name && !entry.is_expired(now);
            entries.extend(read.into_iter().flatten().filter(of_group));
        }
        if entries.is_empty() {
            return Err(Error::GroupUnknown { repository: name.clone(), group: group.name.clone() });
        }
        entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.id));
        Ok(entries)
    }
}
