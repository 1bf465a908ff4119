//! Deletes, restores and inspections that have begun.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tracing::warn;
use ulid::Ulid;

use crate::oci::{Digest, RepositoryName, Tag};

use super::keys::Key;
use crate::storage::{
    Error, TombstoneKind, driver::Durability, layout::PathSpec, records::record::Lenient, store::Store,
};

/// What has begun. Its key has the id of the tombstone that a delete writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::storage) struct Pending {
    /// What happens.
    pub(in crate::storage) operation: Operation,
    /// Where; nowhere, if it is about blobs alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::storage) repository: Option<RepositoryName>,
    /// What goes or comes back; an inspection has none.
    #[serde(flatten)]
    pub(in crate::storage) subject: Option<Subject>,
    /// All manifests that come with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::storage) manifests: Vec<Digest>,
    /// The tags that go or come with it.
    pub(in crate::storage) tags: Vec<Tag>,
    /// Blobs whose bytes it changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::storage) blobs: Vec<Digest>,
    /// The policy whose decision it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::storage) policy: Option<String>,
    /// The replica that runs it; none where the store is not shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::storage) replica: Option<Ulid>,
    /// The delete of a dead replica that this one finishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::storage) resumes: Option<Ulid>,
}

/// What goes or comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::storage) struct Subject {
    /// What kind of thing.
    pub(in crate::storage) kind: TombstoneKind,
    /// What.
    pub(in crate::storage) digest: Digest,
}

impl Pending {
    /// What it changes, and so freezes.
    pub(in crate::storage) fn keys(&self) -> Vec<Key> {
        let subject = self.subject.as_ref().map(|subject| &subject.digest);
        let digests: BTreeSet<&Digest> = self.manifests.iter().chain(subject).collect();
        let mut keys: Vec<Key> = self.blobs.iter().map(|digest| Key::Blob(digest.clone())).collect();
        if let Some(name) = &self.repository {
            keys.extend(digests.into_iter().map(|digest| Key::Revision(name.clone(), digest.clone())));
            keys.extend(self.tags.iter().map(|tag| Key::Tag(name.clone(), tag.clone())));
        }
        keys
    }

    /// What goes, and where, if something does.
    pub(in crate::storage) fn deleted(&self) -> Option<(&RepositoryName, &Subject)> {
        if self.operation == Operation::Delete { self.repository.as_ref().zip(self.subject.as_ref()) } else { None }
    }
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::storage) enum Operation {
    /// It goes.
    Delete,
    /// It comes back.
    Restore,
    /// It is looked at, and may be mended. Where that ends half-way, nothing is to be finished.
    Inspection,
}

impl Store {
    /// Writes down that a change begins.
    pub(in crate::storage) async fn put_pending(&self, id: Ulid, pending: &Pending) -> Result<(), Error> {
        self.put_record(PathSpec::Pending(id), pending, Durability::Durable).await
    }

    /// Writes down that a change is over.
    pub(in crate::storage) async fn remove_pending(&self, id: Ulid) -> Result<(), Error> {
        self.remove_record(PathSpec::Pending(id)).await.map(drop)
    }

    /// The names of every change that has begun and is not over.
    pub(in crate::storage) async fn pending_ids(&self) -> Result<BTreeSet<Ulid>, Error> {
        let names = self.names(PathSpec::Pendings).await?;
        Ok(names.iter().filter_map(|name| Ulid::from_string(name).ok()).collect())
    }

    /// Every change that has begun and is not over, oldest first. One that cannot be read is reported, and left for a
    /// person to look at: nothing is removed because of it.
    pub(in crate::storage) async fn pendings(&self) -> Result<Vec<(Ulid, Pending)>, Error> {
        let mut pendings = Vec::new();
        for id in self.listed_pendings().await? {
            if let Lenient::Read(pending) = self.lenient_record(PathSpec::Pending(id)).await? {
                pendings.push((id, pending));
            }
        }
        Ok(pendings)
    }

    /// As [`Self::pendings`], for who must not overlook one: a change that cannot be read may be that of a replica of
    /// another version.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Driver`].
    pub(in crate::storage) async fn every_pending(&self) -> Result<Vec<(Ulid, Pending)>, Error> {
        let mut pendings = Vec::new();
        for id in self.listed_pendings().await? {
            // One that is not there any more ended since the list was read.
            pendings.extend(self.record(PathSpec::Pending(id)).await?.map(|pending| (id, pending)));
        }
        Ok(pendings)
    }

    async fn listed_pendings(&self) -> Result<Vec<Ulid>, Error> {
        let mut ids = Vec::new();
        for text in self.names(PathSpec::Pendings).await? {
            if let Ok(id) = Ulid::from_string(&text) {
                ids.push(id);
            } else {
                warn!(name = text, "a name among the pending changes is no ULID");
            }
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_first_versions_are_read() {
        let digest = Digest::of(crate::oci::Algorithm::Sha256, b"a");
        for (operation, blobs) in [("delete", "[]".to_owned()), ("restore", format!("[\"{digest}\"]"))] {
            let text = format!(
                r#"{{"operation":"{operation}","repository":"app","kind":"manifest","digest":"{digest}","tags":["v1"],
                "blobs":{blobs}}}"#
            );
            let pending: Pending = serde_json::from_str(&text).unwrap();
            let keys = pending.keys();
            assert!(keys.contains(&Key::Revision("app".parse().unwrap(), digest.clone())), "{keys:?}");
            assert!(keys.contains(&Key::Tag("app".parse().unwrap(), "v1".parse().unwrap())), "{keys:?}");
            assert_eq!(keys.contains(&Key::Blob(digest.clone())), operation == "restore");
            assert_eq!(pending.deleted().is_some(), operation == "delete");
            let again: Pending = serde_json::from_str(&serde_json::to_string(&pending).unwrap()).unwrap();
            assert_eq!(again, pending);
        }
    }
}
