//! What is known of a manifest or tag beside its links: when it was pushed, untagged, restored.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::oci::{Digest, Manifest, MediaType, RepositoryName, Tag};

use super::{Error, driver::Durability, layout::PathSpec, record::Lenient, store::Store};

/// What was known of a manifest when it was pushed. Without it, the revision link's own age is the time of the push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RevisionFact {
    /// What it is.
    pub(super) media_type: MediaType,
    /// Whether its bytes say so, and no push can say otherwise.
    #[serde(default)]
    pub(super) says_media_type: bool,
    /// Its length in bytes.
    pub(super) size: u64,
    /// What it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<Digest>,
    /// What kind of artifact it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    /// When it was pushed last.
    pub(super) pushed_at: Timestamp,
}

impl RevisionFact {
    /// What is known of a manifest of `size` bytes that was pushed at `pushed_at`.
    pub(super) fn of(manifest: &Manifest, size: u64, pushed_at: Timestamp) -> Self {
        Self {
            media_type: manifest.media_type.clone(),
            says_media_type: manifest.says_media_type,
            size,
            subject: manifest.subject.as_ref().map(|subject| subject.digest.clone()),
            artifact_type: manifest.referrer_type(),
            pushed_at,
        }
    }
}

/// One push of a tag. All of them are its history, which outlives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TagPush {
    /// What it pointed to from then on.
    pub(super) digest: Digest,
    /// When it was pushed. A restore keeps the time of the push that it brings back.
    pub(super) pushed_at: Timestamp,
    /// Who pushed or restored it.
    pub(super) actor: String,
    /// Whether a restore wrote this.
    #[serde(default)]
    pub(super) restored: bool,
}

/// How many pushes of one tag are read back, at most, to find the one that made it point where it does. The newest is
/// nearly always the one; a tag that moved this often since is as good as unknown, and so is kept.
const MAX_PUSHES_READ: usize = 32;

#[derive(Serialize, Deserialize)]
struct Moment {
    at: Timestamp,
}

impl Store {
    /// Writes what is known of a manifest.
    pub(super) async fn put_revision_fact(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        fact: &RevisionFact,
    ) -> Result<(), Error> {
        self.put_record(PathSpec::Fact(name, digest), fact, Durability::Durable).await
    }

    /// What is known of a manifest.
    pub(super) async fn revision_fact(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Lenient<RevisionFact>, Error> {
        self.lenient_record(PathSpec::Fact(name, digest)).await
    }

    /// Notes that a tag moved away from a manifest, or was deleted.
    pub(super) async fn put_untagged(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.put_record(PathSpec::Untagged(name, digest), &Moment { at }, Durability::Durable).await
    }

    /// When a tag last moved away from a manifest.
    pub(super) async fn untagged_at(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Lenient<Timestamp>, Error> {
        self.moment(PathSpec::Untagged(name, digest)).await
    }

    /// Notes that a manifest was restored.
    pub(super) async fn put_restored(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.put_record(PathSpec::RestoredAt(name, digest), &Moment { at }, Durability::Durable).await
    }

    /// When a manifest was last restored.
    pub(super) async fn restored_at(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Lenient<Timestamp>, Error> {
        self.moment(PathSpec::RestoredAt(name, digest)).await
    }

    async fn moment(&self, spec: PathSpec<'_>) -> Result<Lenient<Timestamp>, Error> {
        Ok(match self.lenient_record::<Moment>(spec).await? {
            Lenient::Read(moment) => Lenient::Read(moment.at),
            Lenient::Absent => Lenient::Absent,
            Lenient::Unreadable => Lenient::Unreadable,
        })
    }

    /// Adds to a tag's history. Written before the tag's link, so that no acknowledged push is without one.
    pub(super) async fn put_tag_push(&self, name: &RepositoryName, tag: &Tag, push: &TagPush) -> Result<(), Error> {
        let id = self.ids.next(self.clock.now());
        self.put_record(PathSpec::TagPush(name, tag, id), push, Durability::Durable).await
    }

    /// When the tag was last pushed to point to `digest`, as its history says: the newest entry, where that names
    /// the digest. `None` where it does not: a push that failed half-way, or another registry's.
    pub(super) async fn tag_pushed_at(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<Option<Timestamp>, Error> {
        let newest = self.tag_pushes(name, tag, 1).await?.pop();
        Ok(newest.flatten().filter(|push| push.digest == *digest).map(|push| push.pushed_at))
    }

    /// When the tag was last pushed to point to `digest`, also where it was pushed elsewhere since.
    pub(super) async fn last_push_to(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<Option<Timestamp>, Error> {
        let pushes = self.tag_pushes(name, tag, MAX_PUSHES_READ).await?;
        Ok(pushes.into_iter().flatten().find(|push| push.digest == *digest).map(|push| push.pushed_at))
    }

    /// One push of a tag.
    pub(super) async fn tag_push(&self, name: &RepositoryName, tag: &Tag, id: Ulid) -> Result<Lenient<TagPush>, Error> {
        self.lenient_record(PathSpec::TagPush(name, tag, id)).await
    }

    /// The newest `limit` pushes of a tag, newest first; `None` for one that cannot be read.
    async fn tag_pushes(&self, name: &RepositoryName, tag: &Tag, limit: usize) -> Result<Vec<Option<TagPush>>, Error> {
        let names = self.names(PathSpec::TagPushes(name, tag)).await?;
        let mut pushes = Vec::new();
        for id in names.iter().rev().filter_map(|text| Ulid::from_string(text).ok()).take(limit) {
            pushes.push(self.tag_push(name, tag, id).await?.read());
        }
        Ok(pushes)
    }
}
