//! Tags of deleted images that point to something else by now.

use crate::oci::{Digest, Tag};

use crate::storage::{Error, Repository, Tombstone, Trash, concurrent::concurrently};

/// A tag that points to something else by now than when it was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedTag {
    /// Which one.
    pub tag: Tag,
    /// What it points to.
    pub digest: Digest,
}

impl Trash {
    /// Of each entry the tags that point elsewhere by now: a restore with [`Conflict::Fail`](crate::storage::Conflict::Fail) does not move them.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn moved_tags(&self, tombstones: &[Tombstone]) -> Result<Vec<Vec<MovedTag>>, Error> {
        concurrently(tombstones.iter().map(|tombstone| self.moved_tags_of(tombstone))).await
    }

    async fn moved_tags_of(&self, tombstone: &Tombstone) -> Result<Vec<MovedTag>, Error> {
        let repository = self.repository(&tombstone.repository);
        let mut moved = Vec::new();
        for tag in &tombstone.tags {
            if let Some(digest) = repository.taken(tag, &tombstone.digest).await? {
                moved.push(MovedTag { tag: tag.clone(), digest });
            }
        }
        Ok(moved)
    }
}

impl Repository {
    /// What a tag points to by now, if that is visible and not `digest`.
    pub(in crate::storage) async fn taken(&self, tag: &Tag, digest: &Digest) -> Result<Option<Digest>, Error> {
        let target = self.store.tag_target(&self.name, tag).await?;
        let Some(other) = target.filter(|target| target != digest) else { return Ok(None) };
        Ok(self.store.is_visible(&self.name, &other).await?.then_some(other))
    }
}
