//! What is known of a manifest beside its links: when it was pushed, untagged, restored.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::oci::{Digest, Manifest, MediaType, RepositoryName};

use crate::storage::{
    Error,
    driver::{Durability, Seen, StoragePath},
    layout::PathSpec,
    records::record::{Lenient, record_in},
    store::Store,
};

/// What was known of a manifest when it was pushed. Without it, the revision link's own age is the time of the push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::storage) struct RevisionFact {
    /// What it is.
    pub(in crate::storage) media_type: MediaType,
    /// Whether its bytes say so, and no push can say otherwise.
    #[serde(default)]
    pub(in crate::storage) says_media_type: bool,
    /// Its length in bytes.
    pub(in crate::storage) size: u64,
    /// What it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::storage) subject: Option<Digest>,
    /// What kind of artifact it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::storage) artifact_type: Option<String>,
    /// When it was pushed last.
    pub(in crate::storage) pushed_at: Timestamp,
}

impl RevisionFact {
    /// What is known of a manifest of `size` bytes that was pushed at `pushed_at`.
    pub(in crate::storage) fn of(manifest: &Manifest, size: u64, pushed_at: Timestamp) -> Self {
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

#[derive(Serialize, Deserialize)]
struct Moment {
    at: Timestamp,
}

/// Since when no tag points to a manifest that none points to: the last time a tag moved away; without one, since the push.
/// A restore brings it back untagged as of then. Without the time of the push nothing is known.
pub(in crate::storage) fn since_untagged(
    pushed_at: Option<Timestamp>,
    untagged: Lenient<Timestamp>,
    restored_at: Option<Timestamp>,
) -> Option<Timestamp> {
    let untagged = match untagged {
        Lenient::Unreadable => return None,
        untagged => untagged.read(),
    };
    pushed_at.map(|pushed_at| [untagged, restored_at].into_iter().flatten().fold(pushed_at, Timestamp::max))
}

/// What a look at the record of a moment found.
pub(in crate::storage) fn moment_in(path: &StoragePath, seen: Seen) -> Lenient<Timestamp> {
    when(record_in(path, seen))
}

fn when(record: Lenient<Moment>) -> Lenient<Timestamp> {
    match record {
        Lenient::Read(moment) => Lenient::Read(moment.at),
        Lenient::Absent => Lenient::Absent,
        Lenient::Unreadable => Lenient::Unreadable,
    }
}

impl Store {
    /// Writes what is known of a manifest.
    pub(in crate::storage) async fn put_revision_fact(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        fact: &RevisionFact,
    ) -> Result<(), Error> {
        self.put_record(PathSpec::Fact(name, digest), fact, Durability::Durable).await
    }

    /// What is known of a manifest.
    pub(in crate::storage) async fn revision_fact(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Lenient<RevisionFact>, Error> {
        self.lenient_record(PathSpec::Fact(name, digest)).await
    }

    /// Notes that a tag moved away from a manifest, or was deleted; or what listed it, or what it says something about, was.
    pub(in crate::storage) async fn put_untagged(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.put_record(PathSpec::Untagged(name, digest), &Moment { at }, Durability::Durable).await
    }

    /// Since when no tag points to a manifest that none points to; `None` where that is not known.
    pub(in crate::storage) async fn untagged_since(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Timestamp>, Error> {
        let pushed_at = match self.revision_fact(name, digest).await? {
            Lenient::Read(fact) => Some(fact.pushed_at),
            Lenient::Absent => self.age(PathSpec::RevisionLink(name, digest)).await?,
            Lenient::Unreadable => None,
        };
        let untagged = self.untagged_at(name, digest).await?;
        Ok(since_untagged(pushed_at, untagged, self.restored_at(name, digest).await?.read()))
    }

    /// When a manifest was last left by a tag, or by what reached it.
    pub(in crate::storage) async fn untagged_at(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Lenient<Timestamp>, Error> {
        self.moment(PathSpec::Untagged(name, digest)).await
    }

    /// Notes that a manifest was restored.
    pub(in crate::storage) async fn put_restored(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.put_record(PathSpec::RestoredAt(name, digest), &Moment { at }, Durability::Durable).await
    }

    /// When a manifest was last restored.
    pub(in crate::storage) async fn restored_at(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Lenient<Timestamp>, Error> {
        self.moment(PathSpec::RestoredAt(name, digest)).await
    }

    async fn moment(&self, spec: PathSpec<'_>) -> Result<Lenient<Timestamp>, Error> {
        self.lenient_record(spec).await.map(when)
    }
}
