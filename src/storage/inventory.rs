//! A repository as retention sees it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::oci::{Digest, Manifest, Tag};

use super::{Error, Repository, concurrent::concurrently, facts::RevisionFact, layout::PathSpec, record::Lenient};

/// Everything visible in a repository.
///
/// It is no snapshot: pushes go on while it is taken. What a policy decides by it is checked again when it is carried out.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// When taking it began. What was pushed since then may be missing.
    pub taken_at: Timestamp,
    /// Its tags, in order.
    pub tags: Vec<TagEntry>,
    /// Its manifests, in the order of their digests.
    pub revisions: Vec<RevisionEntry>,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagEntry {
    /// The tag.
    pub tag: Tag,
    /// What it points to.
    pub digest: Digest,
    /// When it was pushed last; `None` where that is not known.
    pub pushed_at: Option<Timestamp>,
}

/// A manifest.
#[derive(Debug, Clone)]
pub struct RevisionEntry {
    /// Its address.
    pub digest: Digest,
    /// When it was pushed last; `None` where that cannot be read.
    pub pushed_at: Option<Timestamp>,
    /// Since when no tag points to it; `None` while one does, and where that cannot be read.
    pub untagged_since: Option<Timestamp>,
    /// When it was restored last; `None` where it never was. Where that cannot be read, the time of the inventory.
    pub restored_at: Option<Timestamp>,
    /// Its own length in bytes.
    pub size: u64,
    /// What it says; `None`: it cannot be read, and is kept.
    pub manifest: Option<Manifest>,
}

impl Repository {
    /// Everything visible. Empty where the repository does not exist.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn inventory(&self) -> Result<Inventory, Error> {
        let taken_at = self.store.clock.now();
        let targets = self.store.all_tags(&self.name).await?;
        let tagged: BTreeSet<Digest> = targets.iter().map(|(_, digest)| digest.clone()).collect();
        let names = self.store.revision_names(&self.name).await?;
        let revisions = names.into_iter().map(|digest| {
            let is_tagged = tagged.contains(&digest);
            self.revision_entry(digest, is_tagged, taken_at)
        });
        let mut revisions: Vec<_> = concurrently(revisions).await?.into_iter().flatten().collect();
        revisions.sort_unstable_by(|a, b| a.digest.cmp(&b.digest));
        let is_visible = |digest: &Digest| revisions.binary_search_by(|entry| entry.digest.cmp(digest)).is_ok();
        let visible = targets.into_iter().filter(|(_, digest)| is_visible(digest));
        let tags = concurrently(visible.map(|(tag, digest)| self.tag_entry(tag, digest))).await?;
        Ok(Inventory { taken_at, tags, revisions })
    }

    async fn tag_entry(&self, tag: Tag, digest: Digest) -> Result<TagEntry, Error> {
        let pushed_at = match self.store.tag_pushed_at(&self.name, &tag, &digest).await? {
            Some(pushed_at) => Some(pushed_at),
            None => self.store.age(PathSpec::TagCurrent(&self.name, &tag)).await?,
        };
        Ok(TagEntry { tag, digest, pushed_at })
    }

    async fn revision_entry(
        &self,
        digest: Digest,
        is_tagged: bool,
        taken_at: Timestamp,
    ) -> Result<Option<RevisionEntry>, Error> {
        let (store, name) = (&self.store, &self.name);
        let link = PathSpec::RevisionLink(name, &digest);
        let Some(age) = store.age(link).await? else { return Ok(None) };
        let Some(target) = store.link(link, &digest).await? else { return Ok(None) };
        let fact = store.revision_fact(name, &digest).await?;
        let pushed_at = match &fact {
            Lenient::Read(fact) => Some(fact.pushed_at),
            Lenient::Absent => Some(age),
            Lenient::Unreadable => None,
        };
        let restored_at = match store.restored_at(name, &digest).await? {
            Lenient::Read(at) => Some(at),
            Lenient::Absent => None,
            Lenient::Unreadable => Some(taken_at),
        };
        let untagged_since =
            if is_tagged { None } else { self.untagged_since(&digest, pushed_at, restored_at).await? };
        let (size, manifest) = self.content(&target, fact.read()).await?;
        Ok(Some(RevisionEntry { digest, pushed_at, untagged_since, restored_at, size, manifest }))
    }

    /// The last time a tag moved away; without one, since the push. A restore brings it back untagged as of then.
    async fn untagged_since(
        &self,
        digest: &Digest,
        pushed_at: Option<Timestamp>,
        restored_at: Option<Timestamp>,
    ) -> Result<Option<Timestamp>, Error> {
        let untagged_at = match self.store.untagged_at(&self.name, digest).await? {
            Lenient::Read(at) => Some(at),
            Lenient::Absent => None,
            Lenient::Unreadable => return Ok(None),
        };
        // Without the time of the push nothing is known.
        Ok(pushed_at.map(|pushed_at| [untagged_at, restored_at].into_iter().flatten().fold(pushed_at, Timestamp::max)))
    }

    async fn content(&self, target: &Digest, fact: Option<RevisionFact>) -> Result<(u64, Option<Manifest>), Error> {
        match self.store.manifest_bytes(target).await? {
            Some(bytes) => {
                let media_type = fact.map(|fact| fact.media_type);
                Ok((bytes.len() as u64, Manifest::parse(media_type.as_ref(), &bytes).ok()))
            }
            None => Ok((self.store.stored_size(target).await?.unwrap_or_default(), None)),
        }
    }
}
